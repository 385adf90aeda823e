//! What a request would cost at one engine, in microseconds.

use crate::rates::Speed;

/// What is known when a request is to be placed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// The prompt's tokens.
    pub prompt_tokens: u64,
    /// Those that the engine is thought to hold, as far as that is believed.
    pub cached_tokens: u64,
    /// Tokens of prefill that it has still to do.
    pub ahead_tokens: u64,
    /// Requests that wait there for their first token.
    pub waiting: u64,
    /// Streams that run there.
    pub streams: u64,
}

/// What a request would cost at one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// The prefill that is left to do of it.
    pub prefill_us: u64,
    /// The prefill before it.
    pub queue_us: u64,
    /// What the running streams take.
    pub decode_us: u64,
    /// What its prefill makes those wait that come after it.
    pub delay_us: u64,
}

impl Estimate {
    /// All of it: the least is the best.
    pub fn total_us(self) -> u64 {
        self.prefill_us
            .saturating_add(self.queue_us)
            .saturating_add(self.decode_us)
            .saturating_add(self.delay_us)
    }
}

/// What a request would cost at an engine of this speed. `crowd` is how many requests wait on average at the model's
/// engines, in sixteenths: as many will wait behind this one, wherever it goes, and so its prefill is paid by them too.
pub fn estimate(facts: Facts, speed: Speed, crowd: u64) -> Estimate {
    let left = facts.prompt_tokens.saturating_sub(facts.cached_tokens).max(1);
    let us = |tokens: u64| tokens.saturating_mul(speed.prefill_ns_per_token) / 1_000;
    Estimate {
        prefill_us: us(left),
        queue_us: us(facts.ahead_tokens),
        decode_us: facts.streams.saturating_mul(speed.decode_ns_per_stream) / 1_000,
        delay_us: us(left).saturating_mul(crowd) / 16,
    }
}
