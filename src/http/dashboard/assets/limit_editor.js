// A number that is edited where it stands: Enter saves, Escape gives up, "default" takes it back.

import { attempt, toast } from './dialog.js';
import { button, el, replace } from './dom.js';
import { count } from './format.js';

/** `value` null: there is no number of its own. `save(number)` is called with null to take it back. */
export function limitEditor({ label, value, isDefault, mayEdit, save, takeBack = 'default', none = 'no limit' }) {
  const text = value === null ? none : `${count(value)}${isDefault ? ' (default)' : ''}`;
  if (!mayEdit) return el('span', {}, text);
  const node = el('span', { class: 'inline-edit' });
  const open = button(text, 'edit-limit', edit, { class: 'plain', 'aria-label': `${label}: ${text}. Change` });
  node.append(open);
  return node;

  function edit() {
    node.dataset.editing = '';
    const input = el('input', {
      type: 'text',
      inputmode: 'numeric',
      'aria-label': label,
      data: { field: 'limit-input' },
      on: { keydown },
    });
    input.value = value ?? '';
    replace(
      node,
      input,
      button('Save', 'save-limit', () => finish(input.value)),
      button(takeBack, 'default-limit', () => finish(takeBack), { 'aria-label': `${takeBack}: take back ${label}` }),
      button('Cancel', 'cancel-limit', close),
    );
    input.focus();
    input.select();
  }

  function keydown(event) {
    if (event.key !== 'Escape' && event.key !== 'Enter') return;
    // The focus moves to the button, which this key must not press.
    event.preventDefault();
    if (event.key === 'Escape') close();
    else finish(event.target.value.trim());
  }

  function close() {
    delete node.dataset.editing;
    node.replaceChildren(open);
    open.focus();
  }

  async function finish(typed) {
    if (typed !== takeBack && !/^\d+$/.test(typed)) {
      toast(`Write a whole number or "${takeBack}".`, 'bad');
      return;
    }
    const number = typed === takeBack ? null : Number(typed);
    await attempt(
      async () => {
        close();
        await save(number);
      },
      `${label}: ${number === null ? takeBack : count(number)}`,
    );
  }
}
