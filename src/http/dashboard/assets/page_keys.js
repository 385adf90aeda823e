// API keys of all accounts.

import { admin, part, query } from './api.js';
import { attempt, field, formDialog, toast } from './dialog.js';
import { button, el } from './dom.js';
import { usd } from './format.js';
import { changeKey, makeKey, revokeKey, rotateKey } from './key_forms.js';
import { keyTable } from './key_table.js';
import { pagedList } from './paged.js';
import { accountField, head, sheet, suggestAccounts } from './parts.js';

export const keys = {
  name: 'keys',
  nav: 'Keys',
  title: 'API keys',
  show({ root, can, every, search }) {
    const account = accountField(search);
    // One that is being typed is not asked for yet.
    let chosen = account.read();
    const status = field({
      name: 'status',
      label: 'State',
      type: 'select',
      options: ['active', 'expired', 'revoked', ['', 'all']],
      value: 'active',
    });
    const paged = pagedList({
      placeholder: 'name, id or account',
      value: search.get('q'),
      read: page => admin.get(`keys${query({ ...page, account: chosen, status: status.read() })}`),
      draw: rows => list.fill(rows),
    });
    const list = keyTable({ withAccount: true, acts: can('operator') ? actsOf(paged.load) : [] });
    account.control.addEventListener('change', () => {
      chosen = account.read();
      paged.fresh();
    });
    status.control.addEventListener('change', paged.fresh);
    const make = () =>
      makeKey({
        suggest: suggestAccounts,
        account: chosen,
        done: paged.load,
        create: body => admin.send('POST', 'keys', body),
      });
    root.append(
      head('API keys', can('operator') ? button('Make key', 'make-key', make, { class: 'primary' }) : null),
      sheet(
        null,
        el('div', { class: 'filters' }, paged.search, account.node, status.node, paged.total),
        list.node,
        paged.more,
      ),
    );
    every(15, paged.load);
  },
};

function actsOf(done) {
  const path = key => `keys/${part(key.id)}`;
  return [
    ['Change', 'change-key', key => changeKey(key, { done, change: body => admin.send('PATCH', path(key), body) })],
    ['Rates', 'key-rates', key => attempt(() => changeRates(key, path(key)))],
    ['Month', 'key-month', key => attempt(() => changeMonth(key, path(key)))],
    [
      'Rotate',
      'rotate-key',
      key => rotateKey(key, { done, rotate: body => admin.send('POST', `${path(key)}/rotate`, body) }),
    ],
    ['Revoke', 'revoke-key', key => revokeKey(key, { done, revoke: () => admin.send('DELETE', path(key)) })],
  ];
}

/** What a key may use in a minute, besides what its account may. */
async function changeRates(key, path) {
  const rates = await admin.get(`${path}/rates`);
  const numberOrNull = text => (text === '' ? null : Number(text));
  formDialog({
    title: `Rates of ${key.name}`,
    submit: 'Set rates',
    intro: 'They hold besides its account’s. Empty: no limit of its own.',
    fields: [
      { name: 'requests', label: 'Requests a minute', type: 'number', min: 1, value: rates.requests?.per_minute },
      { name: 'tokens', label: 'Tokens a minute', type: 'number', min: 1, value: rates.tokens?.per_minute },
    ],
    send: async values => {
      await admin.send('PUT', `${path}/rates`, {
        requests_per_minute: numberOrNull(values.requests),
        tokens_per_minute: numberOrNull(values.tokens),
      });
      toast(`The rates of ${key.name} are set.`);
    },
  });
}

async function changeMonth(key, path) {
  const { month: now } = await admin.get(`${path}/spending`);
  formDialog({
    title: `Monthly limit of ${key.name}`,
    submit: 'Set limit',
    intro: `${usd(now.spent)} spent in ${now.month}.`,
    fields: [
      {
        name: 'usd',
        label: 'May be spent with it in a calendar month (UTC), USD',
        inputmode: 'decimal',
        value: now.limit?.usd,
        hint: 'Empty: no limit of its own.',
      },
    ],
    send: async values => {
      const { month } = await admin.send('PUT', `${path}/spending`, { monthly_usd: values.usd || null });
      toast(
        `${usd(month.spent)} spent in ${month.month}, of ${month.limit ? usd(month.limit) : 'what the account may'}.`,
      );
    },
  });
}
