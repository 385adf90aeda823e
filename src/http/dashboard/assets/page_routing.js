// Routing: what each engine of a model would cost a request now, which is chosen and why. Nothing is sent to an engine.

import { admin } from './api.js';
import { swatch } from './chart.js';
import { field } from './dialog.js';
import { badge, el, replace, svg } from './dom.js';
import { count, words } from './format.js';
import { head, sheet, standing, state, suggestAccounts } from './parts.js';
import { table } from './table.js';

/** What a score is the sum of, in the order in which the bar shows it. */
const PARTS = [
  { name: 'prefill_ms', label: 'Prefill left' },
  { name: 'queue_ms', label: 'Queue' },
  { name: 'decode_ms', label: 'Decode' },
  { name: 'others_ms', label: 'Others' },
];

const NOTHING = 'No request is explained yet.';

export const routing = {
  name: 'routing',
  nav: 'Routing',
  title: 'Routing',
  async show({ root, can, signal }) {
    if (!can('operator')) {
      root.append(head('Routing'), sheet(null, el('p', { class: 'empty' }, 'Explaining a request needs an operator.')));
      return;
    }
    const models = await admin.list('models');
    if (signal.aborted) return;
    const verdict = el('p', { role: 'status', data: { field: 'verdict' } }, NOTHING);
    const scores = el('div', { class: 'scores' });
    const ask = question(models, {
      explained(route, engines) {
        replace(verdict, verdictOf(route));
        replace(scores, scoreTable(route, new Map(engines.map(engine => [engine.name, engine]))));
      },
      failed() {
        replace(verdict, NOTHING);
        replace(scores);
      },
    });
    root.append(
      head('Routing'),
      el('p', { class: 'quiet' }, 'Where a request would go now, and why. It is sent to no engine, and costs nothing.'),
      sheet(null, ask),
      sheet('Engines', verdict, scores),
    );
  },
};

/** The form: a model, whose request it is, and the request. What is wrong with it is said under the request. */
function question(models, { explained, failed }) {
  const model = field({
    name: 'model',
    label: 'Model',
    type: 'select',
    options: models.map(one => one.id),
    value: models[0]?.id,
  });
  const account = field({
    name: 'account',
    label: 'Account (id)',
    placeholder: 'none',
    hint: 'Matters where a model keeps accounts apart in its engines’ caches.',
    suggest: async text => (await suggestAccounts(text)).map(([name, id]) => [id, name]),
  });
  const request = field({
    name: 'request',
    label: 'Prompt or request body',
    type: 'textarea',
    rows: 6,
    required: true,
    spellcheck: 'false',
    hint: 'A text is asked as one user’s message. A JSON object is taken as it is, with the model that it names.',
  });
  const hintId = request.control.getAttribute('aria-describedby');
  const problem = el('p', { class: 'problem', role: 'alert', id: `${request.control.id}-problem`, hidden: true });
  const say = text => {
    problem.textContent = text;
    problem.hidden = !text;
    request.control.setAttribute('aria-invalid', String(Boolean(text)));
    request.control.setAttribute('aria-describedby', text ? `${problem.id} ${hintId}` : hintId);
  };
  let isRunning = false;
  const submit = async event => {
    event.preventDefault();
    if (isRunning) return;
    isRunning = true;
    try {
      const chosen = models.find(one => one.id === model.read());
      const asked = { ...askedOf(request.control.value, chosen), account: account.read() || undefined };
      const [route, engines] = await Promise.all([admin.send('POST', 'route/explain', asked), admin.list('engines')]);
      say('');
      explained(route, engines);
    } catch (fault) {
      say(fault.message);
      failed();
    } finally {
      isRunning = false;
    }
  };
  const form = el(
    'form',
    { class: 'explain', 'aria-label': 'Explain', on: { submit } },
    el('div', { class: 'filters' }, model.node, account.node),
    request.node,
    problem,
    el('div', { class: 'actions' }, el('button', { class: 'primary', data: { action: 'explain' } }, 'Explain')),
  );
  request.control.addEventListener('keydown', event => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  return form;
}

/** What was typed as the API takes it. A text may begin with a brace; with a brace and a quote it is meant as JSON. */
function askedOf(text, model) {
  if (/^\s*\{\s*["}]/.test(text)) {
    const body = bodyOf(text);
    return { endpoint: endpointOf(body), request: { model: model?.id, ...body } };
  }
  return model?.task === 'embedding'
    ? { endpoint: 'embeddings', request: { model: model.id, input: text } }
    : { endpoint: 'chat_completions', request: { model: model?.id, messages: [{ role: 'user', content: text }] } };
}

function bodyOf(text) {
  try {
    return JSON.parse(text);
  } catch (fault) {
    throw new Error(`this begins like a JSON object and is none: ${fault.message}`, { cause: fault });
  }
}

function endpointOf(body) {
  if ('messages' in body) return 'chat_completions';
  if ('prompt' in body) return 'completions';
  return 'input' in body ? 'embeddings' : 'chat_completions';
}

function verdictOf({ model, routing: rule, prompt_tokens: tokens, chosen, why }) {
  const prompt = tokens === null ? '' : `, about ${count(tokens)} tokens of prompt`;
  return [
    `${model} (${words(rule)}${prompt}): `,
    chosen ? [el('b', { data: { field: 'chosen' } }, chosen), ', as '] : null,
    `${why}.`,
  ];
}

/** The chosen engine first, then the others by what they would cost, and at last those that take nothing now. */
function scoreTable({ model, chosen, prompt_tokens: prompt, engines }, known) {
  const standsAt = row => (row.engine === chosen ? 0 : !row.usable ? 3 : row.full ? 2 : 1);
  const cost = row => row.estimate?.total_ms ?? row.in_flight;
  const rows = [...engines].sort((one, other) => standsAt(one) - standsAt(other) || cost(one) - cost(other));
  const most = Math.max(...rows.map(row => row.estimate?.total_ms ?? 0));
  const isScored = rows.some(row => row.estimate);
  const list = table({
    label: `Engines of ${model}`,
    key: row => row.engine,
    data: row => ({ engine: row.engine, chosen: row.engine === chosen }),
    empty: 'No engine serves it.',
    columns: [
      {
        head: 'Engine',
        field: 'name',
        sort: row => row.engine,
        cell: row => [row.engine, row.engine === chosen ? [' ', badge('chosen', 'good')] : null],
      },
      { head: 'Usable', field: 'usable', sort: standsAt, cell: row => usable(row, known.get(row.engine)) },
      isScored ? totalColumn(most) : null,
      {
        head: 'In flight',
        field: 'in_flight',
        number: true,
        sort: row => row.in_flight,
        cell: row => count(row.in_flight),
      },
      ...(isScored ? partColumns(prompt) : []),
    ],
  });
  list.fill(rows);
  return list.node;
}

function usable(row, engine) {
  const isUp = engine?.status === 'up';
  return [
    row.usable ? (row.full ? badge('full', 'warn') : badge('yes', 'good')) : badge('no', 'bad'),
    engine && !isUp ? el('div', {}, standing(engine)) : null,
    isUp && engine.drained ? el('div', {}, state('drained')) : null,
  ];
}

const totalColumn = most => ({
  head: 'Estimate',
  field: 'total_ms',
  sort: row => row.estimate?.total_ms,
  cell: ({ estimate }) => [el('b', {}, ms(estimate?.total_ms)), estimate ? costBar(estimate, most) : null],
});

/** What the estimate comes from. */
function partColumns(prompt) {
  const cached = {
    head: 'Cached tokens',
    field: 'cached',
    number: true,
    sort: row => row.estimate?.predicted_cached_tokens,
    cell: ({ estimate }) => estimate && cachedCell(estimate),
  };
  const parts = PARTS.map(({ name, label }, at) => ({
    head: el('span', { class: 'nowrap' }, swatch(at), label),
    field: name,
    number: true,
    sort: row => row.estimate?.[name],
    cell: ({ estimate }) => [
      ms(estimate?.[name]),
      estimate && name === 'prefill_ms' ? quiet(`${count(prefillLeft(prompt, estimate))} tokens`) : null,
    ],
  }));
  return [cached, ...parts];
}

function cachedCell({ predicted_cached_tokens: predicted, expected_cached_tokens: expected, source }) {
  return [
    count(predicted),
    quiet(source === 'events' ? 'by events' : 'as sent'),
    expected === predicted ? null : quiet(`${count(expected)} expected`),
  ];
}

const prefillLeft = (prompt, estimate) => Math.max(prompt - estimate.expected_cached_tokens, 0);
const ms = value => (value === null || value === undefined ? '–' : `${count(value)} ms`);
const quiet = text => el('div', { class: 'quiet' }, text);

/** The parts of an estimate, one after another; the dearest engine's fill the bar. */
function costBar(estimate, most) {
  const share = value => (most > 0 ? (100 * value) / most : 0);
  let begin = 0;
  const rects = PARTS.map(({ name }, at) => {
    const width = share(estimate[name]);
    begin += width;
    return svg('rect', { x: `${begin - width}%`, width: `${width}%`, height: '100%', class: `fill series-${at}` });
  });
  return svg(
    'svg',
    { class: 'bar', 'aria-hidden': 'true' },
    svg('rect', { width: '100%', height: '100%', class: 'bar-back' }),
    rects,
  );
}
