// Replicas and settings: the gateways that run, who may administer them, and this session.

import { admin, part, signOut } from './api.js';
import { attempt, confirmDialog, formDialog, secretDialog } from './dialog.js';
import { button, el } from './dom.js';
import { count, time } from './format.js';
import { head, id, sheet, state } from './parts.js';
import { facts, table } from './table.js';

const DAY_SECONDS = 86_400;

export const settings = {
  name: 'settings',
  nav: 'Replicas and settings',
  title: 'Replicas and settings',
  show({ root, can, every, session }) {
    const replicas = replicasTable();
    root.append(
      head('Replicas and settings'),
      sheet('Replicas', replicas.node),
      sheet(
        'This session',
        facts(
          [
            ['Signed in as', session.name],
            ['Role', session.role, 'role'],
            ['Until', `${time(session.expires_at)} UTC`],
          ],
          'This session',
        ),
        el(
          'div',
          { class: 'actions' },
          button('Sign out', 'sign-out', () => attempt(signOut)),
        ),
      ),
    );
    every(5, async () => replicas.fill(await admin.list('replicas')));
    const defaults = el('div', {}, '–');
    root.append(sheet('What an account has by default (models.yaml)', defaults));
    every(60, async () => defaults.replaceChildren(await defaultFacts()));
    if (can('admin')) root.append(tokensSheet(every));
  },
};

function replicasTable() {
  return table({
    label: 'Replicas',
    key: row => row.id,
    data: row => ({ replica: row.id }),
    empty: 'None.',
    columns: [
      { head: 'Replica', cell: row => [id(row.id), row.this ? ' (this one answers you)' : ''] },
      { head: 'Address', cell: row => row.address ?? '–' },
      { head: 'Started', nowrap: true, cell: row => time(row.started_at) },
      { head: 'Last seen', field: 'seen_at', cell: row => time(row.seen_at) },
      { head: 'In flight', field: 'in_flight', number: true, cell: row => count(row.in_flight) },
    ],
  });
}

async function defaultFacts() {
  const defaults = await admin.get('defaults');
  const rate = perMinute => (perMinute === null ? 'no limit' : count(perMinute));
  return facts(
    [
      ['Requests in flight at once', count(defaults.concurrent_requests), 'default_limit'],
      ['Requests a minute', rate(defaults.requests_per_minute)],
      ['Tokens a minute', rate(defaults.tokens_per_minute)],
    ],
    'Defaults',
  );
}

function tokensSheet(every) {
  const load = async () => list.fill(await admin.list('tokens'));
  const list = tokensTable(load);
  every(30, load);
  return sheet(
    'Admin tokens',
    el(
      'div',
      { class: 'actions' },
      button('Make token', 'make-token', () => makeToken(load), { class: 'primary' }),
    ),
    list.node,
  );
}

function tokensTable(load) {
  const revoke = row =>
    confirmDialog({
      title: `Revoke ${row.name}?`,
      text: 'It opens nothing from the next request on. This cannot be taken back.',
      submit: 'Revoke',
      send: async () => {
        await admin.send('DELETE', `tokens/${part(row.id)}`);
        await load();
      },
    });
  return table({
    label: 'Admin tokens',
    key: row => row.id,
    data: row => ({ token: row.id }),
    empty: 'None but the root token.',
    columns: [
      { head: 'Token', cell: row => [row.name, el('br'), id(row.id)] },
      { head: 'Role', field: 'role', cell: row => row.role },
      { head: 'State', field: 'status', cell: row => state(row.status) },
      { head: 'Made', nowrap: true, cell: row => time(row.created_at) },
      {
        head: 'Ends',
        cell: row =>
          row.revoked_at ? `revoked ${time(row.revoked_at)}` : row.expires_at ? time(row.expires_at) : 'when revoked',
      },
      {
        head: 'Change',
        cell: row =>
          row.status === 'active'
            ? button('Revoke', 'revoke-token', () => revoke(row), { 'aria-label': `Revoke ${row.name}` })
            : null,
      },
    ],
  });
}

function makeToken(done) {
  formDialog({
    title: 'Make admin token',
    submit: 'Make token',
    fields: [
      { name: 'name', label: 'Whose it is', required: true, maxlength: 100 },
      {
        name: 'role',
        label: 'Role',
        type: 'select',
        options: ['viewer', 'operator', 'admin'],
        value: 'viewer',
        hint: 'Viewers read, operators do the day’s work, admins also change prices and tokens.',
      },
      { name: 'days', label: 'Days that it holds', type: 'number', min: 1, hint: 'Empty: until it is revoked.' },
    ],
    send: async ({ name, role, days }) => {
      const made = await admin.send('POST', 'tokens', {
        name,
        role,
        ...(days ? { expires_in_seconds: Number(days) * DAY_SECONDS } : {}),
      });
      secretDialog(`The secret of ${name}`, made.secret);
      await done();
    },
  });
}
