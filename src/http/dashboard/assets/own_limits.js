// What the account may have at once and in a minute, and asking for more.

import { owner } from './api.js';
import { form, toast } from './dialog.js';
import { el, replace } from './dom.js';
import { count, time } from './format.js';
import { head, ofLimit, sheet, state } from './parts.js';
import { facts, table } from './table.js';

export const ownLimits = {
  name: 'limits',
  nav: 'Limits',
  title: 'Limits',
  show({ root, every, live }) {
    const now = el('div');
    const models = modelTable();
    const rates = rateTable();
    const asked = askedTable();
    const loadAsked = async () => asked.fill(await owner.list('me/rate_limit/requests'));
    root.append(
      head('Limits'),
      sheet('What the account may do', now),
      sheet('Limits of one model', models.node),
      sheet('Limits of one model a minute', rates.node),
      sheet('Ask for more', askForm(loadAsked)),
      sheet('What was asked', asked.node),
    );
    live(limits => {
      replace(now, limitFacts(limits));
      models.fill(limits.models);
      rates.fill(limits.model_rates);
    });
    every(10, loadAsked);
  },
};

const rate = number => (number === null ? 'no limit' : count(number));

function limitFacts(limits) {
  return facts(
    [
      ['Requests in flight at once', ofLimit(limits.in_flight, limits.rate_limit), 'in_flight'],
      ['Requests a minute', rate(limits.rpm_rate_limit), 'requests_per_minute'],
      ['Tokens a minute', rate(limits.tpm_rate_limit), 'tokens_per_minute'],
    ],
    'Limits',
  );
}

function modelTable() {
  return table({
    label: 'Limits of one model',
    key: row => row.model,
    empty: 'No model has a limit of its own or requests in flight.',
    columns: [
      { head: 'Model', nowrap: true, cell: row => row.model },
      { head: 'In flight', cell: row => ofLimit(row.in_flight, row.limit ?? null) },
      { head: 'Limit', number: true, cell: row => count(row.limit) },
    ],
  });
}

function rateTable() {
  return table({
    label: 'Limits of one model a minute',
    key: row => row.model,
    empty: 'No model has a limit by the minute.',
    columns: [
      { head: 'Model', nowrap: true, cell: row => row.model },
      { head: 'Requests a minute', number: true, cell: row => rate(row.rpm_rate_limit) },
      { head: 'Tokens a minute', number: true, cell: row => rate(row.tpm_rate_limit) },
    ],
  });
}

/** The operator decides; one request is open at a time. */
function askForm(done) {
  const made = form({
    label: 'Ask for more',
    submit: 'Ask',
    fields: [
      { name: 'rate_limit', label: 'Requests in flight at once', type: 'number', min: 1, required: true },
      { name: 'tpm_rate_limit', label: 'Tokens a minute, if they matter', type: 'number', min: 1 },
      { name: 'reason', label: 'Why', type: 'textarea', required: true, maxlength: 1000 },
    ],
    send: async values => {
      await owner.send('POST', 'me/rate_limit/request', {
        rate_limit: Number(values.rate_limit),
        reason: values.reason,
        ...(values.tpm_rate_limit ? { tpm_rate_limit: Number(values.tpm_rate_limit) } : {}),
      });
      made.reset();
      toast('It was asked. The answer will stand below.');
      await done();
    },
  });
  return made;
}

function askedTable() {
  return table({
    label: 'What was asked',
    key: row => row.id,
    data: row => ({ ask: row.id }),
    empty: 'Nothing was asked.',
    columns: [
      { head: 'Asked', nowrap: true, cell: row => time(row.created_at) },
      { head: 'At once', number: true, cell: row => count(row.rate_limit) },
      { head: 'Tokens a minute', number: true, cell: row => count(row.tpm_rate_limit) },
      { head: 'Why', cell: row => row.reason },
      {
        head: 'State',
        field: 'state',
        cell: row => [state(row.state), row.granted === null ? null : ` ${count(row.granted)} given`],
      },
      { head: 'Answer', field: 'note', cell: row => row.note || '–' },
      { head: 'Decided', nowrap: true, cell: row => time(row.decided_at) },
    ],
  });
}
