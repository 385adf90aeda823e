// Overview: how it goes now, and how it went for an hour, a day, a week or a month.

import { admin } from './api.js';
import { chart } from './chart.js';
import { el, link } from './dom.js';
import { compact, count, duration, measured, percent, usd, usdNumber, usdShort } from './format.js';
import { accountLink, choice, head, ofLimit, sheet, state } from './parts.js';
import { table } from './table.js';

const SPANS = [
  ['1h', '1 hour'],
  ['24h', '24 hours'],
  ['7d', '7 days'],
  ['30d', '30 days'],
];
const NEAREST = 8;
const SPENDERS = 10;

export const overview = {
  name: 'overview',
  nav: 'Overview',
  title: 'Overview',
  show({ root, live, every }) {
    const tiles = liveTiles();
    const nearest = nearestTable();
    const engines = enginesTable();
    const spenders = spendersTable();
    const charts = seriesCharts();
    let span = '1h';
    const loadSeries = async () => charts.fill(await admin.get(`series?span=${span}`));
    const choose = value => {
      span = value;
      loadSeries();
    };
    root.append(
      head('Overview'),
      tiles.node,
      el(
        'div',
        { class: 'columns' },
        sheet('Accounts nearest their limit', nearest.node),
        sheet('Engines', engines.node),
      ),
      el('div', { class: 'head' }, el('h2', {}, 'Over time'), choice('Span', SPANS, span, choose)),
      charts.node,
      sheet(
        'Top spenders of the last 24 hours',
        spenders.node,
        el('p', {}, link('usage?group_by=account&since=24h', 'All of them, with totals')),
      ),
    );
    live(event => {
      tiles.fill(event.overview);
      const byShare = (one, other) =>
        other.in_flight / other.concurrent_requests - one.in_flight / one.concurrent_requests;
      nearest.fill([...event.accounts].sort(byShare).slice(0, NEAREST));
      engines.fill(event.engines);
    });
    every(15, loadSeries);
    every(15, async () => {
      const usage = await admin.get(`usage?group_by=account&since=24h&limit=${SPENDERS}`);
      spenders.fill(usage.data);
    });
  },
};

function liveTiles() {
  const tiles = [
    ['in_flight', 'In flight', 'in-flight', now => count(now.in_flight)],
    ['waiting', 'Waiting for an engine', 'engines', now => count(now.waiting)],
    [
      'requests_per_second',
      'Requests a second',
      'usage?group_by=model&since=24h',
      now => measured(now.requests_per_second),
    ],
    ['tokens_per_second', 'Tokens a second', 'models', now => measured(now.tokens_per_second)],
    ['refusals_per_second', 'Refusals a second', 'refusals', now => measured(now.refusals_per_second)],
    [
      'cost_per_minute',
      'Cost a minute',
      'usage?group_by=account&since=24h',
      now => usdShort(usdNumber(now.cost_per_minute)),
    ],
  ].map(([field, label, hash, shown]) => {
    const value = el('b', { data: { field } }, '–');
    return { value, shown, node: el('a', { class: 'tile', href: `#/${hash}` }, el('span', {}, label), value) };
  });
  return {
    node: el(
      'div',
      { class: 'tiles' },
      tiles.map(tile => tile.node),
    ),
    fill: now =>
      tiles.forEach(tile => {
        tile.value.textContent = tile.shown(now);
      }),
  };
}

function nearestTable() {
  const refused = row => row.refused_concurrency + row.refused_rate + row.refused_other;
  return table({
    label: 'Accounts nearest their limit',
    empty: 'No account has requests in flight.',
    key: row => row.id,
    data: row => ({ account: row.id }),
    columns: [
      { head: 'Account', field: 'name', cell: row => accountLink(row.id, row.name) },
      { head: 'In flight', field: 'in_flight', cell: row => ofLimit(row.in_flight, row.concurrent_requests) },
      {
        head: 'Refused in the last minute',
        field: 'refused',
        number: true,
        cell: row => (refused(row) ? link(`refusals?account=${row.id}`, count(refused(row))) : '0'),
      },
    ],
  });
}

function enginesTable() {
  return table({
    label: 'Engines',
    key: row => row.name,
    data: row => ({ engine: row.name }),
    empty: 'There are no engines.',
    columns: [
      { head: 'Engine', cell: row => link('engines', row.name) },
      {
        head: 'State',
        field: 'status',
        cell: row => (row.drained ? state('drained') : state(row.usable ? 'up' : 'down')),
      },
      { head: 'In flight', field: 'in_flight', number: true, cell: row => count(row.in_flight) },
      { head: 'Waiting', field: 'waiting', number: true, cell: row => count(row.waiting) },
    ],
  });
}

function spendersTable() {
  return table({
    label: 'Top spenders of the last 24 hours',
    key: row => row.account,
    data: row => ({ account: row.account }),
    empty: 'Nobody spent anything.',
    columns: [
      { head: 'Account', cell: row => accountLink(row.account, row.account_name) },
      { head: 'Requests', number: true, cell: row => count(row.requests) },
      { head: 'Prompt tokens', number: true, cell: row => count(row.prompt_tokens) },
      { head: 'Cached', number: true, cell: row => percent(row.cached_tokens, row.prompt_tokens) },
      { head: 'Completion tokens', number: true, cell: row => count(row.completion_tokens) },
      { head: 'Cost', field: 'cost', number: true, cell: row => usd(row.cost) },
      {
        head: 'Models',
        cell: row =>
          link(`usage?group_by=model&since=24h&account=${row.account}`, el('span', { class: 'nowrap' }, 'by model')),
      },
    ],
  });
}

/** Each chart, and how its series are made of the points. */
function seriesCharts() {
  const one = (name, value) => points => [{ name, values: points.map(value) }];
  const quantile = name => points => ({ name, values: points.map(point => point.ttft_ms[name]) });
  const specs = [
    {
      name: 'requests',
      title: 'Requests',
      kind: 'bars',
      format: compact,
      series: one('requests', point => point.requests),
    },
    {
      name: 'tokens',
      title: 'Tokens',
      kind: 'area',
      format: compact,
      series: points => [
        { name: 'prompt', values: points.map(point => point.prompt_tokens - point.cached_tokens) },
        { name: 'cached prompt', values: points.map(point => point.cached_tokens) },
        { name: 'completion', values: points.map(point => point.completion_tokens) },
      ],
    },
    {
      name: 'cost',
      title: 'Cost',
      kind: 'bars',
      format: usdShort,
      series: one('cost', point => usdNumber(point.cost)),
    },
    {
      name: 'ttft',
      title: 'Time to first token (TTFT)',
      kind: 'line',
      format: duration,
      series: points => ['p50', 'p90', 'p99'].map(name => quantile(name)(points)),
    },
    { name: 'refusals', title: 'Refusals by code', kind: 'bars', format: compact, series: refusalSeries },
    {
      name: 'in_flight',
      title: 'Requests in flight, the most at once',
      kind: 'line',
      format: compact,
      series: one('in flight', point => point.in_flight),
    },
  ];
  const charts = specs.map(spec => ({ ...chart(spec), series: spec.series }));
  return {
    node: el(
      'div',
      { class: 'columns' },
      charts.map(made => el('section', { class: 'sheet' }, made.node)),
    ),
    fill({ points }) {
      const times = points.map(point => Date.parse(point.at));
      charts.forEach(made => made.fill({ times, series: made.series(points) }));
    },
  };
}

function refusalSeries(points) {
  const codes = new Set(points.flatMap(point => Object.keys(point.refusals)));
  const series = [...codes].sort().map(name => ({ name, values: points.map(point => point.refusals[name] ?? 0) }));
  return series.length ? series : [{ name: 'refusals', values: points.map(() => 0) }];
}
