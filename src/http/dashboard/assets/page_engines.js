// Engines: what each does now, whether it is given requests, and taking it out of service.

import { admin, part } from './api.js';
import { attempt } from './dialog.js';
import { button, link } from './dom.js';
import { count, duration } from './format.js';
import { head, ofLimit, sheet, standing } from './parts.js';
import { table } from './table.js';

export const engines = {
  name: 'engines',
  nav: 'Engines',
  title: 'Engines',
  show({ root, can, live, every }) {
    let all = [];
    let now = new Map();
    let slow = new Map();
    const draw = () =>
      list.fill(
        all.map(row => ({
          waiting: null,
          usable: null,
          unanswered: 0,
          oldest_ms: null,
          ...row,
          ...now.get(row.name),
          ...slow.get(row.name),
        })),
      );
    const load = async () => {
      const [fresh, requests] = await Promise.all([admin.list('engines'), admin.list('in-flight')]);
      all = fresh;
      slow = slowness(requests);
      draw();
    };
    const list = enginesTable(can('operator') ? load : null);
    root.append(head('Engines'), sheet(null, list.node));
    live(event => {
      now = new Map(event.engines.map(engine => [engine.name, engine]));
      draw();
    });
    every(5, load);
  },
};

/** How long each engine's oldest request runs, and how many wait for their first token. */
function slowness(requests) {
  const of = new Map();
  for (const { engine, age_ms: age, answering } of requests) {
    const { oldest_ms: oldest, unanswered } = of.get(engine) ?? { oldest_ms: 0, unanswered: 0 };
    of.set(engine, { oldest_ms: Math.max(oldest, age), unanswered: unanswered + (answering ? 0 : 1) });
  }
  return of;
}

/** `changed` is null for who may not change anything. */
function enginesTable(changed) {
  return table({
    label: 'Engines',
    key: row => row.name,
    data: row => ({ engine: row.name }),
    empty: 'There are no engines.',
    columns: [
      { head: 'Engine', field: 'name', sort: row => row.name, cell: row => row.name },
      { head: 'Kind', cell: row => row.kind },
      {
        head: 'State',
        field: 'status',
        sort: row => row.status,
        cell: standing,
      },
      changed ? { head: 'Change', cell: row => change(row, changed) } : null,
      {
        head: 'Given requests',
        field: 'usable',
        cell: row => (row.usable === null ? '–' : row.usable && !row.drained ? 'yes' : 'no'),
      },
      {
        head: 'In flight',
        field: 'in_flight',
        number: true,
        sort: row => row.in_flight,
        cell: row => ofLimit(row.in_flight, row.max_concurrent),
      },
      { head: 'Waiting', field: 'waiting', number: true, sort: row => row.waiting, cell: row => count(row.waiting) },
      {
        head: 'Engine runs',
        field: 'reported_running',
        number: true,
        sort: row => row.reported_running,
        cell: row => count(row.reported_running),
      },
      {
        head: 'Engine queues',
        field: 'reported_waiting',
        number: true,
        sort: row => row.reported_waiting,
        cell: row => count(row.reported_waiting),
      },
      {
        head: 'KV cache',
        field: 'kv_cache',
        number: true,
        sort: row => row.kv_cache_permille,
        cell: row => (row.kv_cache_permille === null ? '–' : `${(row.kv_cache_permille / 10).toFixed(1)} %`),
      },
      {
        head: 'No token yet',
        field: 'unanswered',
        number: true,
        sort: row => row.unanswered,
        cell: row => link(`in-flight?engine=${part(row.name)}`, count(row.unanswered)),
      },
      {
        head: 'Oldest request',
        field: 'oldest',
        number: true,
        sort: row => row.oldest_ms,
        cell: row => duration(row.oldest_ms),
      },
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
      {
        head: 'Failed tries',
        field: 'errors',
        number: true,
        sort: row => row.errors,
        cell: row => count(row.errors),
      },
    ],
  });
}

function change(row, changed) {
  const set = action =>
    attempt(
      async () => {
        await admin.send('POST', `engines/${part(row.name)}/${action}`);
        await changed();
      },
      action === 'drain' ? `${row.name} gets no new requests.` : `${row.name} gets requests again.`,
    );
  return row.drained
    ? button('Restore', 'restore', () => set('restore'), { 'aria-label': `Restore ${row.name}` })
    : button('Drain', 'drain', () => set('drain'), { 'aria-label': `Drain ${row.name}` });
}
