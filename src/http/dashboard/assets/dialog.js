// Dialogs, forms in them, and messages that pass.

import { button, debounced, el, replace } from './dom.js';

let number = 0;

/** Opens a dialog. `build(close)` makes what is in it. */
export function openDialog(title, build) {
  const id = `dialog-${(number += 1)}`;
  const dialog = el('dialog', { 'aria-labelledby': id, on: { close: () => dialog.remove() } });
  const close = () => dialog.close();
  dialog.append(el('h2', { id }, title), build(close));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * A dialog with a form. Each field has `name`, `label` and perhaps `type` (text, number, password, date, month, select,
 * textarea, checkbox, checks), `value`, `options`, `hint`, `required` and other attributes. `send(values)` does it;
 * what it throws is shown in the form.
 */
export function formDialog({ title, intro, fields, submit, danger, send }) {
  openDialog(title, close =>
    form({
      intro,
      fields,
      submit,
      danger,
      send: async values => {
        await send(values);
        close();
      },
      extra: button('Cancel', 'cancel', close),
    }),
  );
}

/** Asks before something that cannot be taken back. */
export function confirmDialog({ title, text, submit, send }) {
  formDialog({ title, intro: text, fields: [], submit, danger: true, send });
}

/** A form, in a dialog or on a page. */
export function form({ intro, fields, submit, danger = false, send, extra, label, ...attributes }) {
  const problem = el('p', { class: 'problem', role: 'alert', hidden: true });
  const made = fields.filter(Boolean).map(field);
  const sendButton = el('button', { class: danger ? 'danger' : 'primary', data: { action: 'submit' } }, submit);
  const onSubmit = async event => {
    event.preventDefault();
    sendButton.disabled = true;
    problem.hidden = true;
    try {
      await send(Object.fromEntries(made.map(one => [one.name, one.read()])));
    } catch (fault) {
      problem.textContent = fault.message;
      problem.hidden = false;
    } finally {
      sendButton.disabled = false;
    }
  };
  return el(
    'form',
    { on: { submit: onSubmit }, 'aria-label': label, ...attributes },
    intro ? el('p', {}, intro) : null,
    made.map(one => one.node),
    problem,
    el('div', { class: 'actions' }, sendButton, extra),
  );
}

/**
 * A labelled control, and how its value is read. `suggest(text)` may give what is offered while one types, as pairs of a
 * value and what stands beside it.
 */
export function field({ name, label, type = 'text', value = '', options = [], hint, suggest, ...attributes }) {
  const id = `field-${(number += 1)}`;
  const told = hint ? { 'aria-describedby': `${id}-hint` } : {};
  const hintNode = hint ? el('small', { id: `${id}-hint` }, hint) : null;
  if (type === 'checks') return checks({ name, label, value, options, hintNode });
  const control = controlOf(type, { id, name, ...told, ...attributes }, value, options);
  const labelNode = el('label', { for: id }, label);
  const isBox = type === 'checkbox';
  const node = el(
    'div',
    { class: isBox ? 'field box' : 'field' },
    isBox ? [control, labelNode] : [labelNode, control],
    hintNode,
  );
  if (suggest) offer(node, control, suggest);
  return { name, node, control, read: () => (isBox ? control.checked : control.value.trim()) };
}

function offer(node, control, suggest) {
  const list = el('datalist', { id: `${control.id}-offered` });
  const fill = async () => {
    // Without suggestions it is typed whole.
    const found = await suggest(control.value.trim()).catch(() => []);
    replace(
      list,
      found.map(([value, text]) => el('option', { value }, text)),
    );
  };
  control.setAttribute('list', list.id);
  control.setAttribute('autocomplete', 'off');
  control.addEventListener('focus', fill);
  control.addEventListener('input', debounced(fill));
  node.append(list);
}

function controlOf(type, attributes, value, options) {
  if (type === 'select') {
    const select = el(
      'select',
      attributes,
      options.map(option => {
        const [key, text] = Array.isArray(option) ? option : [option, option];
        return el('option', { value: key }, text);
      }),
    );
    select.value = value;
    return select;
  }
  const control =
    type === 'textarea' ? el('textarea', { rows: 4, ...attributes }) : el('input', { type, ...attributes });
  if (type === 'checkbox') control.checked = Boolean(value);
  else control.value = value ?? '';
  return control;
}

function checks({ name, label, value, options, hintNode }) {
  const boxes = options.map(option =>
    field({ name: option, label: option, type: 'checkbox', value: value.includes(option) }),
  );
  const node = el(
    'fieldset',
    {},
    el('legend', {}, label),
    boxes.map(box => box.node),
    hintNode,
  );
  return { name, node, read: () => boxes.filter(box => box.read()).map(box => box.name) };
}

/** Shows a secret, this once. */
export function secretDialog(title, secret) {
  openDialog(title, close => {
    const shown = el('input', {
      type: 'text',
      readonly: true,
      class: 'secret',
      'aria-label': 'Secret',
      data: { field: 'secret' },
    });
    shown.value = secret;
    const said = el('span', { role: 'status' });
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(secret);
        said.textContent = 'Copied.';
      } catch {
        shown.select();
        said.textContent = 'Selected: copy it with the keyboard.';
      }
    };
    return el(
      'div',
      {},
      el('p', {}, 'It is shown this once, and only its hash is kept. Copy it now.'),
      shown,
      el(
        'div',
        { class: 'actions' },
        button('Copy', 'copy', copy, { class: 'primary' }),
        button('Done', 'done', close),
        said,
      ),
    );
  });
}

/** A message that passes: what went well, or what did not. */
export function toast(text, tone = 'good') {
  const box = document.getElementById('toasts');
  const node = el('div', { class: `toast ${tone}`, role: tone === 'bad' ? 'alert' : 'status' }, text);
  box.append(node);
  setTimeout(() => node.remove(), 7000);
}

/** Does something and says so; what goes wrong is said as well. */
export async function attempt(doing, done) {
  try {
    await doing();
    if (done) toast(done);
  } catch (fault) {
    toast(fault.message, 'bad');
  }
}

/** Shows a fault where the answer would have been. */
export function showFault(node, fault, again) {
  replace(
    node,
    el(
      'div',
      { class: 'problem', role: 'alert' },
      fault.message,
      ' ',
      again ? button('Try again', 'again', again) : null,
    ),
  );
}
