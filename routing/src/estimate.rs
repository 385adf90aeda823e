//! What a request would cost at one engine, in microseconds.

use crate::rates::Speed;

/// One, in the fixed point of [`Facts::pressure`] and of the crowd.
pub const ONE: u64 = 256;
/// What a token that is prefilled costs others at an engine of average pressure while nobody waits, in prefills: it takes the
/// place of what they would have found there. Simulated (docs/adr/0015): less gives up hits that the engines had room for, more
/// lets requests wait for a cache longer than it spares them.
const PRESSURE_WEIGHT: u64 = 4;
/// How much more it costs for each request that waits on average at each engine: the more there is to do, the more is lost by
/// doing it twice.
const CROWD_WEIGHT: u64 = 6;

/// What is known of an engine when a request is to be placed.
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
    /// Requests that wait on average at each of the model's engines, in [`ONE`]ths.
    pub crowd: u64,
    /// How much it was given to prefill of late, of the mean, in [`ONE`]ths.
    pub pressure: u64,
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
    /// What its prefill costs others: those that wait behind it, and those whose blocks it takes the place of.
    pub others_us: u64,
}

impl Estimate {
    /// All of it: the least is the best.
    #[inline]
    pub fn total_us(self) -> u64 {
        self.prefill_us
            .saturating_add(self.queue_us)
            .saturating_add(self.decode_us)
            .saturating_add(self.others_us)
    }
}

/// What a request would cost at an engine of this speed.
#[inline]
pub fn estimate(facts: Facts, speed: Speed) -> Estimate {
    let left = facts.prompt_tokens.saturating_sub(facts.cached_tokens).max(1);
    let us = |tokens: u64| tokens.saturating_mul(speed.prefill_ns_per_token) / 1_000;
    // Squared: an engine that is given twice as much as others forgets twice as fast, and makes twice as many wait.
    let pressure = facts.pressure.saturating_mul(facts.pressure) / ONE;
    let spared = (PRESSURE_WEIGHT * ONE).saturating_add(facts.crowd.saturating_mul(CROWD_WEIGHT));
    // And as many as wait there now are likely to wait behind this one.
    let weight = facts
        .waiting
        .saturating_mul(ONE)
        .saturating_add(pressure.saturating_mul(spared) / ONE);
    Estimate {
        prefill_us: speed.first_token_ns(left) / 1_000,
        queue_us: us(facts.ahead_tokens),
        decode_us: facts.streams.saturating_mul(speed.decode_ns_per_stream) / 1_000,
        others_us: us(left).saturating_mul(weight) / ONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(cached_tokens: u64, ahead_tokens: u64) -> Facts {
        Facts {
            prompt_tokens: 10_000,
            cached_tokens,
            ahead_tokens,
            waiting: 0,
            streams: 0,
            crowd: 0,
            pressure: ONE,
        }
    }

    fn total(facts: Facts) -> u64 {
        estimate(facts, Speed::default()).total_us()
    }

    #[test]
    fn a_cache_is_worth_waiting_for_until_the_queue_is_longer_than_what_it_spares() {
        let (cold, held) = (facts(0, 0), facts(9_000, 0));
        assert!(total(held) < total(cold));
        assert!(total(facts(9_000, 20_000)) < total(cold), "two prefills' wait");
        assert!(
            total(facts(9_000, 200_000)) > total(cold),
            "twenty prefills' wait: a hot prefix spreads"
        );
    }

    #[test]
    fn what_was_given_much_of_late_is_given_less_and_streams_count() {
        let pressed = Facts {
            pressure: 2 * ONE,
            ..facts(0, 0)
        };
        assert!(total(pressed) > total(facts(0, 0)));
        let busy = Facts {
            streams: 30,
            ..facts(0, 0)
        };
        assert!(total(busy) > total(facts(0, 0)));
        let crowded = Facts {
            waiting: 4,
            ..facts(0, 0)
        };
        assert!(
            total(crowded) > total(facts(0, 0)),
            "whoever comes after it waits for it"
        );
    }
}
