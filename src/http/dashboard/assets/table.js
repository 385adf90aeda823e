// Tables: sorted by their heads, and refilled without losing the focus or what is being edited.

import { el, replace } from './dom.js';

/**
 * A table. A column has `head`, `cell(row)`, and perhaps `field` (its name for tests), `number` (right-aligned) and
 * `sort(row)` and `nowrap`. `key(row)` tells rows apart; `data(row)` is put on them. `sorted` is `[column, descending]`.
 */
export function table({ label, columns, key, data = () => ({}), empty = 'Nothing.', sorted = null, foot = null }) {
  const shownColumns = columns.filter(Boolean);
  let order = sorted;
  let rows = [];
  const kept = new Map();
  const body = el('tbody');
  const footer = el('tfoot');
  const heads = shownColumns.map((column, at) => {
    const sortBy = () => {
      order = [at, order?.[0] === at ? !order[1] : Boolean(column.number)];
      draw();
    };
    const name = column.sort
      ? el('button', { type: 'button', class: 'sort', on: { click: sortBy } }, column.head)
      : column.head;
    return el('th', { scope: 'col', class: column.number ? 'number' : null }, name);
  });
  const node = el(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label },
    el('table', {}, el('caption', { class: 'unseen' }, label), el('thead', {}, el('tr', {}, heads)), body, footer),
  );

  function draw() {
    const list = order ? [...rows].sort(comparing(shownColumns[order[0]].sort, order[1])) : rows;
    heads.forEach((head, at) => {
      if (order?.[0] === at) head.setAttribute('aria-sort', order[1] ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    const seen = new Set();
    const nodes = list.map(row => {
      const id = key(row);
      seen.add(id);
      if (!kept.has(id)) kept.set(id, newRow());
      const tr = kept.get(id);
      Object.assign(tr.dataset, data(row));
      fillRow(tr, row);
      return tr;
    });
    [...kept.keys()].filter(id => !seen.has(id)).forEach(id => kept.delete(id));
    if (!nodes.length) nodes.push(el('tr', {}, el('td', { colspan: shownColumns.length, class: 'empty' }, empty)));
    arrange(body, nodes);
    const last = foot && rows.length ? foot(rows) : null;
    if (last) replace(footer, last);
    else footer.replaceChildren();
  }

  function newRow() {
    return el(
      'tr',
      {},
      shownColumns.map(column =>
        el('td', {
          class: column.number ? 'number' : column.nowrap ? 'nowrap' : null,
          data: column.field ? { field: column.field } : {},
        }),
      ),
    );
  }

  function fillRow(tr, row) {
    shownColumns.forEach((column, at) => {
      const cell = tr.children[at];
      if (!cell.querySelector('[data-editing]')) replace(cell, column.cell(row));
    });
  }

  return {
    node,
    fill(fresh) {
      rows = fresh;
      draw();
    },
  };
}

/** Puts rows in their order around the one that has the focus: an element that is moved loses it. */
function arrange(body, nodes) {
  const wanted = new Set(nodes);
  [...body.children].filter(child => !wanted.has(child)).forEach(child => child.remove());
  const fixed = nodes.findIndex(node => node.contains(document.activeElement));
  for (let at = fixed - 1; at >= 0; at -= 1) {
    if (nodes[at].nextSibling !== nodes[at + 1]) body.insertBefore(nodes[at], nodes[at + 1]);
  }
  for (let at = fixed + 1; at < nodes.length; at += 1) {
    const place = at === 0 ? body.firstChild : nodes[at - 1].nextSibling;
    if (place !== nodes[at]) body.insertBefore(nodes[at], place);
  }
}

function comparing(value, isDescending) {
  const compare = (one, other) => {
    if (one === other) return 0;
    if (one === null || one === undefined) return -1;
    if (other === null || other === undefined) return 1;
    return typeof one === 'string' ? one.localeCompare(other) : one < other ? -1 : 1;
  };
  return (one, other) => compare(value(one), value(other)) * (isDescending ? -1 : 1);
}

/** What there is about one thing: a list of names and values. */
export function facts(pairs, label) {
  const shown = pairs
    .filter(Boolean)
    .map(([name, value, fieldName]) =>
      el('div', {}, el('dt', {}, name), el('dd', { data: fieldName ? { field: fieldName } : {} }, value ?? '–')),
    );
  return el('dl', { class: 'facts', 'aria-label': label }, shown);
}
