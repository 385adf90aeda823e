// The owner's usage and costs in OpenAI's buckets, all pages of them.

import { owner, query } from './api.js';
import { moneyOf } from './format.js';

const DAY_SECONDS = 86_400;
/** The most days on a page of usage. */
const PAGE_DAYS = 31;

/** For heights only. */
export const costNumber = result => Number(result.amount.picodollars) / 1e12;

/** The first second of so many days, today among them, in UTC. */
function startOf(days) {
  const today = Math.floor(Date.now() / 1000 / DAY_SECONDS) * DAY_SECONDS;
  return today - (days - 1) * DAY_SECONDS;
}

/** What each day cost. */
export const costsByDay = days =>
  buckets('organization/costs', { start_time: startOf(days), bucket_width: '1d', limit: days });

/** What was used each day by model and by key: completions, and embeddings as they have no completion tokens. */
export async function usageOf(days) {
  const asked = {
    start_time: startOf(days),
    bucket_width: '1d',
    limit: Math.min(days, PAGE_DAYS),
    group_by: 'model,api_key_id',
  };
  const [completions, embeddings] = await Promise.all([
    buckets('organization/usage/completions', asked),
    buckets('organization/usage/embeddings', asked),
  ]);
  return completions.map((bucket, at) => ({
    ...bucket,
    results: [...bucket.results, ...(embeddings[at]?.results ?? []).map(asCompletions)],
  }));
}

const asCompletions = result => ({
  ...result,
  input_cached_tokens: 0,
  input_uncached_tokens: result.input_tokens,
  output_tokens: 0,
  output_reasoning_tokens: 0,
});

async function buckets(path, asked) {
  const data = [];
  let page = null;
  do {
    const answer = await owner.get(`${path}${query({ ...asked, page })}`);
    data.push(...answer.data);
    page = answer.next_page;
  } while (page);
  return data;
}

/** All results with one name together: by model, by key, or by day, as `name(result, bucket)` has it. */
export function sumsOf(all, name) {
  const sums = new Map();
  for (const bucket of all) {
    for (const result of bucket.results) {
      const of = name(result, bucket);
      if (!sums.has(of))
        sums.set(of, {
          name: of,
          requests: 0,
          prompt_tokens: 0,
          cached_tokens: 0,
          completion_tokens: 0,
          picodollars: 0n,
        });
      const sum = sums.get(of);
      sum.requests += result.num_model_requests;
      sum.prompt_tokens += result.input_tokens;
      sum.cached_tokens += result.input_cached_tokens;
      sum.completion_tokens += result.output_tokens;
      sum.picodollars += BigInt(result.cost.picodollars);
    }
  }
  return [...sums.values()].map(sum => ({ ...sum, cost: moneyOf(sum.picodollars) }));
}
