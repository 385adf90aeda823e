//! The requests: their texts, their moments, and how large a cache they want.

use crate::options::Options;
use crate::world::engine::BlockCache;
use crate::world::trace::{self, BLOCK_TOKENS, Request, ratio};
use farebox_bench_support::Outcome;
use serde_json::{Value, json};
use std::time::Duration;

/// The simulated engine's tokens are of four bytes.
const TOKEN_BYTES: usize = 4;
/// Tokens of an engine's cache block.
const CACHE_BLOCK_TOKENS: u64 = 16;
/// What the engines serve.
pub const MODEL: &str = "simulated";

/// What every contender is given.
pub struct Load {
    requests: Vec<Request>,
    /// When each is sent, from the beginning.
    pub at: Vec<Duration>,
    /// Output tokens of each.
    outputs: Vec<u64>,
    /// Blocks of the trace, each counted once.
    pub distinct_blocks: usize,
    /// What one engine's cache holds.
    pub cache_tokens: u64,
    /// The hit rate of one cache as large as all together, and of an infinite one.
    pub bounds: (f64, f64),
}

/// Reads or makes up the requests.
pub fn of(options: &Options) -> Outcome<Load> {
    let mut requests = match &options.trace {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|fault| format!("{}: {fault}", path.display()))?;
            trace::parse(&text)?
        }
        None => trace::made_up(),
    };
    requests.truncate(usize::try_from(options.requests)?);
    let outputs: Vec<u64> = requests
        .iter()
        .map(|request| u64::from(request.output).div_ceil(options.output_share))
        .collect();
    let distinct_blocks = trace::distinct(&requests);
    let cached = distinct_blocks * usize::try_from(options.cache_percent)? / 100;
    let cache_tokens = u64::try_from(cached * BLOCK_TOKENS)? / options.engines;
    let infinite = usize::MAX / 256;
    Ok(Load {
        at: moments(options, &requests, &outputs),
        bounds: (trace::bound(&requests, cached), trace::bound(&requests, infinite)),
        requests,
        outputs,
        distinct_blocks,
        cache_tokens,
    })
}

/// The trace's own times, drawn together. It tells them in steps of seconds: what comes in one is spread over it.
fn moments(options: &Options, requests: &[Request], outputs: &[u64]) -> Vec<Duration> {
    let mut spread: Vec<f64> = Vec::with_capacity(requests.len());
    for together in requests.chunk_by(|one, next| one.at_ms == next.at_ms) {
        let begins = together[0].at_ms;
        let next = requests.get(spread.len() + together.len());
        let until = next.map_or(begins, |next| next.at_ms) - begins;
        let share = until / ratio(together.len() as u64, 1);
        spread.extend((0..together.len() as u64).map(|turn| begins + share * ratio(turn, 1)));
    }
    let mut cache = BlockCache::new(usize::MAX / 256);
    let mut busy_seconds = 0.0;
    for (request, &output) in requests.iter().zip(outputs) {
        let cut = request.prompt.cut();
        let computed = cut.tokens - cut.tokens_of(cache.leading(&request.prompt)).min(cut.tokens - 1);
        cache.touch(&request.prompt);
        busy_seconds += ratio(computed, options.prefill_rate) + ratio(output, options.decode_rate);
    }
    let places = ratio(options.engines * options.slots * options.load, 100);
    let scale = busy_seconds / places / spread.last().map_or(1.0, |last| last.max(1.0));
    spread
        .iter()
        .map(|at| Duration::from_secs_f64(at * scale))
        .collect()
}

impl Load {
    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Blocks of an engine's cache.
    pub fn cache_blocks(&self) -> u64 {
        self.cache_tokens / CACHE_BLOCK_TOKENS
    }

    /// The prompts' tokens, as the trace counts them.
    pub fn prompt_tokens(&self) -> u64 {
        self.requests
            .iter()
            .map(|request| request.prompt.cut().tokens)
            .sum()
    }

    /// A streamed chat: the first block of the trace is the system prompt, each of the others somebody's turn, and what is left
    /// over the last question.
    pub fn body(&self, index: usize) -> Vec<u8> {
        let request = &self.requests[index];
        let roles = std::iter::once("system").chain(["user", "assistant"].into_iter().cycle());
        let turns = request.blocks.iter().zip(roles);
        let mut messages: Vec<Value> = turns
            .map(|(&block, role)| json!({"role": role, "content": text(block, BLOCK_TOKENS)}))
            .collect();
        let tokens = usize::try_from(request.prompt.cut().tokens).unwrap_or(usize::MAX);
        let rest = tokens.saturating_sub(request.blocks.len() * BLOCK_TOKENS).max(1);
        // No block of a trace has such a number.
        let question = text(u64::MAX - index as u64, rest);
        messages.push(json!({"role": "user", "content": question}));
        let body = json!({
            "model": MODEL,
            "messages": messages,
            "max_tokens": self.outputs[index],
            "stream": true,
        });
        body.to_string().into_bytes()
    }
}

/// Letters that only this name has, the same always.
fn text(name: u64, tokens: usize) -> String {
    let mut state = name.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(tokens * TOKEN_BYTES);
    for _ in 0..tokens {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let letters = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        text.extend(letters[4..].iter().map(|byte| char::from(b'a' + byte % 16)));
    }
    text
}
