// Refusals: the last five hundred requests that were refused, and why.

import { admin } from './api.js';
import { field } from './dialog.js';
import { badge, el, replace } from './dom.js';
import { count, time } from './format.js';
import { accountField, accountLink, head, id, isOfAccount, sheet } from './parts.js';
import { table } from './table.js';

export const refusals = {
  name: 'refusals',
  nav: 'Refusals',
  title: 'Refusals',
  show({ root, every, search }) {
    const account = accountField(search);
    const wantedCode = search.get('code') ?? '';
    const code = field({
      name: 'code',
      label: 'Code',
      type: 'select',
      options: codeOptions([], wantedCode),
      value: wantedCode,
    });
    const total = el('p', { class: 'quiet', data: { field: 'total' } });
    const list = refusalsTable();
    let all = [];
    const draw = () => {
      const found = all.filter(
        row => isOfAccount(row, account.read()) && (!code.read() || row.code === code.read()),
      );
      list.fill(found);
      total.textContent = `${count(found.length)} of the last ${count(all.length)} refusals`;
    };
    account.control.addEventListener('input', draw);
    code.control.addEventListener('change', draw);
    root.append(
      head('Refusals'),
      sheet(null, el('div', { class: 'filters' }, account.node, code.node, total), list.node),
    );
    every(2, async () => {
      all = await admin.list('refusals');
      const chosen = code.read();
      replace(
        code.control,
        codeOptions(all, chosen).map(([value, text]) => el('option', { value }, text)),
      );
      code.control.value = chosen;
      draw();
    });
  },
};

/** The codes that there are, and the chosen one even if it is not among them now. */
function codeOptions(all, chosen) {
  const codes = new Set([...all.map(row => row.code), chosen].filter(Boolean));
  return [['', 'all codes'], ...[...codes].sort().map(code => [code, code])];
}

function refusalsTable() {
  return table({
    label: 'Refusals',
    key: row => row.id,
    empty: 'Nothing was refused.',
    data: row => ({ request: row.id, code: row.code, account: row.account ?? '' }),
    columns: [
      { head: 'When', field: 'at', nowrap: true, cell: row => time(row.at) },
      {
        head: 'Account',
        field: 'account',
        cell: row => (row.account ? accountLink(row.account, row.account_name) : 'no key of ours'),
      },
      {
        head: 'Code',
        field: 'code',
        cell: row => badge(`${row.status} ${row.code}`, row.status >= 500 ? 'bad' : 'warn'),
      },
      {
        head: 'What it was told',
        field: 'message',
        cell: row => row.message ?? el('span', { class: 'quiet' }, 'not kept: it may quote the request'),
      },
      { head: 'Model', nowrap: true, cell: row => row.model ?? '–' },
      { head: 'Key', cell: row => (row.key ? id(row.key) : '–') },
      { head: 'Request', cell: row => id(row.id) },
    ],
  });
}
