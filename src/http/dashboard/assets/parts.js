// What several pages are made of.

import { admin, part, query } from './api.js';
import { field } from './dialog.js';
import { badge, bar, button, el, link, put } from './dom.js';
import { count } from './format.js';

/** A page's head, with what can be done on it. */
export function head(title, ...actions) {
  return el('div', { class: 'head' }, el('h1', {}, title), el('div', { class: 'actions' }, actions));
}

/** A part of a page under a heading. */
export function sheet(title, ...children) {
  return el('section', { class: 'sheet' }, title ? el('h2', {}, title) : null, children);
}

export const id = text => el('code', { class: 'id' }, text);

export const accountLink = (account, name) => link(`accounts/${part(account)}`, name ?? account);
export const receiptLink = request => link(`receipts/${part(request)}`, id(request));

/** A bar and what it says: 200 of 200. */
export function ofLimit(inFlight, limit) {
  return [
    el('span', { class: 'nowrap' }, limit === null ? count(inFlight) : `${count(inFlight)} of ${count(limit)}`),
    limit === null ? null : bar(inFlight, limit),
  ];
}

const TONES = {
  active: 'good',
  up: 'good',
  completed: 'good',
  approved: 'good',
  current: 'good',
  settled: 'good',
  final: 'good',
  expired: 'plain',
  revoked: 'plain',
  closed: 'plain',
  past: 'plain',
  declined: 'plain',
  unknown: 'plain',
  open: 'warn',
  cancelled: 'warn',
  capped: 'warn',
  drained: 'warn',
  half_open: 'warn',
  scheduled: 'warn',
  in_flight: 'warn',
  settling: 'warn',
  down: 'bad',
  ejected: 'bad',
  removed: 'warn',
  failed: 'bad',
  interrupted: 'bad',
};

/** A state as a coloured word. */
export const state = text => badge(text.replaceAll('_', ' '), TONES[text] ?? 'plain');

/** How an engine stands, and why it is left out. */
export const standing = engine => [
  state(engine.status),
  engine.ejected_for ? ` ${engine.ejected_for.replaceAll('_', ' ')}` : null,
  engine.drained ? [' ', state('drained')] : null,
];

/** Accounts that a text finds, as they are offered: by name, with the id beside it. */
export async function suggestAccounts(text) {
  const found = await admin.list(`accounts${query({ search: text, limit: 20 })}`);
  return found.map(account => [account.name, account.id]);
}

/** The choice of one account or all, as the page's address has it. */
export const accountField = search =>
  field({
    name: 'account',
    label: 'Account (name or id)',
    placeholder: 'all accounts',
    value: search.get('account') ?? '',
    suggest: suggestAccounts,
  });

/** Whether a row is of the account that was typed, or of one that may be meant. */
export const isOfAccount = (row, text) =>
  !text || row.account === text || (row.account_name ?? '').toLowerCase().includes(text.toLowerCase());

/** Goes to a page of the dashboard. */
export function go(hash) {
  location.hash = `#/${hash}`;
}

/** Buttons of which one is chosen. */
export function choice(label, options, chosen, choose) {
  const buttons = options.map(([value, text]) => {
    const pick = () => {
      buttons.forEach(one => one.setAttribute('aria-pressed', String(one.dataset.value === value)));
      choose(value);
    };
    return button(text, 'choose', pick, {
      data: { action: 'choose', value },
      'aria-pressed': String(value === chosen),
    });
  });
  return put(el('div', { class: 'actions', role: 'group', 'aria-label': label }), buttons);
}

/** The date of so many days ago in UTC, as `<input type="date">` writes it. */
export const daysAgo = days => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);

/** A text with commas or lines in it as a list. */
export const listOf = text => text.split(/[\s,]+/).filter(Boolean);
