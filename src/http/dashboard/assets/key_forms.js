// Forms about API keys, for staff and owners alike.

import { confirmDialog, formDialog, secretDialog } from './dialog.js';
import { listOf } from './parts.js';

const SCOPES = ['inference', 'usage', 'dashboard', 'admin'];
const DAY_SECONDS = 86_400;

/** What a key may do, as fields. */
function rights(key) {
  return [
    {
      name: 'scopes',
      label: 'Scopes: what it is for',
      type: 'checks',
      options: SCOPES,
      value: key?.scopes ?? ['inference', 'usage'],
    },
    {
      name: 'allowed_models',
      label: 'Models',
      value: key?.allowed_models.join(', '),
      hint: 'Ids, aliases or patterns such as org/*, with commas between them. Empty: every model.',
    },
    {
      name: 'allowed_ips',
      label: 'Addresses',
      value: key?.allowed_ips.join(', '),
      hint: 'Addresses and networks that it is used from. Empty: from anywhere.',
    },
    {
      name: 'concurrent_requests',
      label: 'Requests in flight at once',
      type: 'number',
      min: 0,
      value: key?.concurrent_requests,
      hint: 'Empty: as many as its account may have.',
    },
  ];
}

const rightsOf = values => ({
  scopes: values.scopes,
  allowed_models: listOf(values.allowed_models),
  allowed_ips: listOf(values.allowed_ips),
  concurrent_requests: values.concurrent_requests === '' ? null : Number(values.concurrent_requests),
});

/** Makes a key. `suggest` offers accounts to staff; an owner's keys are of their own account. */
export function makeKey({ suggest, account, create, done }) {
  formDialog({
    title: 'Make key',
    submit: 'Make key',
    fields: [
      suggest ? { name: 'account', label: 'Account (name or id)', required: true, value: account, suggest } : null,
      { name: 'name', label: 'Name', required: true, maxlength: 100 },
      ...rights(),
      { name: 'days', label: 'Days that it holds', type: 'number', min: 1, hint: 'Empty: until it is revoked.' },
      { name: 'jwt', label: 'Tokens can be signed with it (JWT)', type: 'checkbox' },
    ],
    send: async ({ account: of, name, days, jwt, ...values }) => {
      const made = await create({
        ...(suggest ? { account: of } : {}),
        name,
        jwt,
        ...rightsOf(values),
        ...(days ? { expires_in_seconds: Number(days) * DAY_SECONDS } : {}),
      });
      secretDialog(`The secret of ${name}`, made.secret);
      await done();
    },
  });
}

/** Changes a key. */
export function changeKey(key, { change, done }) {
  formDialog({
    title: `Change ${key.name}`,
    submit: 'Save',
    fields: [
      { name: 'name', label: 'Name', required: true, maxlength: 100, value: key.name },
      ...rights(key),
      {
        name: 'expires_at',
        label: 'Ends at (UTC)',
        value: key.expires_at,
        hint: 'A date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z. Empty: when it is revoked.',
      },
    ],
    send: async ({ name, expires_at: end, ...values }) => {
      // An end that stays is not said: one that is over could not be said again.
      const expiry = end === (key.expires_at ?? '') ? {} : { expires_at: end || null };
      await change({ name, ...rightsOf(values), ...expiry });
      await done();
    },
  });
}

export function rotateKey(key, { rotate, done }) {
  formDialog({
    title: `Rotate ${key.name}`,
    submit: 'Rotate',
    intro: 'It gets a new secret, and keeps its id, rights and limits.',
    fields: [
      {
        name: 'minutes',
        label: 'Minutes that the old secret holds beside the new one',
        type: 'number',
        min: 0,
        value: 0,
        hint: '0: it ends at once.',
      },
    ],
    send: async ({ minutes }) => {
      const made = await rotate({ overlap_seconds: Number(minutes) * 60 });
      secretDialog(`The new secret of ${key.name}`, made.secret);
      await done();
    },
  });
}

export function revokeKey(key, { revoke, done }) {
  confirmDialog({
    title: `Revoke ${key.name}?`,
    text: 'It opens nothing from the next request on. This cannot be taken back.',
    submit: 'Revoke',
    send: async () => {
      await revoke();
      await done();
    },
  });
}
