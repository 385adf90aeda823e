// A receipt: the computation line by line, and what is known of the request.

import { el } from './dom.js';
import { count, duration, moneyOf, sumPicodollars, time, usd, usdText, words } from './format.js';
import { id, sheet, state } from './parts.js';
import { facts, table } from './table.js';

/** The whole receipt. `more` are facts that only staff are shown. */
export function receiptOf(receipt, more) {
  if (receipt.status === 'in_flight') return unfinished(receipt, more);
  const lines = linesTable(receipt);
  const adjustments = adjustmentsTable();
  const node = el(
    'article',
    { class: 'page-part', data: { receipt: receipt.request_id } },
    sheet('How the cost was computed', lines.node, totals(receipt)),
    receipt.adjustments.length ? sheet('Corrected since', adjustments.node) : null,
    sheet('The request', requestFacts(receipt, more)),
  );
  lines.fill(receipt.lines);
  adjustments.fill(receipt.adjustments);
  return node;
}

function unfinished(receipt, more) {
  return el(
    'article',
    { class: 'page-part', data: { receipt: receipt.request_id } },
    sheet(
      'It is still in flight',
      facts(
        [
          ['Request', id(receipt.request_id)],
          ...more,
          ['Admitted', `${time(receipt.admitted_at)} UTC`],
          ['Key', id(receipt.key)],
          ['Model', receipt.model],
          ['Route', receipt.endpoint],
          ['Price version', String(receipt.price_version)],
        ],
        'The request',
      ),
    ),
  );
}

/** A quantity times what one costs: the same sum as in the ledger, to the picodollar. */
function linesTable(receipt) {
  return table({
    label: 'How the cost was computed',
    key: row => row.item,
    data: row => ({ line: row.item }),
    empty: 'Nothing is charged.',
    columns: [
      { head: 'What', cell: row => words(row.item) },
      { head: 'How many', field: 'quantity', number: true, cell: row => count(row.quantity) },
      {
        head: '× price of one',
        field: 'unit_price',
        number: true,
        cell: row => (row.unit_price ? usd(moneyOf(BigInt(row.unit_price.picodollars))) : '–'),
      },
      {
        head: 'USD a million',
        number: true,
        cell: row => (row.unit_price ? usdText(row.unit_price.usd_per_million) : '–'),
      },
      {
        head: '= cost',
        field: 'amount',
        number: true,
        cell: row => (row.amount ? usd(row.amount) : 'not priced apart'),
      },
    ],
    foot: () =>
      el(
        'tr',
        {},
        el('th', { scope: 'row', colspan: 4 }, 'Cost'),
        el('td', { class: 'number', data: { field: 'cost' } }, usd(receipt.cost)),
      ),
  });
}

function totals(receipt) {
  const sum = sumPicodollars(receipt.lines.map(line => line.amount).filter(Boolean));
  const adds = sum === BigInt(receipt.cost.picodollars);
  return el(
    'p',
    { class: adds ? 'quiet' : 'problem' },
    adds
      ? 'The lines add up to the cost, to the picodollar. '
      : `The lines add up to ${usd(moneyOf(sum))}, which is not the cost. `,
    receipt.adjustments.length ? `Given back or corrected: ${usd(receipt.adjusted)}. ` : '',
    'To pay: ',
    el('b', { data: { field: 'net' } }, usd(receipt.net)),
  );
}

function adjustmentsTable() {
  return table({
    label: 'Corrected since',
    key: row => row.id,
    columns: [
      { head: 'Booked', nowrap: true, cell: row => time(row.booked_at) },
      { head: 'Kind', cell: row => words(row.kind) },
      { head: 'Given back', number: true, cell: row => usd(row.amount) },
      { head: 'Price version', number: true, cell: row => (row.price_version ? String(row.price_version) : '–') },
      { head: 'Reference', cell: row => row.reference },
      { head: 'Note', cell: row => row.note },
    ],
  });
}

function requestFacts(receipt, more) {
  const { price } = receipt;
  const tokenPrices = price.price
    ? [
        `input ${price.price.input}`,
        `cached ${price.price.cached_input ?? price.price.input}`,
        `output ${price.price.output} USD a million`,
      ].join(', ')
    : 'not known';
  const since = price.holds_since ? `since ${time(price.holds_since)}` : 'never by itself';
  return facts(
    [
      ['Request', id(receipt.request_id), 'request_id'],
      ...more,
      receipt.client_request_id ? ['The client’s id', id(receipt.client_request_id)] : null,
      ['Admitted', `${time(receipt.admitted_at)} UTC`],
      ['Key', id(receipt.key)],
      ['Model', receipt.model, 'model'],
      ['Route', receipt.endpoint],
      ['State', [state(receipt.state), ' ', receipt.state_in_words], 'state'],
      ['Usage', [words(receipt.usage_source), '. ', receipt.usage_source_in_words], 'usage_source'],
      [
        'Prompt tokens',
        `${count(receipt.prompt_tokens)}, of which ${count(receipt.cached_tokens)} cached`,
        'prompt_tokens',
      ],
      [
        'Completion tokens',
        `${count(receipt.completion_tokens)}, of which ${count(receipt.reasoning_tokens)} reasoning`,
        'completion_tokens',
      ],
      ['Price version', `${receipt.price_version}: ${tokenPrices}, ${since}`, 'price_version'],
      ['Service tier', receipt.service_tier],
      ['Until an engine was called', duration(receipt.queue_us / 1000), 'queue'],
      ['TTFT', receipt.ttft_us === null ? '–' : duration(receipt.ttft_us / 1000), 'ttft'],
      ['Whole', duration(receipt.total_us / 1000), 'total'],
    ],
    'The request',
  );
}
