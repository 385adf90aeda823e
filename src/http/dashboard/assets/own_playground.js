// Playground: asks a model with the key that is signed in, and shows the answer, its speed and its cost as they come.

import { owner, part, post } from './api.js';
import { field, showFault } from './dialog.js';
import { button, el } from './dom.js';
import { meter } from './meter.js';
import { head, sheet } from './parts.js';
import { events } from './sse.js';

/** How long after its end a request that was stopped is asked for. */
const BOOKED_AFTER_MS = 1500;

export const playground = {
  name: 'playground',
  nav: 'Playground',
  title: 'Playground',
  async show({ root, signal }) {
    const models = await owner.list('models');
    if (signal.aborted) return;
    const messages = [];
    let running = null;
    signal.addEventListener('abort', () => running?.abort());
    const model = field({
      name: 'model',
      label: 'Model',
      type: 'select',
      options: models.map(one => one.id),
      value: models[0]?.id,
    });
    const most = field({
      name: 'max_tokens',
      label: 'Tokens of the answer at most',
      type: 'number',
      min: 1,
      value: 256,
    });
    const temperature = field({
      name: 'temperature',
      label: 'Temperature',
      type: 'number',
      min: 0,
      max: 2,
      step: 0.1,
      value: 0.7,
    });
    const system = field({ name: 'system', label: 'System message', type: 'textarea', rows: 2 });
    const message = field({ name: 'message', label: 'Message', type: 'textarea', rows: 3, required: true });
    const talk = el('div', { class: 'talk', data: { field: 'talk' } });
    const measure = meter();
    const problem = el('div');
    const send = el('button', { class: 'primary', data: { action: 'send' } }, 'Send');
    const stop = button('Stop', 'stop', () => running?.abort(), { disabled: true });
    const clear = button('Clear', 'clear', () => {
      running?.abort();
      messages.length = 0;
      talk.replaceChildren();
    });
    const chosen = () => models.find(one => one.id === model.read());
    const isEmbedding = () => chosen()?.metadata.tags.includes('embedding') ?? false;
    const showTask = () => {
      [most, temperature, system].forEach(one => {
        one.node.hidden = isEmbedding();
      });
    };
    model.control.addEventListener('change', showTask);
    const form = el(
      'form',
      { class: 'ask', 'aria-label': 'Ask', on: { submit } },
      el('div', { class: 'filters' }, model.node, most.node, temperature.node),
      system.node,
      message.node,
      problem,
      el('div', { class: 'actions' }, send, stop, clear),
    );
    message.control.addEventListener('keydown', event => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    root.append(
      head('Playground'),
      el('p', { class: 'quiet' }, 'Your key pays for what you ask here.'),
      sheet(null, talk, form),
      sheet('This answer', measure.node),
    );
    showTask();

    async function submit(event) {
      event.preventDefault();
      const asked = message.read();
      if (running || !asked) return;
      running = new AbortController();
      send.disabled = true;
      stop.disabled = false;
      problem.replaceChildren();
      measure.begin(chosen().metadata.pricing);
      try {
        if (isEmbedding()) await embed(asked);
        else await chat(asked);
      } catch (fault) {
        if (fault.name !== 'AbortError') showFault(problem, fault);
      } finally {
        measure.end();
        running = null;
        send.disabled = false;
        stop.disabled = true;
      }
      const request = measure.unsettled();
      if (request) setTimeout(() => lookUp(request), BOOKED_AFTER_MS);
    }

    /** What was stopped is booked a moment later. If it is not found yet, the link to its receipt is there still. */
    async function lookUp(request) {
      const receipt = await owner.get(`receipts/${part(request)}`).catch(() => null);
      if (receipt?.status === 'settled' && measure.unsettled() === request) measure.booked(receipt);
    }

    async function chat(asked) {
      const rules = system.read() ? [{ role: 'system', content: system.read() }] : [];
      messages.push({ role: 'user', content: asked });
      const question = turn('user', asked);
      const answer = turn('assistant', '');
      talk.append(question, answer);
      const body = {
        model: model.read(),
        messages: [...rules, ...messages],
        stream: true,
        stream_options: { include_usage: true },
      };
      if (most.read()) body.max_tokens = Number(most.read());
      if (temperature.read()) body.temperature = Number(temperature.read());
      const said = { role: 'assistant', content: '' };
      try {
        const response = await post('chat/completions', body, running.signal);
        message.control.value = '';
        measure.request(response.headers);
        for await (const data of events(response)) {
          const text = measure.event(data);
          said.content += text;
          answer.lastChild.append(text);
        }
      } finally {
        // A question without an answer is no part of the talk: it goes back to be asked again.
        if (said.content) {
          messages.push(said);
        } else {
          messages.pop();
          [question, answer].forEach(node => node.remove());
          message.control.value = asked;
        }
      }
    }

    async function embed(asked) {
      talk.append(turn('user', asked));
      const response = await post('embeddings', { model: model.read(), input: asked }, running.signal);
      measure.request(response.headers);
      const text = await response.text();
      measure.whole(text);
      const numbers = JSON.parse(text).data[0].embedding;
      talk.append(turn('assistant', `${numbers.length} numbers: ${numbers.slice(0, 8).join(', ')}, …`));
      message.control.value = '';
    }
  },
};

function turn(role, text) {
  return el(
    'div',
    { class: `turn ${role}`, data: { role } },
    el('small', {}, role === 'user' ? 'You' : 'Model'),
    el('p', {}, text),
  );
}
