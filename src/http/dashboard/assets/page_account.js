// One account: its limits and rates, its money, what it used, and what was booked beside requests.

import { actionsOf, limitModel } from './account_actions.js';
import { admin, adminUrl, part, query } from './api.js';
import { attempt } from './dialog.js';
import { button, el, link, replace } from './dom.js';
import { count, duration, time, usd } from './format.js';
import { limitEditor } from './limit_editor.js';
import { pagedList } from './paged.js';
import { head, id, ofLimit, receiptLink, sheet, state } from './parts.js';
import { facts, table } from './table.js';

export async function showAccount({ root, rest, can, live, every, signal, again }) {
  const path = `accounts/${part(rest)}`;
  const account = await admin.get(path);
  if (signal.aborted) return;
  document.title = `${account.name} · farebox`;
  const mayEdit = can('operator') && !account.closed;
  const money = el('div');
  const limits = el('div');
  const now = el('div');
  const perModel = modelLimits(path, mayEdit, load);
  const used = usageTable();
  const booked = adjustmentsTable();
  const pagedBooked = pagedList({
    placeholder: 'reference, note or id',
    read: page => admin.get(`${path}/adjustments${query(page)}`),
    draw: booked.fill,
  });
  root.append(
    head(account.name, actionsOf(account, path, can, { load, again })),
    el(
      'p',
      {},
      id(account.id),
      ' ',
      account.closed ? state('closed') : null,
      ` made ${time(account.created_at)} UTC`,
    ),
    linksOf(account),
    el('div', { class: 'columns' }, sheet('Now', now), sheet('Limits', limits)),
    sheet('Money', money),
    sheet(
      'Limits of one model',
      perModel.node,
      mayEdit ? button('Limit a model', 'limit-model', () => attempt(() => limitModel(path, load))) : null,
    ),
    sheet('Used in the last 24 hours', used.node),
    sheet(
      'Credit, refunds and corrections',
      el('div', { class: 'filters' }, pagedBooked.search, pagedBooked.total),
      booked.node,
      pagedBooked.more,
    ),
  );
  root.dataset.account = account.id;
  live(event => replace(now, nowOf(event.accounts.find(one => one.id === account.id))));
  every(10, load);

  async function load() {
    const [{ owed }, limitsNow, balance, usage] = await Promise.all([
      admin.get(path),
      admin.get(`${path}/limits`),
      admin.get(`${path}/balance`),
      admin.get(`usage${query({ group_by: 'model', since: '24h', account: account.id })}`),
      pagedBooked.load(),
    ]);
    if (!limits.querySelector('[data-editing]')) replace(limits, limitFacts(limitsNow, path, mayEdit, load));
    replace(money, moneyFacts(balance, owed));
    perModel.fill(limitsNow.models);
    used.fill(usage.data);
  }
}

function nowOf(live) {
  return facts(
    [
      ['In flight', live ? ofLimit(live.in_flight, live.concurrent_requests) : '0', 'in_flight'],
      [
        'Refused in the last minute: over the limit in flight',
        count(live?.refused_concurrency ?? 0),
        'refused_concurrency',
      ],
      ['Over a rate a minute', count(live?.refused_rate ?? 0), 'refused_rate'],
      ['For other reasons', count(live?.refused_other ?? 0), 'refused_other'],
    ],
    'Now',
  );
}

function limitFacts(limits, path, mayEdit, load) {
  const editor = (label, value, isDefault, save) =>
    limitEditor({
      label,
      value,
      isDefault,
      mayEdit,
      save: async number => {
        await save(number);
        await load();
      },
    });
  const rate = (name, label, rates) => {
    const shown = editor(label, rates?.per_minute ?? null, rates?.is_default ?? true, number =>
      admin.send('PUT', `${path}/rates`, { [name]: number }),
    );
    return [label, [shown, leftOf(rates)], name];
  };
  const ofModel = (label, rates) => (rates ? [[label, [count(rates.per_minute), leftOf(rates)]]] : []);
  return [
    facts(
      [
        [
          'Requests in flight at once',
          editor('Requests in flight at once', limits.concurrent_requests, limits.is_default, number =>
            admin.send('PUT', `${path}/limits`, { concurrent_requests: number }),
          ),
          'limit',
        ],
        rate('requests_per_minute', 'Requests a minute', limits.rates.requests),
        rate('tokens_per_minute', 'Tokens a minute', limits.rates.tokens),
        ...limits.rates.models.flatMap(({ model, requests, tokens }) => [
          ...ofModel(`Requests a minute on ${model}`, requests),
          ...ofModel(`Tokens a minute on ${model}`, tokens),
        ]),
      ],
      'Limits',
    ),
    limits.note ? el('p', { class: 'hint' }, limits.note) : null,
  ];
}

function leftOf(rates) {
  if (!rates) return null;
  const text = `${count(rates.remaining)} left now, all of it again in ${duration(rates.reset_ms)}`;
  return el('div', { class: 'quiet' }, text);
}

function moneyFacts(balance, owed) {
  const ceiling = amount => (amount === null ? 'no ceiling' : usd(amount));
  return facts(
    [
      ['Balance', usd(balance.balance), 'balance'],
      ['Owed', usd(owed), 'owed'],
      [
        'May owe at the most',
        balance.postpaid?.picodollars === '0' ? 'nothing: prepaid' : ceiling(balance.postpaid),
        'postpaid',
      ],
      ['Held by requests in flight', usd(balance.held), 'held'],
      ['Left for new requests', ceiling(balance.available), 'available'],
      [`Spent in ${balance.month.month}`, usd(balance.month.spent), 'month_spent'],
      ['May spend in a month', ceiling(balance.month.limit), 'month_limit'],
    ],
    'Money',
  );
}

function modelLimits(path, mayEdit, load) {
  return table({
    label: 'Limits of one model',
    key: row => row.model,
    data: row => ({ model: row.model }),
    empty: 'No model has a limit of its own or requests in flight.',
    columns: [
      { head: 'Model', nowrap: true, cell: row => row.model },
      { head: 'In flight', field: 'in_flight', cell: row => ofLimit(row.in_flight, row.concurrent_requests) },
      {
        head: 'Limit',
        field: 'limit',
        cell: row =>
          limitEditor({
            label: `Limit of ${row.model}`,
            value: row.concurrent_requests,
            isDefault: false,
            mayEdit,
            none: 'only the account’s',
            takeBack: 'none',
            save: async number => {
              await admin.send('PUT', `${path}/limits`, { model: row.model, concurrent_requests: number });
              await load();
            },
          }),
      },
    ],
  });
}

function usageTable() {
  return table({
    label: 'Used in the last 24 hours, by model',
    key: row => row.model,
    empty: 'Nothing.',
    columns: [
      { head: 'Model', nowrap: true, cell: row => row.model },
      { head: 'Requests', number: true, cell: row => count(row.requests) },
      { head: 'Prompt tokens', number: true, cell: row => count(row.prompt_tokens) },
      { head: 'Completion tokens', number: true, cell: row => count(row.completion_tokens) },
      { head: 'Cost', field: 'cost', number: true, cell: row => usd(row.cost) },
    ],
  });
}

function adjustmentsTable() {
  return table({
    label: 'Credit, refunds and corrections',
    key: row => row.id,
    empty: 'None.',
    columns: [
      { head: 'Booked', nowrap: true, cell: row => time(row.booked_at) },
      { head: 'Kind', cell: row => row.kind.replace('_', ' ') },
      { head: 'Amount', field: 'amount', number: true, cell: row => usd(row.amount) },
      { head: 'Request', cell: row => (row.request ? receiptLink(row.request) : '–') },
      { head: 'Reference', cell: row => row.reference },
      { head: 'Note', cell: row => row.note },
    ],
  });
}

function linksOf(account) {
  const of = part(account.id);
  const month = new Date().toISOString().slice(0, 7);
  const statement = format => adminUrl(`accounts/${of}/statements/${month}?format=${format}`);
  return el(
    'p',
    { class: 'actions links' },
    link(`keys?account=${of}`, 'Keys'),
    link(`usage?group_by=model&since=7d&account=${of}`, 'Usage and cost'),
    link(`refusals?account=${of}`, 'Refusals'),
    link(`in-flight?account=${of}`, 'In flight now'),
    link(`audit?target=${of}`, 'Audit'),
    el('a', { href: statement('html'), target: '_blank', rel: 'noopener' }, `Statement of ${month}`),
    el('a', { href: statement('csv'), download: true }, 'as CSV'),
  );
}
