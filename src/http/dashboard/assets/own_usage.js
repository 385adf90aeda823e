// Usage and cost, as an account's owner sees it.

import { ownerUrl, query } from './api.js';
import { ranking } from './chart.js';
import { field, showFault } from './dialog.js';
import { el } from './dom.js';
import { count, dearestFirst, moneyOf, percent, usd, usdNumber } from './format.js';
import { sumsOf, usageOf } from './own_usage_data.js';
import { head, sheet } from './parts.js';
import { table } from './table.js';

const BY = {
  model: ['Model', result => result.model],
  key: ['Key', result => result.api_key_id],
  day: ['Day', (_, bucket) => new Date(bucket.start_time * 1000).toISOString().slice(0, 10)],
};

export const ownUsage = {
  name: 'usage',
  nav: 'Usage and cost',
  title: 'Usage and cost',
  async show({ root }) {
    const by = field({
      name: 'by',
      label: 'By',
      type: 'select',
      options: Object.entries(BY).map(([key, [text]]) => [key, text]),
      value: 'model',
    });
    const days = field({ name: 'days', label: 'Days', type: 'select', options: ['1', '7', '30', '90'], value: '30' });
    const csv = el('a', { class: 'button', download: true, data: { action: 'csv' } }, 'Every request as CSV');
    const shown = el('div', { class: 'page-part' });
    const load = async () => {
      csv.href = ownerUrl(`me/entries${query({ since: `${days.read()}d`, format: 'csv', limit: 5000 })}`);
      try {
        draw(shown, by.read(), await usageOf(Number(days.read())));
      } catch (fault) {
        showFault(shown, fault, load);
      }
    };
    [by, days].forEach(one => one.control.addEventListener('change', load));
    root.append(head('Usage and cost', csv), sheet(null, el('div', { class: 'filters' }, by.node, days.node)), shown);
    await load();
  },
};

function draw(shown, by, usage) {
  const [label, name] = BY[by];
  const rows = sumsOf(usage, name);
  const byCost = [...rows].sort(dearestFirst);
  const list = usageTable(label, rows);
  shown.replaceChildren(
    sheet(
      'Cost',
      rows.length
        ? ranking(
            (by === 'day' ? [...rows].reverse() : byCost).map(row => ({
              name: row.name,
              value: usdNumber(row.cost),
              text: usd(row.cost),
            })),
            'Cost',
          )
        : el('p', { class: 'empty' }, 'Nothing was used.'),
    ),
    sheet('Used', list.node),
  );
  list.fill(rows);
}

function usageTable(label, rows) {
  const sum = name => rows.reduce((total, row) => total + row[name], 0);
  const total = {
    requests: sum('requests'),
    prompt_tokens: sum('prompt_tokens'),
    cached_tokens: sum('cached_tokens'),
    completion_tokens: sum('completion_tokens'),
    cost: moneyOf(rows.reduce((all, row) => all + row.picodollars, 0n)),
  };
  const figures = [
    { head: 'Requests', number: true, sort: row => row.requests, cell: row => count(row.requests) },
    { head: 'Prompt tokens', number: true, sort: row => row.prompt_tokens, cell: row => count(row.prompt_tokens) },
    { head: 'Cached share', number: true, cell: row => percent(row.cached_tokens, row.prompt_tokens) },
    {
      head: 'Completion tokens',
      number: true,
      sort: row => row.completion_tokens,
      cell: row => count(row.completion_tokens),
    },
    { head: 'Cost', field: 'cost', number: true, sort: row => row.picodollars, cell: row => usd(row.cost) },
  ];
  return table({
    label: `Usage by ${label.toLowerCase()}`,
    key: row => row.name,
    empty: 'Nothing was used.',
    columns: [{ head: label, sort: row => row.name, cell: row => row.name }, ...figures],
    foot: () =>
      el(
        'tr',
        { data: { row: 'total' } },
        el('th', { scope: 'row' }, 'Total'),
        figures.map(column =>
          el('td', { class: 'number', data: column.field ? { field: column.field } : {} }, column.cell(total)),
        ),
      ),
  });
}
