// Starts the dashboard: who is signed in, which pages there are for them, and which one is shown.

import { admin, openSession, owner, signOut } from './api.js';
import { attempt, showFault } from './dialog.js';
import { el, replace } from './dom.js';
import { onLive, startLive, startPolling } from './live.js';
import { OWNER_PAGES, STAFF_PAGES } from './pages.js';

const ROLES = ['viewer', 'operator', 'admin'];
const PENDING_SECONDS = 15;

const main = document.getElementById('main');
const nav = document.getElementById('nav');
const menu = document.getElementById('menu');

let session = null;
let pages = [];
/** Ends the timers and listeners of the page that is shown. */
let shown = new AbortController();

async function start() {
  wireHeader();
  try {
    session = await openSession();
  } catch (fault) {
    showFault(main, fault, () => location.reload());
    return;
  }
  const isStaff = session.kind === 'staff';
  pages = isStaff ? STAFF_PAGES : OWNER_PAGES;
  document.getElementById('who').textContent = isStaff
    ? `${session.name} (${session.role})`
    : `${session.account_name ?? session.account} (key ${session.name})`;
  drawNav();
  if (isStaff) {
    startLive(showConnection);
    showPending();
    setInterval(showPending, PENDING_SECONDS * 1000);
  } else {
    startPolling(() => owner.get('me/rate_limit'), showConnection);
  }
  addEventListener('hashchange', () => {
    show();
    // What had the focus is gone, or folded away with the navigation.
    main.focus({ preventScroll: true });
  });
  show();
}

function wireHeader() {
  document.getElementById('sign-out').addEventListener('click', () => attempt(signOut));
  const themeButton = document.getElementById('theme');
  const name = () => `Theme: ${theme()}`;
  themeButton.textContent = name();
  themeButton.addEventListener('click', () => {
    const next = { auto: 'light', light: 'dark', dark: 'auto' };
    applyTheme(next[theme()]);
    themeButton.textContent = name();
  });
  menu.addEventListener('click', () => fold(!nav.classList.contains('open')));
  document.getElementById('skip').addEventListener('click', event => {
    // The hash belongs to the pages.
    event.preventDefault();
    main.focus();
  });
}

function fold(isOpen) {
  nav.classList.toggle('open', isOpen);
  menu.setAttribute('aria-expanded', String(isOpen));
}

function drawNav() {
  const items = pages.map(page =>
    el(
      'li',
      {},
      el(
        'a',
        { href: `#/${page.name}`, data: { nav: page.name } },
        page.nav,
        el('span', { class: 'pending', data: { pending: page.name }, hidden: true }),
      ),
    ),
  );
  replace(nav, el('ul', {}, items));
}

function showConnection(state) {
  const sign = document.getElementById('live');
  if (sign.dataset.state === state) return;
  sign.dataset.state = state;
  sign.textContent = state;
}

/** How many requests for more wait for a decision. */
async function showPending() {
  const sign = document.querySelector('[data-pending="asks"]');
  if (!sign || document.hidden) return;
  // It is asked for again soon: a fault now is not worth a message.
  const open = await admin.get('limit-requests?state=open').catch(() => null);
  if (open === null) return;
  sign.hidden = open.data.length === 0;
  replace(sign, `${open.data.length}${open.has_more ? '+' : ''}`, el('span', { class: 'unseen' }, ' waiting'));
}

function show() {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/').map(decodeURIComponent);
  const page = pages.find(one => one.name === name) ?? pages[0];
  shown.abort();
  shown = new AbortController();
  fold(false);
  document.querySelectorAll('dialog').forEach(dialog => dialog.close());
  document.title = `${page.title} · farebox`;
  nav.querySelectorAll('a').forEach(anchor => {
    if (anchor.dataset.nav === page.name) anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  });
  const root = el('div', { class: 'page' });
  main.replaceChildren(root);
  main.dataset.page = page.name;
  scrollTo(0, 0);
  draw(page, contextOf(root, rest.join('/'), new URLSearchParams(search)));
}

async function draw(page, context) {
  try {
    await page.show(context);
  } catch (fault) {
    if (context.signal.aborted) return;
    const box = el('div');
    context.root.replaceChildren(el('h1', {}, page.title), box);
    showFault(box, fault, show);
  }
}

/** What a page is given. */
function contextOf(root, rest, search) {
  const { signal } = shown;
  return {
    root,
    rest,
    search,
    session,
    signal,
    /** Whether whoever is signed in may do what needs this role. */
    can: role => ROLES.indexOf(session.role) >= ROLES.indexOf(role),
    live: listener => onLive(listener, signal),
    /** Does it now, and again so many seconds after each time until the page is left; not while nobody looks. */
    every: (seconds, doing) => repeat(seconds, doing, signal, root),
    pendingChanged: showPending,
    /** Shows the page anew. */
    again: show,
  };
}

async function repeat(seconds, doing, signal, root) {
  const problem = el('div', { class: 'problem', role: 'alert', hidden: true });
  root.prepend(problem);
  for (let isFirst = true; !signal.aborted; isFirst = false) {
    if (isFirst || !document.hidden) {
      try {
        await doing();
        problem.hidden = true;
      } catch (fault) {
        if (signal.aborted) return;
        problem.textContent = fault.message;
        problem.hidden = false;
      }
    }
    await new Promise(resolve => {
      setTimeout(resolve, seconds * 1000);
    });
  }
}

start();
