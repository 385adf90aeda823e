// Home of an account's owner: what runs, what is left to spend, and what it cost day by day.

import { owner } from './api.js';
import { chart } from './chart.js';
import { el, link, replace } from './dom.js';
import { compact, count, percent, usd, usdShort } from './format.js';
import { head, ofLimit, sheet } from './parts.js';
import { costNumber, costsByDay, sumsOf, usageOf } from './own_usage_data.js';
import { facts, table } from './table.js';

const DAYS = 30;

export const home = {
  name: 'home',
  nav: 'Home',
  title: 'Home',
  show({ root, every, live, session }) {
    const now = el('div');
    const money = el('div');
    const cost = chart({ title: `Cost a day, the last ${DAYS} days`, kind: 'bars', format: usdShort, name: 'cost' });
    const tokens = chart({ title: 'Tokens a day', kind: 'bars', format: compact, name: 'tokens' });
    const models = modelTable();
    root.append(
      head(session.account_name ?? 'Home'),
      el(
        'div',
        { class: 'columns' },
        sheet('In flight', now, el('p', {}, link('limits', 'Limits, and asking for more'))),
        sheet('Money', money),
      ),
      el('div', { class: 'columns' }, sheet(null, cost.node), sheet(null, tokens.node)),
      sheet(`By model, the last ${DAYS} days`, models.node),
    );
    live(limits =>
      replace(
        now,
        facts([['Requests in flight', ofLimit(limits.in_flight, limits.rate_limit), 'in_flight']], 'In flight'),
      ),
    );
    every(15, async () => money.replaceChildren(moneyFacts(await owner.get('me/balance'))));
    every(60, async () => {
      const [costs, usage] = await Promise.all([costsByDay(DAYS), usageOf(DAYS)]);
      const times = costs.map(bucket => bucket.start_time * 1000);
      cost.fill({
        times,
        series: [
          {
            name: 'cost',
            values: costs.map(bucket => bucket.results.reduce((sum, one) => sum + costNumber(one), 0)),
          },
        ],
      });
      const total = name => usage.map(bucket => bucket.results.reduce((sum, one) => sum + one[name], 0));
      tokens.fill({
        times: usage.map(bucket => bucket.start_time * 1000),
        series: [
          { name: 'prompt', values: total('input_uncached_tokens') },
          { name: 'cached prompt', values: total('input_cached_tokens') },
          { name: 'completion', values: total('output_tokens') },
        ],
      });
      models.fill(sumsOf(usage, row => row.model));
    });
  },
};

function moneyFacts(balance) {
  return facts(
    [
      ['Balance', usd(balance.balance), 'balance'],
      ['Left for new requests', balance.available ? usd(balance.available) : 'no ceiling', 'available'],
      ['Held by requests in flight', usd(balance.held), 'held'],
      [`Spent in ${balance.month.month}`, usd(balance.month.spent), 'month_spent'],
      ['May be spent in a month', balance.month.limit ? usd(balance.month.limit) : 'no ceiling', 'month_limit'],
    ],
    'Money',
  );
}

function modelTable() {
  return table({
    label: 'By model',
    key: row => row.name,
    data: row => ({ model: row.name }),
    empty: 'Nothing was used.',
    sorted: [5, true],
    columns: [
      { head: 'Model', cell: row => row.name },
      { head: 'Requests', number: true, cell: row => count(row.requests) },
      { head: 'Prompt tokens', number: true, cell: row => count(row.prompt_tokens) },
      { head: 'Cached share', number: true, cell: row => percent(row.cached_tokens, row.prompt_tokens) },
      { head: 'Completion tokens', number: true, cell: row => count(row.completion_tokens) },
      {
        head: 'Cost',
        field: 'cost',
        number: true,
        sort: row => BigInt(row.cost.picodollars),
        cell: row => usd(row.cost),
      },
    ],
  });
}
