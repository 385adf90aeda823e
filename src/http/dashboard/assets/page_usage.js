// Usage and cost: who spent what, on which model, with which key, on which day.

import { admin, adminUrl, query } from './api.js';
import { chart, ranking } from './chart.js';
import { field, showFault } from './dialog.js';
import { el } from './dom.js';
import { count, dearestFirst, percent, usd, usdNumber, usdShort } from './format.js';
import { accountField, accountLink, head, id, sheet } from './parts.js';
import { table } from './table.js';

const GROUPS = [
  ['account', 'Account'],
  ['model', 'Model'],
  ['key', 'Key'],
  ['day', 'Day'],
  ['account,model', 'Account and model'],
  ['account,key', 'Account and key'],
  ['day,model', 'Day and model'],
];
const SINCE = [
  ['1h', 'the last hour'],
  ['24h', 'the last 24 hours'],
  ['7d', 'the last 7 days'],
  ['30d', 'the last 30 days'],
  ['', 'the beginning'],
];
const BARS = 12;
/** More rows than this are not drawn: the CSV has them. */
const MOST_ROWS = 1000;

export const usage = {
  name: 'usage',
  nav: 'Usage and cost',
  title: 'Usage and cost',
  async show({ root, search }) {
    const given = search.get('since') ?? '24h';
    const since = SINCE.some(([value]) => value === given) ? SINCE : [...SINCE, [given, given]];
    const fields = [
      field({
        name: 'group_by',
        label: 'By',
        type: 'select',
        options: GROUPS,
        value: search.get('group_by') ?? 'account',
      }),
      field({ name: 'since', label: 'Since', type: 'select', options: since, value: given }),
      field({ name: 'from', label: 'or from the day (UTC)', type: 'date' }),
      field({ name: 'until', label: 'Until before the day (UTC)', type: 'date' }),
      accountField(search),
    ];
    const csv = el('a', { class: 'button', download: true, data: { action: 'csv' } }, 'CSV');
    const shown = el('div', { class: 'page-part' });
    const load = async () => {
      const { from, since: span, ...values } = Object.fromEntries(fields.map(one => [one.name, one.read()]));
      const asked = { ...values, since: from || span };
      csv.href = adminUrl(`usage${query({ ...asked, format: 'csv' })}`);
      try {
        draw(shown, await admin.get(`usage${query({ ...asked, limit: MOST_ROWS })}`));
      } catch (fault) {
        showFault(shown, fault, load);
      }
    };
    fields.forEach(one => one.control.addEventListener('change', load));
    root.append(
      head('Usage and cost', csv),
      sheet(
        null,
        el(
          'div',
          { class: 'filters' },
          fields.map(one => one.node),
        ),
      ),
      shown,
    );
    await load();
  },
};

function draw(shown, answer) {
  const rows = [...answer.data];
  const list = usageTable(answer);
  const graph = answer.group_by.includes('day')
    ? dayChart(rows)
    : ranking(
        [...rows]
          .sort(dearestFirst)
          .slice(0, BARS)
          .map(row => ({
            name: nameOf(row),
            value: usdNumber(row.cost),
            text: usd(row.cost),
          })),
        'Cost',
      );
  shown.replaceChildren(
    sheet('Cost', rows.length ? graph : el('p', { class: 'empty' }, 'Nothing was used.')),
    sheet(
      'Used',
      rows.length < MOST_ROWS ? null : el('p', { class: 'quiet' }, `The dearest ${count(MOST_ROWS)}; the CSV has all.`),
      list.node,
    ),
  );
  list.fill(rows);
}

/** What a row stands for, in words. */
const nameOf = row =>
  [row.day, row.account_name ?? row.account, row.model, row.key_name ?? row.key].filter(Boolean).join(' · ');

/** A bar for each day, stacked by model if it is grouped by that, too. */
function dayChart(rows) {
  const days = [...new Set(rows.map(row => row.day))].sort();
  const kinds = [...new Set(rows.map(row => row.model ?? 'cost'))];
  const costs = new Map(rows.map(row => [`${row.day} ${row.model ?? 'cost'}`, usdNumber(row.cost)]));
  const made = chart({ title: 'Cost a day', kind: 'bars', format: usdShort, name: 'cost' });
  made.fill({
    times: days.map(day => Date.parse(day)),
    series: kinds.map(name => ({ name, values: days.map(day => costs.get(`${day} ${name}`) ?? 0) })),
  });
  return made.node;
}

function usageTable({ group_by: groups, total }) {
  const by = name => groups.includes(name);
  const names = [
    by('day') && { head: 'Day', sort: row => row.day, nowrap: true, cell: row => row.day },
    by('account') && {
      head: 'Account',
      sort: row => row.account_name,
      cell: row => accountLink(row.account, row.account_name),
    },
    by('model') && { head: 'Model', sort: row => row.model, nowrap: true, cell: row => row.model },
    by('key') && { head: 'Key', sort: row => row.key_name, cell: row => [row.key_name, ' ', id(row.key)] },
  ].filter(Boolean);
  const counts = [
    ['Requests', row => row.requests],
    ['Prompt tokens', row => row.prompt_tokens],
    ['Cached', row => row.cached_tokens],
    ['Completion tokens', row => row.completion_tokens],
    ['Reasoning', row => row.reasoning_tokens],
  ].map(([name, value]) => ({ head: name, number: true, sort: value, cell: row => count(value(row)) }));
  const share = { head: 'Cached share', number: true, cell: row => percent(row.cached_tokens, row.prompt_tokens) };
  const cost = {
    head: 'Cost',
    field: 'cost',
    number: true,
    sort: row => BigInt(row.cost.picodollars),
    cell: row => usd(row.cost),
  };
  const figures = [cost, ...counts, share];
  return table({
    label: 'Usage',
    key: nameOfIds,
    columns: [...names, ...figures],
    empty: 'Nothing was used.',
    data: row => (row.account ? { account: row.account } : {}),
    sorted: [names.length, true],
    foot: () =>
      el(
        'tr',
        { data: { row: 'total' } },
        el('th', { scope: 'row', colspan: names.length }, 'Total'),
        figures.map(column =>
          el('td', { class: 'number', data: column.field ? { field: column.field } : {} }, column.cell(total)),
        ),
      ),
  });
}

const nameOfIds = row => [row.day, row.account, row.model, row.key].join(' ');
