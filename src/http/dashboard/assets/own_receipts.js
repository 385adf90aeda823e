// The account's requests as they were booked, and the receipt of each.

import { owner, query } from './api.js';
import { field, showFault } from './dialog.js';
import { el } from './dom.js';
import { count, duration, time, usd } from './format.js';
import { finder, ownReceipt } from './page_receipts.js';
import { head, receiptLink, sheet, state } from './parts.js';
import { table } from './table.js';

const SINCE = [
  ['1h', 'the last hour'],
  ['24h', 'the last 24 hours'],
  ['7d', 'the last 7 days'],
];
const PAGE = 5000;
/** More pages than this are not read, and more rows not drawn. */
const MOST_PAGES = 10;
const MOST_ROWS = 300;

export const ownReceipts = {
  name: 'receipts',
  nav: 'Receipts',
  title: 'Receipts',
  async show({ root, rest }) {
    root.append(head('Receipts'), sheet(null, finder(rest)));
    if (rest) {
      const shown = el('div');
      root.append(shown);
      await ownReceipt(shown, rest);
      return;
    }
    const since = field({ name: 'since', label: 'Requests of', type: 'select', options: SINCE, value: '1h' });
    const said = el('p', { class: 'quiet', role: 'status' });
    const list = entriesTable();
    const load = async () => {
      said.textContent = 'Reading…';
      try {
        const found = await entriesSince(since.read());
        list.fill(found.slice(0, MOST_ROWS));
        said.textContent =
          found.length > MOST_ROWS
            ? `The newest ${MOST_ROWS} of ${count(found.length)}`
            : `${count(found.length)} requests`;
      } catch (fault) {
        showFault(said, fault, load);
      }
    };
    since.control.addEventListener('change', load);
    root.append(sheet('Recent requests', el('div', { class: 'filters' }, since.node, said), list.node));
    await load();
  },
};

/** The newest first; the API lists them from the oldest on. */
async function entriesSince(since) {
  const found = [];
  let after = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const answer = await owner.get(`me/entries${query({ since, limit: PAGE, after })}`);
    found.push(...answer.data);
    if (!answer.has_more) break;
    after = answer.next;
  }
  return found.reverse();
}

function entriesTable() {
  return table({
    label: 'Recent requests',
    key: row => row.request_id,
    data: row => ({ request: row.request_id }),
    empty: 'None.',
    columns: [
      { head: 'Admitted', nowrap: true, cell: row => time(row.admitted_at) },
      { head: 'Model', nowrap: true, cell: row => row.model },
      { head: 'State', field: 'state', cell: row => state(row.state) },
      { head: 'Prompt', number: true, cell: row => count(row.prompt_tokens) },
      { head: 'Cached', number: true, cell: row => count(row.cached_tokens) },
      { head: 'Completion', number: true, cell: row => count(row.completion_tokens) },
      { head: 'TTFT', number: true, cell: row => (row.ttft_us === null ? '–' : duration(row.ttft_us / 1000)) },
      {
        head: 'Cost',
        field: 'cost',
        number: true,
        sort: row => BigInt(row.cost.picodollars),
        cell: row => usd(row.cost),
      },
      { head: 'Receipt', cell: row => receiptLink(row.request_id) },
    ],
  });
}
