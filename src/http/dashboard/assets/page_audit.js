// Audit: who changed what, when, and what it was before and after.

import { admin, query } from './api.js';
import { field, showFault } from './dialog.js';
import { button, el } from './dom.js';
import { time } from './format.js';
import { head, id, sheet } from './parts.js';
import { table } from './table.js';

const SINCE = [
  ['', 'the beginning'],
  ['1h', 'the last hour'],
  ['24h', 'the last 24 hours'],
  ['7d', 'the last 7 days'],
  ['30d', 'the last 30 days'],
];
const PAGE = 100;

export const audit = {
  name: 'audit',
  nav: 'Audit',
  title: 'Audit',
  async show({ root, search }) {
    const fields = [
      field({ name: 'target', label: 'What was changed (id)', value: search.get('target') ?? '', size: 28 }),
      field({ name: 'who', label: 'Who (id)', value: search.get('who') ?? '', size: 28 }),
      field({ name: 'since', label: 'Since', type: 'select', options: SINCE, value: search.get('since') ?? '' }),
    ];
    const list = auditTable();
    const problem = el('div');
    const next = button('Next page', 'next-page', () => load(next.dataset.after), { hidden: true });
    const first = button('First page', 'first-page', () => load(), { hidden: true });
    async function load(after) {
      problem.replaceChildren();
      try {
        const values = Object.fromEntries(fields.map(one => [one.name, one.read()]));
        const page = await admin.get(`audit${query({ ...values, limit: PAGE, after })}`);
        list.fill(page.data);
        next.hidden = page.next === null;
        next.dataset.after = page.next ?? '';
        first.hidden = !after;
      } catch (fault) {
        showFault(problem, fault, () => load(after));
      }
    }
    fields.forEach(one => one.control.addEventListener('change', () => load()));
    root.append(
      head('Audit'),
      sheet(
        null,
        el(
          'div',
          { class: 'filters' },
          fields.map(one => one.node),
        ),
        problem,
        list.node,
        el('div', { class: 'actions' }, first, next),
      ),
    );
    await load();
  },
};

function auditTable() {
  return table({
    label: 'Changes',
    key: row => row.number,
    data: row => ({ change: row.number }),
    empty: 'Nothing was changed.',
    columns: [
      { head: 'When', nowrap: true, cell: row => time(row.at) },
      { head: 'Who', field: 'who', cell: row => [row.who_name, el('br'), id(row.who)] },
      { head: 'What', field: 'action', cell: row => row.action },
      { head: 'Of', field: 'target', cell: row => id(row.target) },
      { head: 'Before', field: 'before', cell: row => values(row.before, row.after) },
      { head: 'After', field: 'after', cell: row => values(row.after, row.before) },
      { head: 'Request', cell: row => id(row.request_id) },
    ],
  });
}

/** What stands there, and of two objects only what differs. */
function values(shown, other) {
  if (shown === null) return '–';
  const isObject = value => value !== null && typeof value === 'object' && !Array.isArray(value);
  if (!isObject(shown) || !isObject(other)) return pre(shown);
  const differing = Object.entries(shown).filter(
    ([name, value]) => JSON.stringify(value) !== JSON.stringify(other[name]),
  );
  return pre(Object.fromEntries(differing));
}

function pre(value) {
  const text =
    typeof value === 'object' && !Array.isArray(value)
      ? Object.entries(value)
          .map(([name, one]) => `${name}: ${inline(one)}`)
          .join('\n')
      : inline(value);
  // It may be wider than its cell, and is scrolled by the keyboard too.
  return el('pre', { tabindex: 0, role: 'group', 'aria-label': 'Values' }, text || '–');
}

/** Money is shown as money. */
const inline = value => (value?.usd !== undefined ? `$${value.usd}` : JSON.stringify(value));
