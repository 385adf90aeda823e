// Makes elements. Text only ever goes in as text nodes: names, notes and model ids are written by others.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * An HTML element. `attributes` may have `data` (an object of data-* attributes) and `on` (listeners by event); an
 * attribute that is null or false is left out, and so is such a child.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'data') Object.assign(node.dataset, value);
    else if (name === 'on') Object.entries(value).forEach(([event, act]) => node.addEventListener(event, act));
    else node.setAttribute(name, value === true ? '' : value);
  }
  put(node, children);
  return node;
}

/** Appends children, lists of them too. */
export function put(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

/** Replaces what is in an element, unless it is the same already: focus and selection in it are kept. */
export function replace(node, ...children) {
  const fresh = put(document.createDocumentFragment(), children);
  const now = [...node.childNodes];
  const next = [...fresh.childNodes];
  if (now.length === next.length && now.every((child, at) => child.isEqualNode(next[at]))) return;
  node.replaceChildren(fresh);
}

/** A button. `data-action` names it for tests. */
export function button(label, action, click, attributes = {}) {
  return el('button', { type: 'button', data: { action }, on: { click }, ...attributes }, label);
}

/** Does it once nothing has been typed for a moment. */
export function debounced(act, pause = 250) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, pause);
  };
}

/** A link to a page of the dashboard. */
export function link(hash, ...label) {
  return el('a', { href: `#/${hash}` }, ...label);
}

/** A bar that is filled by a part of its whole. What it says stands beside it. */
export function bar(part, whole) {
  const share = whole > 0 ? Math.min(part / whole, 1) : 0;
  const level = share >= 1 ? 'full' : share >= 0.8 ? 'high' : 'calm';
  return svg(
    'svg',
    { class: `bar ${level}`, 'aria-hidden': 'true' },
    svg('rect', { width: '100%', height: '100%', class: 'bar-back' }),
    svg('rect', { width: `${(share * 100).toFixed(1)}%`, height: '100%', class: 'bar-fill' }),
  );
}

/** A word in a coloured box: good, warn, bad or plain. */
export function badge(text, tone = 'plain') {
  return el('span', { class: `badge ${tone}` }, text);
}
