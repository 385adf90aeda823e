//! How fast an engine is, learned from its answers.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is assumed before anything was observed: 20,000 tokens of prefill a second.
const PRIOR_NS_PER_PREFILL_TOKEN: u64 = 50_000;
/// And half a millisecond of everybody's time for each token of a stream's.
const PRIOR_NS_PER_DECODE_TOKEN: u64 = 500_000;
const PRIOR_OUTPUT_TOKENS: u64 = 256;
/// One thirty-second of what was seen is forgotten with each answer.
const FORGET: u64 = 32;
/// After this long without an answer half of what was learned is doubted: an engine that was slow may have recovered, and
/// only a request can tell.
const DOUBT_AFTER_US: u64 = 30_000_000;

/// Costs of an engine, or of a model's engines together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Nanoseconds for a token of prefill.
    pub prefill_ns_per_token: u64,
    /// Nanoseconds that a running stream still takes of the engine: its tokens to come, each at what it adds to a step.
    pub decode_ns_per_stream: u64,
}

/// What was learned of one engine, or of a model's engines together. Reading takes no lock.
#[derive(Debug)]
pub struct Rates {
    prefill_ns_per_token: AtomicU64,
    decode_ns_per_stream: AtomicU64,
    observed_at_us: AtomicU64,
    sums: Mutex<Sums>,
}

/// Sums that fade. Each is about as large as what some thirty answers bring.
#[derive(Debug, Default)]
struct Sums {
    prefill_ns: u64,
    prefill_tokens: u64,
    /// Time between tokens, and the streams that shared it.
    decode_ns: u64,
    decode_streams: u64,
    output_tokens: u64,
    outputs: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            prefill_ns_per_token: AtomicU64::new(0),
            decode_ns_per_stream: AtomicU64::new(0),
            observed_at_us: AtomicU64::new(0),
            sums: Mutex::default(),
        }
    }
}

/// Streams that a step has room for at no cost: what a step takes besides them is as much as so many would.
const FREE_STREAMS: u64 = 32;

impl Rates {
    /// A first token came after `after_us`, with so many tokens of prefill to do at the engine when it was sent: its own and
    /// those before it.
    pub fn first_token(&self, prefill_tokens: u64, after_us: u64, now_us: u64) {
        let mut sums = self.sums.lock();
        fade(&mut sums.prefill_ns, after_us.saturating_mul(1_000));
        fade(&mut sums.prefill_tokens, prefill_tokens.max(1));
        let rate = sums.prefill_ns / sums.prefill_tokens.max(1);
        self.prefill_ns_per_token.store(rate.max(1), Ordering::Relaxed);
        self.observed_at_us.store(now_us, Ordering::Relaxed);
    }

    /// A stream ended: so many tokens after its first, over so long, with so many streams beside it.
    pub fn streamed(&self, tokens: u64, took_us: u64, streams: u64) {
        if tokens == 0 {
            return;
        }
        let mut sums = self.sums.lock();
        fade(&mut sums.decode_ns, took_us.saturating_mul(1_000) / tokens);
        fade(&mut sums.decode_streams, streams.saturating_add(FREE_STREAMS));
        fade(&mut sums.output_tokens, tokens);
        fade(&mut sums.outputs, 1 << 10);
        let per_token = sums.decode_ns / sums.decode_streams.max(1);
        // On average a stream that runs is half done.
        let left = (sums.output_tokens << 10) / sums.outputs.max(1) / 2;
        let rate = per_token.saturating_mul(left);
        self.decode_ns_per_stream.store(rate.max(1), Ordering::Relaxed);
    }

    /// How fast this is thought to be now; `others` is for what is not known, and for what was known too long ago.
    pub fn speed(&self, others: Speed, now_us: u64) -> Speed {
        let age = now_us.saturating_sub(self.observed_at_us.load(Ordering::Relaxed));
        // Of 256: how much of the answer is the others'.
        let doubt = (age.saturating_mul(256) / (age.saturating_add(DOUBT_AFTER_US))).min(256);
        let mix = |own: u64, others: u64| match own {
            0 => others,
            own => {
                (own.saturating_mul(256 - doubt)
                    .saturating_add(others.saturating_mul(doubt)))
                    / 256
            }
        };
        Speed {
            prefill_ns_per_token: mix(
                self.prefill_ns_per_token.load(Ordering::Relaxed),
                others.prefill_ns_per_token,
            ),
            decode_ns_per_stream: mix(
                self.decode_ns_per_stream.load(Ordering::Relaxed),
                others.decode_ns_per_stream,
            ),
        }
    }
}

impl Default for Speed {
    /// What is assumed before anything was observed.
    fn default() -> Self {
        Self {
            prefill_ns_per_token: PRIOR_NS_PER_PREFILL_TOKEN,
            decode_ns_per_stream: PRIOR_NS_PER_DECODE_TOKEN / FREE_STREAMS * PRIOR_OUTPUT_TOKENS / 2,
        }
    }
}

fn fade(sum: &mut u64, more: u64) {
    *sum = (*sum - *sum / FORGET).saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_as_fast_as_it_was_seen_to_be_and_doubted_with_time() {
        let rates = Rates::default();
        assert_eq!(rates.speed(Speed::default(), 0), Speed::default());
        for _ in 0..200 {
            rates.first_token(1_000, 100_000, 0);
            rates.streamed(100, 2_000_000, 8);
        }
        let speed = rates.speed(Speed::default(), 0);
        assert!(
            (95_000..=105_000).contains(&speed.prefill_ns_per_token),
            "{speed:?}"
        );
        // 20 ms a step among 8 + 32, for 50 tokens to come.
        assert!(
            (24_000_000..=26_000_000).contains(&speed.decode_ns_per_stream),
            "{speed:?}"
        );
        let later = rates.speed(Speed::default(), DOUBT_AFTER_US);
        assert!(
            (70_000..=80_000).contains(&later.prefill_ns_per_token),
            "{later:?}"
        );
    }
}
