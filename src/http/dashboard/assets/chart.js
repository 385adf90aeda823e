// Charts as SVG: lines, and stacked areas or bars over time. The values at the cursor stand in the legend; the cursor
// follows the pointer and the arrow keys.

import { el, replace, svg } from './dom.js';
import { tick, time } from './format.js';

const HEIGHT = 190;
const MARGIN = { top: 10, right: 10, bottom: 24, left: 58 };
const TICKS = 4;

/**
 * A chart of `{times: [ms], series: [{name, values: [number|null]}]}`, given by `fill`. `kind` is `line`, `area` or
 * `bars`; the last two are stacked. `format` writes a value with its unit.
 */
export function chart({ title, kind = 'line', format, name }) {
  const readout = el('div', { class: 'legend' });
  const at = el('span', { class: 'at' });
  const plot = el('div', {
    class: 'plot',
    tabindex: 0,
    role: 'slider',
    'aria-label': `${title}, by time`,
    'aria-valuemin': 0,
    'aria-valuemax': 0,
    'aria-valuenow': 0,
  });
  const node = el(
    'figure',
    { class: 'chart', data: { chart: name } },
    el('figcaption', {}, title, ' ', at),
    plot,
    readout,
  );
  let content = { times: [], series: [] };
  /** Where the cursor is; `null` at the end. */
  let cursor = null;
  let cursorLine = null;
  let place = null;

  const lastIndex = () => content.times.length - 1;
  const index = () => Math.min(cursor ?? lastIndex(), lastIndex());

  function draw() {
    const width = plot.clientWidth;
    if (!width) return;
    if (!content.times.length) {
      replace(plot, el('p', { class: 'empty' }, 'Nothing in this time.'));
      replace(readout);
      return;
    }
    const top = nice(kind === 'line' ? greatest(content.series) : greatest([{ values: totals(content) }]));
    place = scales(width, content.times, top);
    cursorLine = svg('line', { class: 'cursor', y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
    plot.replaceChildren(
      svg(
        'svg',
        { width, height: HEIGHT, 'aria-hidden': 'true' },
        axes(place, top, content.times, format, width),
        shapes(kind, content, place),
        cursorLine,
      ),
    );
    plot.setAttribute('aria-valuemax', lastIndex());
    showCursor();
  }

  function showCursor() {
    const now = index();
    const x = place.x(now);
    cursorLine.setAttribute('x1', x);
    cursorLine.setAttribute('x2', x);
    cursorLine.classList.toggle('held', cursor !== null);
    const when = time(new Date(content.times[now]).toISOString());
    at.textContent = `${when} UTC`;
    const shown = content.series.map((one, number) => ({
      number,
      name: one.name,
      text: written(one.values[now], format),
    }));
    replace(
      readout,
      shown.map(({ number, name: label, text }) => el('span', {}, swatch(number), label, ' ', el('b', {}, text))),
    );
    plot.setAttribute('aria-valuenow', now);
    plot.setAttribute('aria-valuetext', `${when}: ${shown.map(one => `${one.name} ${one.text}`).join(', ')}`);
  }

  function move(to) {
    if (!place) return;
    cursor = to === null ? null : Math.max(0, Math.min(to, lastIndex()));
    showCursor();
  }

  plot.addEventListener('pointermove', event => {
    const x = event.clientX - plot.getBoundingClientRect().left;
    if (place) move(place.index(x));
  });
  plot.addEventListener('pointerleave', () => move(null));
  plot.addEventListener('blur', () => move(null));
  plot.addEventListener('keydown', event => {
    const steps = { ArrowLeft: index() - 1, ArrowRight: index() + 1, Home: 0, End: lastIndex(), Escape: null };
    if (!(event.key in steps)) return;
    event.preventDefault();
    move(steps[event.key]);
  });
  new ResizeObserver(draw).observe(plot);

  return {
    node,
    fill(fresh) {
      content = fresh;
      draw();
    },
  };
}

const written = (value, format) => (value === null || value === undefined ? '–' : format(value));

function greatest(series) {
  return series.reduce((most, one) => one.values.reduce((so, value) => Math.max(so, value ?? 0), most), 0);
}

/** Each moment's sum over all series. */
function totals({ times, series }) {
  return times.map((_, at) => series.reduce((sum, one) => sum + (one.values[at] ?? 0), 0));
}

/** The next round number: 1, 2 or 5 and noughts, so that the ticks can be read. */
function nice(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 5, 8, 10].find(step => step * power >= most) * power;
}

function scales(width, times, top) {
  const inner = width - MARGIN.left - MARGIN.right;
  const slot = inner / times.length;
  return {
    slot,
    x: at => MARGIN.left + slot * (at + 0.5),
    y: value => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom),
    index: x => Math.floor((x - MARGIN.left) / slot),
  };
}

function axes(place, top, times, format, width) {
  const rows = Array.from({ length: TICKS + 1 }, (_, at) => (top * at) / TICKS);
  const levels = rows.map(value =>
    svg(
      'g',
      {},
      svg('line', {
        class: 'grid',
        x1: MARGIN.left,
        x2: width - MARGIN.right,
        y1: place.y(value),
        y2: place.y(value),
      }),
      svg('text', { x: MARGIN.left - 6, y: place.y(value) + 4, 'text-anchor': 'end' }, format(value)),
    ),
  );
  const span = times.at(-1) - times[0];
  const wanted = Math.max(2, Math.min(8, Math.floor(width / 90)));
  const every = Math.max(1, Math.ceil(times.length / wanted));
  const marks = times.map((ms, at) => ({ ms, at })).filter(({ at }) => at % every === 0);
  return [
    levels,
    marks.map(({ ms, at }) =>
      svg('text', { x: place.x(at), y: HEIGHT - 6, 'text-anchor': 'middle' }, tick(ms, span)),
    ),
  ];
}

function shapes(kind, { times, series }, place) {
  if (kind === 'line') {
    return series.map((one, number) =>
      svg('path', { class: `line series-${number % 8}`, d: path(one.values, place) }),
    );
  }
  const below = times.map(() => 0);
  return series.map((one, number) => {
    const from = [...below];
    one.values.forEach((value, at) => {
      below[at] += value ?? 0;
    });
    const d = kind === 'bars' ? bars(from, below, place) : area(from, below, place);
    return svg('path', { class: `fill series-${number % 8}`, d });
  });
}

/** A line with gaps where nothing was measured. */
function path(values, place) {
  let isDown = false;
  return values
    .map((value, at) => {
      if (value === null || value === undefined) {
        isDown = false;
        return '';
      }
      const step = `${isDown ? 'L' : 'M'}${place.x(at).toFixed(1)} ${place.y(value).toFixed(1)}`;
      // A point without neighbours is drawn as a dot, by its round end.
      const dot = isDown ? '' : 'h0.01';
      isDown = true;
      return step + dot;
    })
    .join('');
}

function area(from, to, place) {
  const point = (value, at) => `${place.x(at).toFixed(1)} ${place.y(value).toFixed(1)}`;
  const back = from.map(point).reverse();
  return `M${to.map(point).join('L')}L${back.join('L')}Z`;
}

function bars(from, to, place) {
  const wide = Math.max(1, place.slot * 0.8);
  return to
    .map((value, at) => {
      const height = place.y(from[at]) - place.y(value);
      if (height <= 0) return '';
      const left = place.x(at) - wide / 2;
      const [x, y, w, h] = [left, place.y(value), wide, height].map(number => number.toFixed(1));
      return `M${x} ${y}h${w}v${h}h-${w}Z`;
    })
    .join('');
}

/** The colour of a series, beside its name. */
export function swatch(number) {
  return svg(
    'svg',
    { class: 'swatch', 'aria-hidden': 'true' },
    svg('rect', { width: '100%', height: '100%', class: `fill series-${number % 8}` }),
  );
}

/** Bars beside each other, one for each name: `[{name, value, text}]`, the greatest first. */
export function ranking(rows, label) {
  const most = Math.max(...rows.map(row => row.value), 0);
  return el(
    'ul',
    { class: 'ranking', 'aria-label': label },
    rows.map(row =>
      el(
        'li',
        {},
        el('span', { class: 'name' }, row.name),
        svg(
          'svg',
          { class: 'bar', 'aria-hidden': 'true' },
          svg('rect', {
            height: '100%',
            class: 'fill series-0',
            width: `${most > 0 ? (100 * row.value) / most : 0}%`,
          }),
        ),
        el('span', { class: 'number' }, row.text),
      ),
    ),
  );
}
