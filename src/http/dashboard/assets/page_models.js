// Models: what is sold, at which price, and whether somebody serves it; and each price that a model had or will have.

import { admin, part, query } from './api.js';
import { formDialog, toast } from './dialog.js';
import { badge, button, el, link } from './dom.js';
import { count, duration, percent, time, words } from './format.js';
import { head, sheet, state } from './parts.js';
import { table } from './table.js';

export const models = {
  name: 'models',
  nav: 'Models',
  title: 'Models',
  show(context) {
    return context.rest ? showPrices(context) : showList(context);
  },
};

function showList({ root, live, every }) {
  let all = [];
  let now = new Map();
  const list = modelsTable();
  const draw = () => list.fill(all.map(row => ({ in_flight: null, waiting: null, ...row, ...now.get(row.id) })));
  root.append(
    head('Models'),
    el(
      'p',
      { class: 'quiet' },
      'Prices are USD per million tokens. Token counts are since the gateway that answers started.',
    ),
    sheet(null, list.node),
  );
  live(event => {
    now = new Map(event.models.map(model => [model.id, model]));
    draw();
  });
  every(10, async () => {
    all = await admin.list('models');
    draw();
  });
}

function modelsTable() {
  return table({
    label: 'Models',
    key: row => row.id,
    data: row => ({ model: row.id }),
    empty: 'No models are sold.',
    columns: [
      {
        head: 'Model',
        field: 'id',
        sort: row => row.id,
        cell: row => [
          link(`models/${part(row.id)}`, row.id),
          row.aliases.length ? el('div', { class: 'quiet' }, `also ${row.aliases.join(', ')}`) : null,
        ],
      },
      {
        head: 'Engines',
        field: 'engines',
        sort: row => row.usable_engines,
        cell: row => [health(row), el('div', { class: 'quiet' }, row.engines.map(one => one.engine).join(', '))],
      },
      {
        head: 'In flight',
        field: 'in_flight',
        number: true,
        sort: row => row.in_flight,
        cell: row => count(row.in_flight),
      },
      { head: 'Waiting', field: 'waiting', number: true, cell: row => count(row.waiting) },
      {
        head: 'TTFT p50',
        field: 'ttft_p50',
        number: true,
        sort: row => row.ttft_ms?.p50,
        cell: row => duration(row.ttft_ms?.p50),
      },
      {
        head: 'TTFT p99',
        field: 'ttft_p99',
        number: true,
        sort: row => row.ttft_ms?.p99,
        cell: row => duration(row.ttft_ms?.p99),
      },
      { head: 'Price: input / cached / output', field: 'price', number: true, cell: tokenPrices },
      {
        head: 'Each account, a minute',
        field: 'rates',
        number: true,
        cell: row => [
          el('div', {}, ratesOf(row.requests_per_minute, 'requests')),
          el('div', {}, ratesOf(row.tokens_per_minute, 'tokens')),
        ],
      },
      {
        head: 'Cached share',
        field: 'cached_share',
        number: true,
        cell: row => percent(row.cached_tokens, row.prompt_tokens),
      },
      { head: 'Prompt tokens', number: true, sort: row => row.prompt_tokens, cell: row => count(row.prompt_tokens) },
      {
        head: 'Context',
        number: true,
        sort: row => row.context_length,
        cell: row => [
          count(row.context_length),
          el('div', { class: 'quiet' }, `answer ${count(row.max_output_tokens)}`),
        ],
      },
      { head: 'Task', cell: row => row.task },
    ],
  });
}

const ratesOf = (limit, unit) => (limit === null ? null : `${count(limit)} ${unit}`);

const tokenPrices = ({ price }) => `${price.input} / ${price.cached_input ?? price.input} / ${price.output}`;

function health(row) {
  const all = row.engines.length;
  const text = `${row.usable_engines} of ${all} up`;
  return badge(text, row.usable_engines === all ? 'good' : row.usable_engines === 0 ? 'bad' : 'warn');
}

function showPrices({ root, rest, can, every }) {
  document.title = `Prices of ${rest} · farebox`;
  let versions = [];
  const list = pricesTable();
  const load = async () => {
    versions = await admin.list(`prices${query({ model: rest })}`);
    list.fill([...versions].reverse());
  };
  const set = () => setPrice(rest, versions.find(version => version.status === 'current')?.price, load);
  root.append(
    head(
      `Prices of ${rest}`,
      link('models', 'All models'),
      can('admin') ? button('Set price', 'set-price', set, { class: 'primary' }) : null,
    ),
    sheet(null, list.node),
  );
  every(30, load);
}

function pricesTable() {
  return table({
    label: 'Price versions',
    key: row => row.version,
    data: row => ({ version: row.version }),
    empty: 'None.',
    columns: [
      { head: 'Version', number: true, cell: row => String(row.version) },
      { head: 'State', field: 'status', cell: row => state(row.status) },
      { head: 'Holds from', cell: row => (row.from ? time(row.from) : 'never by itself') },
      { head: 'Input', field: 'input', number: true, cell: row => row.price.input },
      { head: 'Cached input', number: true, cell: row => row.price.cached_input ?? `${row.price.input} (as input)` },
      { head: 'Output', field: 'output', number: true, cell: row => row.price.output },
      { head: 'Besides', cell: row => otherPrices(row.price) },
    ],
  });
}

const TOKEN_PRICES = ['input', 'cached_input', 'output', 'context_tiers'];

function otherPrices(price) {
  const tiers = (price.context_tiers ?? []).map(tier =>
    el('div', {}, `prompts above ${count(tier.above_prompt_tokens)} tokens: ${tokenPrices({ price: tier })}`),
  );
  const others = Object.entries(price).filter(([name]) => !TOKEN_PRICES.includes(name));
  return [tiers, others.map(([name, value]) => el('div', {}, `${words(name)}: ${value}`))];
}

/** The whole price is given: what is left out is not sold any more. */
function setPrice(model, now, done) {
  const said = Object.fromEntries(Object.entries(now ?? {}).filter(([, value]) => value !== null));
  formDialog({
    title: `Set the price of ${model}`,
    submit: 'Set price',
    intro: 'Requests that were admitted before keep their price.',
    fields: [
      {
        name: 'price',
        label: 'Price, as models.yaml has it (JSON)',
        type: 'textarea',
        rows: 10,
        required: true,
        class: 'secret',
        value: JSON.stringify(said, null, 2),
        hint: 'USD per million tokens, as texts. What is left out is not sold any more.',
      },
      {
        name: 'from',
        label: 'Holds from (UTC)',
        hint: 'A date, a time such as 2027-01-01T00:00:00Z, or a span such as 7d. Empty: at once.',
      },
    ],
    send: async ({ price, from }) => {
      const set = await admin.send('POST', 'prices', { model, price: readPrice(price), ...(from ? { from } : {}) });
      toast(`Version ${set.version} holds from ${time(set.from)} UTC.`);
      await done();
    },
  });
}

function readPrice(text) {
  try {
    return JSON.parse(text);
  } catch (fault) {
    throw new Error(`The price is not JSON: ${fault.message}`, { cause: fault });
  }
}
