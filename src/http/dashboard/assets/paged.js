// Long lists: what a search finds, the newest first, and more of it on demand.

import { attempt, field } from './dialog.js';
import { button, debounced, el } from './dom.js';
import { count } from './format.js';

const PAGE = 100;
/** The gateway gives no more at once. */
const LARGEST_PAGE = 1000;

/**
 * A list that is read a page at a time: `read({search, limit, after})` asks for a page, `draw(rows)` shows all that was
 * read. `load` reads again as much as is shown, `fresh` the first page.
 */
export function pagedList({ placeholder, value, read, draw }) {
  let wanted = PAGE;
  let turn = 0;
  const search = field({ name: 'search', label: 'Search', type: 'search', placeholder, value, data: { field: 'search' } });
  const total = el('p', { class: 'quiet', role: 'status', data: { field: 'total' } });
  const more = button('More', 'more', () => attempt(() => show(wanted + PAGE)), { hidden: true });
  const fresh = () => attempt(() => show(PAGE));
  search.control.addEventListener('input', debounced(fresh));

  async function load() {
    const mine = (turn += 1);
    const rows = [];
    let page = { next: null };
    do {
      const limit = Math.min(wanted - rows.length, LARGEST_PAGE);
      page = await read({ search: search.read(), limit, after: page.next });
      // Something else was asked for meanwhile, and is shown.
      if (mine !== turn) return;
      rows.push(...page.data);
    } while (page.has_more && rows.length < wanted);
    draw(rows);
    total.textContent = page.has_more ? `The newest ${count(rows.length)}` : `${count(rows.length)} in all`;
    // A button that is hidden loses the focus.
    if (!page.has_more && document.activeElement === more) search.control.focus();
    more.hidden = !page.has_more;
  }

  function show(rows) {
    wanted = rows;
    return load();
  }

  return { load, fresh, search: search.node, total, more: el('div', { class: 'actions' }, more) };
}
