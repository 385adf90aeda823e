// The table of API keys, for staff and owners alike.

import { button, el } from './dom.js';
import { count, time } from './format.js';
import { accountLink, id, state } from './parts.js';
import { table } from './table.js';

/** `acts` are `[label, action, act(key)]`, given to keys that are active. */
export function keyTable({ withAccount, acts }) {
  return table({
    label: 'API keys',
    key: row => row.id,
    data: row => ({ key: row.id }),
    empty: 'No keys.',
    columns: [
      { head: 'Key', field: 'name', sort: row => row.name, cell: row => [row.name, el('br'), id(row.id)] },
      withAccount
        ? { head: 'Account', sort: row => row.account_name, cell: row => accountLink(row.account, row.account_name) }
        : null,
      { head: 'State', field: 'status', sort: row => row.status, cell: row => [state(row.status), overlap(row)] },
      acts.length ? { head: 'Change', cell: row => (row.status === 'active' ? actions(row, acts) : null) } : null,
      { head: 'May do', field: 'rights', cell: rights },
      {
        head: 'Ends',
        sort: row => row.expires_at,
        nowrap: true,
        cell: row => [end(row), el('div', { class: 'quiet' }, `made ${time(row.created_at)}`)],
      },
    ],
  });
}

function end(row) {
  if (row.revoked_at) return `revoked ${time(row.revoked_at)}`;
  return row.expires_at ? time(row.expires_at) : 'when it is revoked';
}

function rights(row) {
  const inFlight =
    row.concurrent_requests === null ? 'as many at once as its account' : `${count(row.concurrent_requests)} at once`;
  return [
    el('div', {}, `${row.scopes.join(', ') || 'nothing'}; ${row.allowed_models.join(', ') || 'every model'}`),
    el(
      'div',
      { class: 'quiet' },
      `from ${row.allowed_ips.join(', ') || 'anywhere'}, ${inFlight}${row.jwt ? ', signs tokens (JWT)' : ''}`,
    ),
  ];
}

const overlap = row => (row.overlap_until ? el('small', {}, ` old secret until ${time(row.overlap_until)}`) : null);

function actions(row, acts) {
  return el(
    'div',
    { class: 'actions' },
    acts.map(([label, action, act]) =>
      button(label, action, () => act(row), { 'aria-label': `${label} ${row.name}` }),
    ),
  );
}
