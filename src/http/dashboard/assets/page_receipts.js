// Receipts: one request, and every step by which its cost came about.

import { admin, owner, part } from './api.js';
import { form, showFault } from './dialog.js';
import { el, link } from './dom.js';
import { receiptOf } from './receipt.js';
import { accountLink, go, head, sheet, state } from './parts.js';

/** A message that may quote the request is not kept. */
const NOT_KEPT = 'what it was told may quote the request, and is not kept';

/** What finds a request by its id. */
export function finder(rest) {
  const find = form({
    label: 'Find a receipt',
    class: 'filters',
    submit: 'Find',
    fields: [{ name: 'id', label: 'Request id', value: rest, required: true, size: 40, placeholder: 'req_…' }],
    send: async ({ id }) => go(`receipts/${part(id)}`),
  });
  return [
    find,
    el(
      'p',
      { class: 'quiet' },
      'The answer’s x-request-id, or x-farebox-request-id where the client sent one of its own.',
    ),
  ];
}

/** Receipts of all accounts. */
export const receipts = {
  name: 'receipts',
  nav: 'Receipts',
  title: 'Receipts',
  async show({ root, rest, signal }) {
    root.append(head('Receipts'), sheet(null, finder(rest)));
    if (!rest) return;
    const shown = el('div');
    root.append(shown);
    try {
      const receipt = await admin.get(`receipts/${part(rest)}`);
      if (signal.aborted) return;
      shown.append(
        receiptOf(receipt, [
          ['Account', accountLink(receipt.account, receipt.account_name), 'account'],
          ['Engine', receipt.engine ? link('engines', receipt.engine) : '–', 'engine'],
        ]),
      );
    } catch (fault) {
      if (fault.status !== 404) throw fault;
      await showRefusal(shown, rest, fault);
    }
  },
};

/** What was refused has no receipt, but it may be known why. */
async function showRefusal(shown, request, fault) {
  const refused = (await admin.list('refusals')).find(one => one.id === request);
  if (!refused) {
    showFault(shown, fault);
    return;
  }
  shown.append(
    sheet(
      'It was refused',
      el('p', {}, state('refused'), ` ${refused.status} ${refused.code}: ${refused.message ?? NOT_KEPT}`),
      el('p', {}, link(`refusals?code=${part(refused.code)}`, 'Others refused with this code')),
    ),
  );
}

/** The owner's receipt of a request, or `null` with the fault shown. */
export async function ownReceipt(shown, request) {
  try {
    shown.replaceChildren(receiptOf(await owner.get(`receipts/${part(request)}`), []));
  } catch (fault) {
    showFault(shown, fault);
  }
}
