// The account's own API keys.

import { owner, part } from './api.js';
import { button, el } from './dom.js';
import { makeKey, revokeKey, rotateKey } from './key_forms.js';
import { keyTable } from './key_table.js';
import { head, sheet } from './parts.js';

export const ownKeys = {
  name: 'keys',
  nav: 'Keys',
  title: 'API keys',
  show({ root, every }) {
    const load = async () => list.fill(await owner.list('me/keys'));
    const path = key => `me/keys/${part(key.id)}`;
    const list = keyTable({
      withAccount: false,
      acts: [
        [
          'Rotate',
          'rotate-key',
          key => rotateKey(key, { done: load, rotate: body => owner.send('POST', `${path(key)}/rotate`, body) }),
        ],
        [
          'Revoke',
          'revoke-key',
          key => revokeKey(key, { done: load, revoke: () => owner.send('DELETE', path(key)) }),
        ],
      ],
    });
    const make = () => makeKey({ done: load, create: body => owner.send('POST', 'me/keys', body) });
    root.append(
      head('API keys', button('Make key', 'make-key', make, { class: 'primary' })),
      el('p', { class: 'quiet' }, 'A key gives nobody more than the one that you signed in with has itself.'),
      sheet(null, list.node),
    );
    every(15, load);
  },
};
