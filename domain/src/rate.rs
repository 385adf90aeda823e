//! How much a minute: a bucket that leaks as time passes, counted without a rounding.
//!
//! A bucket holds a minute's worth. What is taken fills it, and it empties evenly, so that after any time `t` no more than
//! the size and `t` of the rate was ever taken and kept. What was taken too much is given back, what was taken too little is
//! taken later, even beyond the size: whoever comes then waits for longer.

use core::fmt;
use core::time::Duration;

const NANOSECONDS_A_MINUTE: u128 = 60_000_000_000;
const NANOSECONDS_A_MILLISECOND: u128 = 1_000_000;

/// What was taken and has not leaked yet, of requests or of tokens. Times are nanoseconds of one clock that does not jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// In units times nanoseconds of a minute, so that the leak of a nanosecond is the rate itself: a whole number.
    level: u128,
    /// When `level` was so.
    at_ns: u64,
}

/// How a bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its size: what may be taken in a minute.
    pub limit: u64,
    /// What may be taken now.
    pub remaining: u64,
    /// When it will be empty, that is, when `remaining` will be `limit`, if nothing is taken.
    pub reset: Duration,
}

impl Bucket {
    /// How long whoever wants `amount` has to wait; zero where it may be taken now. An amount above the size counts as the
    /// size, or it could never be taken. `None` where nothing ever may, as the rate is zero.
    pub fn wait(&self, per_minute: u64, amount: u64, now_ns: u64) -> Option<Duration> {
        if amount == 0 {
            return Some(Duration::ZERO);
        }
        let rate = u128::from(per_minute);
        let wanted = u128::from(amount.min(per_minute)) * NANOSECONDS_A_MINUTE;
        let over = (self.level_at(rate, now_ns) + wanted).saturating_sub(rate * NANOSECONDS_A_MINUTE);
        (rate > 0).then(|| nanoseconds(over.div_ceil(rate)))
    }

    /// Takes it, whatever is in the bucket: ask [`Bucket::wait`] first, or take what was used beyond what was taken before.
    pub fn take(&mut self, per_minute: u64, amount: u64, now_ns: u64) {
        let level = self.level_at(per_minute.into(), now_ns);
        self.level = level.saturating_add(u128::from(amount) * NANOSECONDS_A_MINUTE);
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, per_minute: u64, amount: u64, now_ns: u64) {
        let level = self.level_at(per_minute.into(), now_ns);
        self.level = level.saturating_sub(u128::from(amount) * NANOSECONDS_A_MINUTE);
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// How it stands.
    pub fn standing(&self, per_minute: u64, now_ns: u64) -> Standing {
        let rate = u128::from(per_minute);
        let level = self.level_at(rate, now_ns);
        let left = (rate * NANOSECONDS_A_MINUTE).saturating_sub(level) / NANOSECONDS_A_MINUTE;
        Standing {
            limit: per_minute,
            remaining: u64::try_from(left).unwrap_or(per_minute),
            reset: match rate {
                0 => Duration::from_secs(60),
                rate => nanoseconds(level.div_ceil(rate)),
            },
        }
    }

    /// One that stands so: `level_ms` is in units times milliseconds, of which a full one has 60,000 times its size.
    pub fn with_level(level_ms: u64, now_ns: u64) -> Self {
        Self {
            level: u128::from(level_ms) * NANOSECONDS_A_MILLISECOND,
            at_ns: now_ns,
        }
    }

    /// What is in it, as [`Bucket::with_level`] takes it; rounded up.
    pub fn level_ms(&self, per_minute: u64, now_ns: u64) -> u64 {
        let level = self.level_at(per_minute.into(), now_ns);
        u64::try_from(level.div_ceil(NANOSECONDS_A_MILLISECOND)).unwrap_or(u64::MAX)
    }

    /// A reading of the clock from before the last one is that one.
    fn level_at(&self, rate: u128, now_ns: u64) -> u128 {
        let passed = u128::from(now_ns.saturating_sub(self.at_ns));
        self.level.saturating_sub(passed * rate)
    }
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

/// A time as OpenAI's `x-ratelimit-reset-*` says it: `6m0s`, `1s`, `20ms` (OpenAI API: rate limits). Rounded up to a
/// millisecond, so that whoever comes then is not early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset(pub Duration);

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_nanos().div_ceil(1_000_000);
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        if ms < 1_000 {
            return write!(f, "{ms}ms");
        }
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match ms % 1_000 {
            0 => write!(f, "{seconds}s"),
            rest if rest % 100 == 0 => write!(f, "{seconds}.{}s", rest / 100),
            rest if rest % 10 == 0 => write!(f, "{seconds}.{:02}s", rest / 10),
            rest => write!(f, "{seconds}.{rest:03}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_minute_s_worth_goes_at_once_and_the_next_one_waits_its_turn() {
        let mut bucket = Bucket::default();
        for _ in 0..60 {
            assert_eq!(bucket.wait(60, 1, 0), Some(Duration::ZERO));
            bucket.take(60, 1, 0);
        }
        assert_eq!(bucket.wait(60, 1, 0), Some(Duration::from_secs(1)));
        assert_eq!(bucket.wait(60, 1, SECOND), Some(Duration::ZERO));
        let standing = bucket.standing(60, SECOND);
        assert_eq!((standing.limit, standing.remaining), (60, 1));
        assert_eq!(standing.reset, Duration::from_secs(59));
    }

    #[test]
    fn what_is_larger_than_the_bucket_goes_when_it_is_empty_and_nothing_goes_at_a_rate_of_zero() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.wait(10, 1_000, 0), Some(Duration::ZERO));
        bucket.take(10, 1_000, 0);
        assert_eq!(bucket.standing(10, 0).remaining, 0);
        assert_eq!(bucket.wait(10, 1, 0), Some(Duration::from_secs(60 * 99 + 6)));
        assert_eq!(Bucket::default().wait(0, 1, 0), None);
        assert_eq!(Bucket::default().wait(0, 0, 0), Some(Duration::ZERO));
    }

    #[test]
    fn a_limit_that_is_raised_acts_at_once_and_forgets_nothing() {
        let mut bucket = Bucket::default();
        bucket.take(10, 10, 0);
        assert_eq!(bucket.standing(10, 0).remaining, 0);
        assert_eq!(bucket.standing(25, 0).remaining, 15);
    }

    #[test]
    fn a_level_is_taken_from_one_bucket_to_another() {
        let mut bucket = Bucket::default();
        bucket.take(10, 4, 0);
        let level = bucket.level_ms(10, 6 * SECOND);
        assert_eq!(level, 3 * 60_000);
        assert_eq!(Bucket::with_level(level, 0).standing(10, 0).remaining, 7);
    }

    #[test]
    fn a_time_is_written_as_openai_does() {
        let shown = |ms| Reset(Duration::from_millis(ms)).to_string();
        let all: Vec<_> = [0, 20, 1_000, 1_500, 59_070, 360_000, 61_001, 3_600_000]
            .into_iter()
            .map(shown)
            .collect();
        assert_eq!(
            all,
            [
                "0ms", "20ms", "1s", "1.5s", "59.07s", "6m0s", "1m1.001s", "1h0m0s"
            ]
        );
        assert_eq!(Reset(Duration::from_nanos(1)).to_string(), "1ms");
    }

    proptest! {
        /// At any time, what was taken when it might be and not given back is no more than the bucket and what leaked; and
        /// what may not be taken now may be after the wait, and not a nanosecond before.
        #[test]
        fn no_more_than_the_rate_and_no_later_than_need_be(
            rate in 1..1_000_000u64,
            steps in prop::collection::vec((0..3u8, 0..2_000_000u64, 0..20 * SECOND), 1..80),
        ) {
            let mut bucket = Bucket::default();
            let (mut now, mut kept) = (0, Vec::new());
            for (step, amount, pause) in steps {
                now += pause;
                let amount = amount % (rate + 1);
                match step {
                    0 | 1 => match bucket.wait(rate, amount, now) {
                        Some(Duration::ZERO) => {
                            bucket.take(rate, amount, now);
                            kept.push(amount);
                        }
                        Some(wait) => {
                            let then = now + u64::try_from(wait.as_nanos()).unwrap();
                            prop_assert_eq!(bucket.wait(rate, amount, then), Some(Duration::ZERO));
                            prop_assert_ne!(bucket.wait(rate, amount, then - 1), Some(Duration::ZERO));
                        }
                        None => prop_assert!(false, "the rate is not zero"),
                    },
                    _ => if let Some(taken) = kept.pop() {
                        let used = taken / 2;
                        bucket.give_back(rate, taken - used, now);
                        kept.insert(0, used);
                    },
                }
                let total: u128 = kept.iter().map(|amount| u128::from(*amount)).sum();
                let most = u128::from(rate) * (NANOSECONDS_A_MINUTE + u128::from(now));
                prop_assert!(total * NANOSECONDS_A_MINUTE <= most, "{total} after {now} ns at {rate}");
            }
        }
    }
}
