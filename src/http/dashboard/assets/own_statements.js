// Statements: one for each month, to read or to compute with.

import { owner, ownerUrl } from './api.js';
import { field, showFault } from './dialog.js';
import { el } from './dom.js';
import { count, time, usd } from './format.js';
import { head, sheet, state } from './parts.js';
import { facts, table } from './table.js';

export const ownStatements = {
  name: 'statements',
  nav: 'Statements',
  title: 'Statements',
  async show({ root }) {
    const month = field({
      name: 'month',
      label: 'Month (UTC)',
      type: 'month',
      value: new Date().toISOString().slice(0, 7),
      placeholder: '2026-11',
    });
    const page = el(
      'a',
      { class: 'button', target: '_blank', rel: 'noopener', data: { action: 'statement-html' } },
      'As a page',
    );
    const csv = el('a', { class: 'button', download: true, data: { action: 'statement-csv' } }, 'CSV');
    const shown = el('div', { class: 'page-part' });
    const load = async () => {
      const path = `me/statements/${month.read()}`;
      page.href = ownerUrl(`${path}?format=html`);
      csv.href = ownerUrl(`${path}?format=csv`);
      try {
        draw(shown, await owner.get(`${path}?format=json`));
      } catch (fault) {
        showFault(shown, fault, load);
      }
    };
    month.control.addEventListener('change', load);
    root.append(
      head('Statements'),
      sheet(null, el('div', { class: 'filters' }, month.node, el('div', { class: 'actions' }, page, csv))),
      shown,
    );
    await load();
  },
};

function draw(shown, statement) {
  const lines = table({
    label: 'What requests cost',
    key: row => [row.model, row.endpoint, row.price_version].join(' '),
    empty: 'No requests.',
    columns: [
      { head: 'Model', nowrap: true, cell: row => row.model },
      { head: 'Route', cell: row => row.endpoint },
      { head: 'Price version', number: true, cell: row => String(row.price_version) },
      { head: 'Requests', number: true, cell: row => count(row.requests) },
      { head: 'Amount', field: 'amount', number: true, cell: row => usd(row.amount) },
    ],
    foot: () =>
      el(
        'tr',
        {},
        el('th', { scope: 'row', colspan: 3 }, 'Total'),
        el('td', { class: 'number' }, count(statement.requests)),
        el('td', { class: 'number' }, usd(statement.usage_total)),
      ),
  });
  lines.fill(statement.lines);
  shown.replaceChildren(
    sheet(
      `${statement.month}`,
      facts(
        [
          ['Standing', state(statement.standing), 'standing'],
          ['Until', `${time(statement.until)} UTC`],
          ['Opening balance', usd(statement.opening_balance)],
          ['Requests cost', usd(statement.usage_total), 'usage_total'],
          ['Credit, refunds and corrections', usd(statement.adjustments_total)],
          [
            statement.standing === 'open' ? 'Balance so far' : 'Closing balance',
            usd(statement.closing_balance),
            'closing_balance',
          ],
        ],
        'Statement',
      ),
    ),
    sheet('What requests cost', lines.node),
  );
}
