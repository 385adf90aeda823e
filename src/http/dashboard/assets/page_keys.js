// API keys of all accounts.

import { admin, part, query } from './api.js';
import { attempt, field, formDialog, toast } from './dialog.js';
import { button, el } from './dom.js';
import { usd } from './format.js';
import { changeKey, makeKey, revokeKey, rotateKey } from './key_forms.js';
import { keyTable } from './key_table.js';
import { accountField, accountNames, accountOptions, head, sheet } from './parts.js';

export const keys = {
  name: 'keys',
  nav: 'Keys',
  title: 'API keys',
  async show({ root, can, every, search, signal }) {
    const names = await accountNames();
    if (signal.aborted) return;
    const account = accountField(names, search);
    const status = field({
      name: 'status',
      label: 'State',
      type: 'select',
      options: ['active', 'expired', 'revoked', 'all'],
      value: 'active',
    });
    const load = async () => {
      const found = await admin.list(`keys${query({ account: account.read() })}`);
      list.fill(found.filter(key => status.read() === 'all' || key.status === status.read()));
    };
    const list = keyTable({ withAccount: true, acts: can('operator') ? actsOf(load) : [] });
    account.control.addEventListener('change', load);
    status.control.addEventListener('change', load);
    const make = () =>
      makeKey({
        accounts: accountOptions(names),
        account: account.read(),
        done: load,
        create: body => admin.send('POST', 'keys', body),
      });
    root.append(
      head('API keys', can('operator') ? button('Make key', 'make-key', make, { class: 'primary' }) : null),
      sheet(null, el('div', { class: 'filters' }, account.node, status.node), list.node),
    );
    every(15, load);
  },
};

function actsOf(done) {
  const path = key => `keys/${part(key.id)}`;
  return [
    ['Change', 'change-key', key => changeKey(key, { done, change: body => admin.send('PATCH', path(key), body) })],
    ['Rates', 'key-rates', key => attempt(() => changeRates(key, path(key)))],
    ['Month', 'key-month', key => changeMonth(key, path(key))],
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

/** The API says what a key's month is only when it is set, so the box begins empty. */
function changeMonth(key, path) {
  formDialog({
    title: `Monthly limit of ${key.name}`,
    submit: 'Set limit',
    fields: [
      {
        name: 'usd',
        label: 'May be spent with it in a calendar month (UTC), USD',
        inputmode: 'decimal',
        hint: 'It replaces the limit that there is. Empty: no limit of its own.',
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
