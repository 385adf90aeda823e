//! How fast a model's engines are, learned from their answers, and how fast each of them is among these.

use crate::estimate::ONE;
use crate::fading::{FadingShare, faded};
use crate::prompt::share;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is assumed before anything was observed: 20,000 tokens of prefill a second.
const PRIOR_NS_PER_PREFILL_TOKEN: u64 = 50_000;
/// And for a stream that runs, two milliseconds of everybody's time before it ends.
const PRIOR_NS_PER_STREAM: u64 = 2_000_000;
/// One thirty-second of what was seen is forgotten with each answer.
const FORGET: u64 = 32;
/// Each answer's weight in the sums, so that there is something to forget of it.
const WEIGHT: u64 = 1 << 10;
/// Streams that a step has room for at no cost: what a step takes besides them is as much as so many would.
const FREE_STREAMS: u64 = 32;
/// After this long without an answer half of what was learned of an engine is doubted: it may have recovered, and only a
/// request can tell.
const DOUBT_AFTER_US: u64 = 30_000_000;
/// Added to what an engine took and to what it was expected to take: a few milliseconds more or less are no pace.
const SPARE_NS: u64 = 100_000_000;
/// Answers before which the engines together are not known well enough to judge one of them by.
const ANSWERS_TO_JUDGE: u64 = 16;

/// What work costs at an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Nanoseconds to a first token, however short the prompt.
    pub base_ns: u64,
    /// Nanoseconds for a token of prefill.
    pub prefill_ns_per_token: u64,
    /// Nanoseconds that a running stream still takes of the engine: its tokens to come, each at what it adds to a step.
    pub decode_ns_per_stream: u64,
}

impl Default for Speed {
    /// What is assumed before anything was observed.
    fn default() -> Self {
        Self {
            base_ns: 0,
            prefill_ns_per_token: PRIOR_NS_PER_PREFILL_TOKEN,
            decode_ns_per_stream: PRIOR_NS_PER_STREAM,
        }
    }
}

impl Speed {
    /// The time to a first token with so many tokens of prefill to do, its own and those ahead of it.
    #[inline]
    pub fn first_token_ns(self, prefill_tokens: u64) -> u64 {
        let prefill = self.prefill_ns_per_token.saturating_mul(prefill_tokens);
        self.base_ns.saturating_add(prefill)
    }

    /// The same work at an engine that takes so many [`ONE`]ths of the time.
    #[inline]
    #[must_use]
    pub fn paced(self, pace: u64) -> Self {
        let paced = |ns: u64| ns.saturating_mul(pace) / ONE;
        Self {
            base_ns: paced(self.base_ns),
            prefill_ns_per_token: paced(self.prefill_ns_per_token).max(1),
            decode_ns_per_stream: paced(self.decode_ns_per_stream),
        }
    }
}

/// What was learned of a model's engines together: a line through the times to the first token. Reading takes no lock.
#[derive(Debug)]
pub struct Rates {
    base_ns: AtomicU64,
    prefill_ns_per_token: AtomicU64,
    decode_ns_per_stream: AtomicU64,
    answers: AtomicU64,
    sums: Mutex<Sums>,
}

/// Sums that fade. Each is about as large as what some thirty answers bring.
#[derive(Debug, Default)]
struct Sums {
    /// Of times to the first token: how many, their tokens, their nanoseconds, and the products that a line needs.
    first: [u128; 5],
    /// Time between tokens, and the streams that shared it.
    decode_ns: u64,
    decode_streams: u64,
    output_tokens: u64,
    outputs: u64,
}

impl Default for Rates {
    fn default() -> Self {
        let prior = Speed::default();
        Self {
            base_ns: AtomicU64::new(prior.base_ns),
            prefill_ns_per_token: AtomicU64::new(prior.prefill_ns_per_token),
            decode_ns_per_stream: AtomicU64::new(prior.decode_ns_per_stream),
            answers: AtomicU64::new(0),
            sums: Mutex::default(),
        }
    }
}

impl Rates {
    /// Whether an engine can be judged by what the engines together take.
    pub fn can_judge(&self) -> bool {
        self.answers.load(Ordering::Relaxed) >= ANSWERS_TO_JUDGE
    }

    /// How fast the engines are thought to be.
    pub fn speed(&self) -> Speed {
        Speed {
            base_ns: self.base_ns.load(Ordering::Relaxed),
            prefill_ns_per_token: self.prefill_ns_per_token.load(Ordering::Relaxed),
            decode_ns_per_stream: self.decode_ns_per_stream.load(Ordering::Relaxed),
        }
    }

    /// A first token came after `took_ns`, with so many tokens of prefill to do at the engine when it was sent.
    pub fn first_token(&self, prefill_tokens: u64, took_ns: u64) {
        let (x, y) = (u128::from(prefill_tokens), u128::from(took_ns));
        let mut sums = self.sums.lock();
        let seen = [1, x, y, x * x, x * y];
        for (sum, more) in sums.first.iter_mut().zip(seen) {
            let more = more.saturating_mul(u128::from(WEIGHT));
            *sum = (*sum - *sum / u128::from(FORGET)).saturating_add(more);
        }
        let (slope, base) = line(sums.first);
        drop(sums);
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.prefill_ns_per_token.store(slope.max(1), Ordering::Relaxed);
        self.base_ns.store(base, Ordering::Relaxed);
    }

    /// A stream ended: so many tokens after its first, over so long, with so many streams beside it.
    pub fn streamed(&self, tokens: u64, took_ns: u64, streams: u64) {
        if tokens == 0 {
            return;
        }
        let mut sums = self.sums.lock();
        fade(&mut sums.decode_ns, took_ns / tokens);
        fade(&mut sums.decode_streams, streams.saturating_add(FREE_STREAMS));
        fade(&mut sums.output_tokens, tokens.saturating_mul(WEIGHT));
        fade(&mut sums.outputs, WEIGHT);
        let per_token = sums.decode_ns / sums.decode_streams.max(1);
        // On average a stream that runs is half done.
        let left = sums.output_tokens / sums.outputs.max(1) / 2;
        drop(sums);
        let rate = per_token.saturating_mul(left);
        self.decode_ns_per_stream.store(rate.max(1), Ordering::Relaxed);
    }
}

/// Slope and height of the line through what was seen; through the origin where all of it has the same length.
fn line([n, x, y, xx, xy]: [u128; 5]) -> (u64, u64) {
    let most = y.checked_div(x).unwrap_or(0);
    let spread = n.saturating_mul(xx).saturating_sub(x.saturating_mul(x));
    let rise = n.saturating_mul(xy).saturating_sub(x.saturating_mul(y));
    // A spread below a tenth of the mean's square says nothing of a slope.
    let told = spread > x.saturating_mul(x) / 10;
    let slope = if told {
        (rise / spread.max(1)).min(most)
    } else {
        most
    };
    let base = y.saturating_sub(slope.saturating_mul(x)).checked_div(n);
    let fit = |ns: u128| u64::try_from(ns).unwrap_or(u64::MAX);
    (fit(slope), fit(base.unwrap_or(0)))
}

fn fade(sum: &mut u64, more: u64) {
    *sum = faded(*sum, more, FORGET);
}

/// How long one engine takes for what its model's engines take on average. Whether it was given long or short prompts makes no
/// difference to it.
#[derive(Debug)]
#[repr(C)]
pub struct Pace {
    /// The factor, and until when it is that: all that a choice reads.
    known: AtomicU64,
    /// Nanoseconds that it took, of those that were expected.
    took: FadingShare<FORGET>,
    answered_at_us: AtomicU64,
}

/// Bits of [`Pace::known`] that are the factor; the others are the first microsecond at which it may be another.
const FACTOR_BITS: u32 = 17;
/// The least and the most that is thought of an engine, in [`ONE`]ths.
const FASTEST: u64 = ONE / 16;
const SLOWEST: u64 = ONE * 256;

impl Default for Pace {
    fn default() -> Self {
        Self {
            known: AtomicU64::new(0),
            took: FadingShare::new(1, 1),
            answered_at_us: AtomicU64::new(0),
        }
    }
}

impl Pace {
    /// A first token came after `took_ns`, and the engines together would have had it come after `expected_ns`.
    pub fn answered(&self, expected_ns: u64, took_ns: u64, now_us: u64) {
        self.took.add(took_ns, expected_ns);
        self.answered_at_us.store(now_us, Ordering::Relaxed);
        self.known.store(0, Ordering::Relaxed);
    }

    /// In [`ONE`]ths of the average: more is slower.
    #[inline]
    pub fn factor(&self, now_us: u64) -> u64 {
        let known = self.known.load(Ordering::Relaxed);
        if now_us < known >> FACTOR_BITS {
            return known & ((1 << FACTOR_BITS) - 1);
        }
        let (factor, until_us) = self.factor_now(now_us);
        let until_us = until_us.min(u64::MAX >> FACTOR_BITS);
        self.known
            .store(until_us << FACTOR_BITS | factor, Ordering::Relaxed);
        factor
    }

    /// The factor, and until when it stays the same if no answer comes.
    #[cold]
    fn factor_now(&self, now_us: u64) -> (u64, u64) {
        let (took, expected) = self.took.sums();
        let own = share(
            ONE,
            took.saturating_add(SPARE_NS),
            expected.saturating_add(SPARE_NS),
        );
        let own = own.clamp(FASTEST, SLOWEST);
        let answered_at_us = self.answered_at_us.load(Ordering::Relaxed);
        let age = now_us.saturating_sub(answered_at_us);
        let doubt = share(ONE, age, age.saturating_add(DOUBT_AFTER_US));
        // It grows by one at the age of which it is that share.
        let (more, less) = (doubt + 1, ONE.saturating_sub(doubt + 1));
        let grows_at = (DOUBT_AFTER_US * more).div_ceil(less.max(1));
        let until_us = match less {
            0 => u64::MAX,
            _ => answered_at_us.saturating_add(grows_at),
        };
        let factor = own.saturating_mul(ONE - doubt) + ONE * doubt;
        (factor / ONE, until_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(is: u64, expected: u64) -> bool {
        is.abs_diff(expected) <= expected / 10
    }

    #[test]
    fn what_is_long_anyway_is_told_from_what_a_token_takes() {
        let rates = Rates::default();
        assert_eq!(rates.speed(), Speed::default());
        for turn in 0..200 {
            let tokens = 100 + 1_900 * (turn % 2);
            rates.first_token(tokens, 5_000_000 + tokens * 40_000);
            rates.streamed(100, 2_000_000_000, 8);
        }
        let speed = rates.speed();
        assert!(
            near(speed.prefill_ns_per_token, 40_000) && near(speed.base_ns, 5_000_000),
            "{speed:?}"
        );
        // 20 ms a step among 8 + 32, for 50 tokens to come.
        assert!(near(speed.decode_ns_per_stream, 25_000_000), "{speed:?}");
    }

    #[test]
    fn prompts_of_one_length_tell_a_rate_all_the_same() {
        let rates = Rates::default();
        for _ in 0..50 {
            rates.first_token(1_000, 100_000_000);
        }
        assert!(
            near(rates.speed().prefill_ns_per_token, 100_000),
            "{:?}",
            rates.speed()
        );
    }

    proptest! {
        #[test]
        fn what_is_kept_of_a_factor_is_what_it_is(
            answered in (1_u64..1 << 34, 1_u64..1 << 34, 0_u64..1 << 36), passed in prop::collection::vec(0_u64..1 << 33, 1..30)
        ) {
            let (expected_ns, took_ns, mut now_us) = answered;
            let kept = Pace::default();
            kept.answered(expected_ns, took_ns, now_us);
            for more in passed {
                // Also the moments just before and just after it changes.
                let changes_at = kept.known.load(Ordering::Relaxed) >> FACTOR_BITS;
                for at in [now_us + (more >> 12), changes_at.saturating_sub(1), changes_at, now_us + more] {
                    now_us = now_us.max(at);
                    prop_assert_eq!(kept.factor(now_us), kept.factor_now(now_us).0, "at {}", now_us);
                }
            }
        }
    }

    #[test]
    fn an_engine_is_as_slow_as_it_was_seen_to_be_and_doubted_with_time() {
        let pace = Pace::default();
        assert_eq!(pace.factor(0), ONE);
        for _ in 0..200 {
            pace.answered(200_000_000, 2_000_000_000, 0);
        }
        assert!(near(pace.factor(0), 10 * ONE), "{}", pace.factor(0));
        assert!(
            near(pace.factor(DOUBT_AFTER_US), 11 * ONE / 2),
            "{}",
            pace.factor(DOUBT_AFTER_US)
        );
    }
}
