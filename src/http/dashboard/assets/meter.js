// The playground's meter: tokens, TTFT, speed and cost of an answer while it streams.

import { el } from './dom.js';
import { count, duration, measured, usdShort, usdText } from './format.js';
import { receiptLink } from './parts.js';
import { facts } from './table.js';

/**
 * Until the usage comes at the end, each piece of the answer is taken for one token, and the cost is what those cost: it
 * is shown as an estimate. What comes then is the ledger's, to the picodollar.
 */
export function meter() {
  const node = el('div', { 'aria-live': 'off', data: { field: 'meter' } });
  let now = null;
  show();

  function show() {
    if (!now) {
      node.replaceChildren(el('p', { class: 'empty' }, 'Nothing was asked yet.'));
      return;
    }
    const { usage, pieces, pricing } = now;
    const tokens = usage?.completion_tokens ?? pieces;
    const answering = now.firstAt ? ((now.endedAt ?? performance.now()) - now.firstAt) / 1000 : 0;
    const estimate = (pieces * (pricing.output_tokens ?? 0)) / 1e6;
    node.replaceChildren(
      facts(
        [
          ['Prompt tokens', usage ? count(usage.prompt_tokens) : '–', 'prompt_tokens'],
          ['Cached of them', usage ? count(usage.prompt_tokens_details?.cached_tokens ?? 0) : '–', 'cached_tokens'],
          ['Completion tokens', usage ? count(tokens ?? 0) : `≈ ${count(tokens)}`, 'completion_tokens'],
          ['TTFT', now.firstAt ? duration(now.firstAt - now.begunAt) : '–', 'ttft'],
          [
            'Tokens a second',
            answering > 0 && tokens > 1 ? measured((tokens - 1) / answering) : '–',
            'tokens_per_second',
          ],
          ['Whole', duration((now.endedAt ?? performance.now()) - now.begunAt), 'total'],
          ['Cost', now.cost ? usdText(now.cost) : `≈ ${usdShort(estimate)} and the prompt`, 'cost'],
          ['Receipt', now.request ? receiptLink(now.request) : '–', 'receipt'],
        ],
        'This answer',
      ),
    );
  }

  function take(text, answer) {
    if (!answer.usage) return;
    now.usage = answer.usage;
    now.cost = costText(text);
  }

  return {
    node,
    begin(pricing) {
      now = {
        pricing,
        pieces: 0,
        usage: null,
        cost: null,
        request: null,
        begunAt: performance.now(),
        firstAt: null,
        endedAt: null,
      };
      show();
    },
    request(headers) {
      now.request = headers.get('x-farebox-request-id') ?? headers.get('x-request-id');
      show();
    },
    /** Takes one event of a stream, and gives back what it adds to the answer. */
    event(data) {
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      const delta = chunk.choices?.[0]?.delta ?? {};
      const text = (delta.reasoning_content ?? '') + (delta.content ?? '');
      if (text) {
        now.firstAt ??= performance.now();
        now.pieces += 1;
      }
      take(data, chunk);
      show();
      return text;
    },
    /** Takes an answer in one piece. */
    whole(text) {
      take(text, JSON.parse(text));
    },
    /** The request whose usage did not come, as it was stopped or broke off; `null` if it did. */
    unsettled: () => (now.cost === null ? now.request : null),
    /** Takes what was booked for it. */
    booked(receipt) {
      now.usage = { ...receipt, prompt_tokens_details: { cached_tokens: receipt.cached_tokens } };
      now.cost = receipt.cost.usd;
      show();
    },
    end() {
      now.endedAt = performance.now();
      show();
    },
  };
}

/** The exact decimal as it was written: a float would round it. */
const costText = text => text.match(/"estimated_cost"\s*:\s*"?(\d+(?:\.\d+)?)(?=\s*[",}])/)?.[1] ?? null;
