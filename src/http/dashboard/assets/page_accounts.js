// Accounts: what each has in flight and may have, what it was refused, and what it owes.

import { admin, part, query } from './api.js';
import { formDialog } from './dialog.js';
import { button, el } from './dom.js';
import { count, time, usd } from './format.js';
import { showAccount } from './page_account.js';
import { limitEditor } from './limit_editor.js';
import { pagedList } from './paged.js';
import { accountLink, go, head, id, ofLimit, sheet, state } from './parts.js';
import { table } from './table.js';

export const accounts = {
  name: 'accounts',
  nav: 'Accounts',
  title: 'Accounts',
  show(context) {
    return context.rest ? showAccount(context) : showList(context);
  },
};

function showList({ root, can, live, every, search }) {
  let rows = [];
  let now = new Map();
  const paged = pagedList({
    placeholder: 'name or id',
    value: search.get('q'),
    read: page => admin.get(`accounts${query(page)}`),
    draw: fresh => {
      rows = fresh;
      draw();
    },
  });
  const list = accountsTable(can('operator'), paged.load);
  const draw = () =>
    list.fill(rows.map(row => ({ ...row, limit: row.concurrent_requests, ...nothingNow(row), ...now.get(row.id) })));
  /** An account that the event leaves out has nothing in flight; before the first event the list says what it has. */
  const nothingNow = row => ({
    in_flight: now.size ? 0 : row.in_flight,
    refused_concurrency: 0,
    refused_rate: 0,
    refused_other: 0,
  });
  root.append(
    head('Accounts', can('operator') ? button('Make account', 'make-account', make, { class: 'primary' }) : null),
    sheet(null, el('div', { class: 'filters' }, paged.search, paged.total), list.node, paged.more),
  );
  live(event => {
    now = new Map(event.accounts.map(account => [account.id, account]));
    draw();
  });
  every(10, paged.load);
}

function accountsTable(mayEdit, changed) {
  const refused = row => row.refused_concurrency + row.refused_rate + row.refused_other;
  return table({
    label: 'Accounts',
    key: row => row.id,
    data: row => ({ account: row.id }),
    empty: 'No such account.',
    columns: [
      {
        head: 'Account',
        field: 'name',
        sort: row => row.name,
        cell: row => [
          accountLink(row.id, row.name),
          row.closed ? [' ', state('closed')] : null,
          el('br'),
          id(row.id),
        ],
      },
      {
        head: 'In flight',
        field: 'in_flight',
        number: true,
        sort: row => row.in_flight,
        cell: row => ofLimit(row.in_flight, row.concurrent_requests),
      },
      {
        head: 'Limit',
        field: 'limit',
        sort: row => row.limit,
        cell: row =>
          limitEditor({
            label: `Limit of ${row.name}`,
            value: row.limit,
            isDefault: row.is_default,
            mayEdit: mayEdit && !row.closed,
            save: async number => {
              await admin.send('PUT', `accounts/${part(row.id)}/limits`, { concurrent_requests: number });
              await changed();
            },
          }),
      },
      {
        head: 'Refused in the last minute',
        field: 'refused',
        number: true,
        sort: refused,
        cell: row =>
          refused(row)
            ? el('a', { href: `#/refusals?account=${part(row.id)}`, title: refusedBy(row) }, count(refused(row)))
            : '0',
      },
      {
        head: 'Owed',
        field: 'owed',
        number: true,
        sort: row => BigInt(row.owed.picodollars),
        cell: row => usd(row.owed),
      },
      { head: 'Made', sort: row => row.created_at, nowrap: true, cell: row => time(row.created_at) },
    ],
  });
}

const refusedBy = row =>
  [
    `${row.refused_concurrency} over the limit in flight`,
    `${row.refused_rate} over a rate a minute`,
    `${row.refused_other} for other reasons`,
  ].join(', ');

function make() {
  formDialog({
    title: 'Make account',
    submit: 'Make account',
    fields: [{ name: 'name', label: 'Name', required: true, maxlength: 100 }],
    send: async ({ name }) => {
      const made = await admin.send('POST', 'accounts', { name });
      go(`accounts/${part(made.id)}`);
    },
  });
}
