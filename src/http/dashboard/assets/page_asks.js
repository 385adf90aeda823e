// Requests for more: what owners ask for, and the decision.

import { admin, part, query } from './api.js';
import { formDialog } from './dialog.js';
import { button, el } from './dom.js';
import { count, time } from './format.js';
import { pagedList } from './paged.js';
import { accountLink, choice, head, id, ofLimit, sheet, state } from './parts.js';
import { table } from './table.js';

const STATES = [
  ['open', 'Open'],
  ['approved', 'Approved'],
  ['declined', 'Declined'],
  ['', 'All'],
];

export const asks = {
  name: 'asks',
  nav: 'Requests for more',
  title: 'Requests for more',
  show({ root, can, every, pendingChanged, search }) {
    let wanted = search.get('state') ?? 'open';
    const paged = pagedList({
      placeholder: 'account or reason',
      read: page => admin.get(`limit-requests${query({ ...page, state: wanted })}`),
      draw: rows => list.fill(rows),
    });
    const decided = async () => {
      await paged.load();
      await pendingChanged();
    };
    const list = asksTable(can('operator') ? decided : null);
    const choose = value => {
      wanted = value;
      paged.fresh();
    };
    root.append(
      head('Requests for more', choice('State', STATES, wanted, choose)),
      sheet(null, el('div', { class: 'filters' }, paged.search, paged.total), list.node, paged.more),
    );
    every(5, paged.load);
  },
};

/** `decided` is null for who may not decide. */
function asksTable(decided) {
  return table({
    label: 'Requests for more',
    key: row => row.id,
    data: row => ({ ask: row.id, account: row.account }),
    empty: 'None.',
    columns: [
      { head: 'Account', cell: row => [accountLink(row.account, row.account_name), el('br'), id(row.key)] },
      { head: 'Has in flight', field: 'in_flight', cell: row => ofLimit(row.in_flight, row.concurrent_requests) },
      { head: 'Asks for', field: 'rate_limit', nowrap: true, cell: asked },
      { head: 'Why', field: 'reason', cell: row => row.reason },
      decided ? { head: 'Decide', cell: row => (row.state === 'open' ? decision(row, decided) : null) } : null,
      {
        head: 'State',
        field: 'state',
        nowrap: true,
        cell: row => [state(row.state), el('div', { class: 'quiet' }, `asked ${time(row.created_at)}`)],
      },
      { head: 'Decision', field: 'note', cell: row => (row.decided_at ? outcome(row) : '–') },
    ],
  });
}

const asked = row => [
  `${count(row.rate_limit)} at once`,
  row.tpm_rate_limit === null ? null : el('div', { class: 'quiet' }, `${count(row.tpm_rate_limit)} tokens a minute`),
];

const outcome = row => [
  el(
    'div',
    {},
    row.granted === null ? 'nothing given' : `${count(row.granted)} at once given`,
    row.note ? `: ${row.note}` : '',
  ),
  el('div', { class: 'quiet' }, `${time(row.decided_at)} by ${row.decided_by}`),
];

function decision(row, decided) {
  const note = { name: 'note', label: 'Note to its owner', type: 'textarea', maxlength: 1000 };
  const wish = `has ${row.concurrent_requests} and asks for ${row.rate_limit} requests at once`;
  const asks = `${row.account_name} ${wish}: “${row.reason}”`;
  const approve = () =>
    formDialog({
      title: 'Approve',
      intro: asks,
      submit: 'Approve',
      fields: [
        {
          name: 'given',
          label: 'Requests in flight at once',
          type: 'number',
          min: 1,
          required: true,
          value: row.rate_limit,
        },
        note,
      ],
      send: async values => {
        await admin.send('POST', `limit-requests/${part(row.id)}/approve`, {
          note: values.note,
          concurrent_requests: Number(values.given),
        });
        await decided();
      },
    });
  const decline = () =>
    formDialog({
      title: 'Decline',
      intro: asks,
      submit: 'Decline',
      fields: [note],
      danger: true,
      send: async values => {
        await admin.send('POST', `limit-requests/${part(row.id)}/decline`, { note: values.note });
        await decided();
      },
    });
  return el(
    'div',
    { class: 'actions' },
    button('Approve', 'approve', approve),
    button('Decline', 'decline', decline),
  );
}
