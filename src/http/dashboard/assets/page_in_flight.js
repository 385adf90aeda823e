// In flight now: each request that runs, the oldest first.

import { admin } from './api.js';
import { field } from './dialog.js';
import { badge, el } from './dom.js';
import { count, duration, usd } from './format.js';
import { accountField, accountLink, head, id, isOfAccount, receiptLink, sheet } from './parts.js';
import { table } from './table.js';

/** More rows than this are not drawn every second: the oldest are those to look at. */
const MOST_ROWS = 300;

export const inFlight = {
  name: 'in-flight',
  nav: 'In flight now',
  title: 'In flight now',
  show({ root, every, search }) {
    const account = accountField(search);
    const engine = field({ name: 'engine', label: 'Engine', value: search.get('engine') ?? '' });
    const total = el('p', { class: 'quiet', data: { field: 'total' } });
    const list = liveTable();
    let all = [];
    const draw = () => {
      const found = all.filter(
        row => isOfAccount(row, account.read()) && (!engine.read() || row.engine === engine.read()),
      );
      list.fill(found.slice(0, MOST_ROWS));
      const drawn = found.length > MOST_ROWS ? `; the oldest ${MOST_ROWS} are shown` : '';
      total.textContent = `${count(found.length)} of ${count(all.length)} requests in flight${drawn}`;
    };
    account.control.addEventListener('input', draw);
    engine.control.addEventListener('input', draw);
    root.append(
      head('In flight now'),
      sheet(null, el('div', { class: 'filters' }, account.node, engine.node, total), list.node),
    );
    every(1, async () => {
      all = await admin.list('in-flight');
      draw();
    });
  },
};

function liveTable() {
  return table({
    label: 'In flight now',
    key: row => row.id,
    data: row => ({ request: row.id, account: row.account }),
    empty: 'Nothing is in flight.',
    columns: [
      { head: 'Age', field: 'age', number: true, sort: row => row.age_ms, cell: row => duration(row.age_ms) },
      {
        head: 'Account',
        field: 'account',
        sort: row => row.account_name,
        cell: row => accountLink(row.account, row.account_name),
      },
      { head: 'Model', field: 'model', sort: row => row.model, nowrap: true, cell: row => row.model },
      {
        head: 'Engine',
        field: 'engine',
        sort: row => row.engine,
        cell: row => row.engine ?? badge('waiting', 'warn'),
      },
      {
        head: 'Answer',
        cell: row => [
          row.answering ? badge('answering', 'good') : badge('not yet'),
          row.stream ? ' streamed' : ' whole',
        ],
      },
      { head: 'Prompt tokens', number: true, sort: row => row.prompt_tokens, cell: row => count(row.prompt_tokens) },
      {
        head: 'Completion tokens',
        field: 'completion_tokens',
        number: true,
        sort: row => row.completion_tokens,
        cell: row => count(row.completion_tokens),
      },
      {
        head: 'Cost so far',
        field: 'cost',
        number: true,
        sort: row => BigInt(row.cost.picodollars),
        cell: row => usd(row.cost),
      },
      { head: 'Tier', cell: row => row.service_tier },
      { head: 'Route', cell: row => row.endpoint },
      { head: 'Key', cell: row => id(row.key) },
      { head: 'Request', cell: row => receiptLink(row.id) },
    ],
  });
}
