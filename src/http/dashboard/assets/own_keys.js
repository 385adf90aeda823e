// The account's own API keys.

import { owner, part, query } from './api.js';
import { button, el } from './dom.js';
import { makeKey, revokeKey, rotateKey } from './key_forms.js';
import { keyTable } from './key_table.js';
import { pagedList } from './paged.js';
import { head, sheet } from './parts.js';

export const ownKeys = {
  name: 'keys',
  nav: 'Keys',
  title: 'API keys',
  show({ root, every }) {
    const paged = pagedList({
      placeholder: 'name or id',
      read: page => owner.get(`me/keys${query(page)}`),
      draw: rows => list.fill(rows),
    });
    const done = paged.load;
    const path = key => `me/keys/${part(key.id)}`;
    const list = keyTable({
      withAccount: false,
      acts: [
        [
          'Rotate',
          'rotate-key',
          key => rotateKey(key, { done, rotate: body => owner.send('POST', `${path(key)}/rotate`, body) }),
        ],
        [
          'Revoke',
          'revoke-key',
          key => revokeKey(key, { done, revoke: () => owner.send('DELETE', path(key)) }),
        ],
      ],
    });
    const make = () => makeKey({ done, create: body => owner.send('POST', 'me/keys', body) });
    root.append(
      head('API keys', button('Make key', 'make-key', make, { class: 'primary' })),
      el('p', { class: 'quiet' }, 'A key gives nobody more than the one that you signed in with has itself.'),
      sheet(null, el('div', { class: 'filters' }, paged.search, paged.total), list.node, paged.more),
    );
    every(15, paged.load);
  },
};
