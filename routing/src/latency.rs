//! Which of a model's engines is much slower than the others: by how long its first tokens took, of what was to be expected.
//!
//! A long prompt takes long anywhere, so what is compared is not a time but its ratio to the line through what all engines took
//! for prompts of every length; and of each engine the median of its last ratios, so that one answer says little. Slow is who takes
//! five times as long as its like, which a tenfold slow engine does and an older card beside newer ones does not.

use crate::estimate::ONE;
use crate::prompt::share;
use crate::rates::{Rates, Speed};
use parking_lot::Mutex;

/// Answers of an engine that are remembered, and how many it takes to judge by them.
const KEPT: usize = 16;
const ANSWERS_TO_JUDGE: usize = 8;
/// For how long.
const KEPT_US: u64 = 60_000_000;
/// How many times as long as the others.
const SLOW: u64 = 5;
/// Who is not as much slower than all together is not compared with the others, in [`ONE`]ths.
const SUSPECT: u64 = ONE + ONE / 8;
/// Added to what an answer took and to what it was expected to take: among short times a few milliseconds are many times as long.
const SPARE_NS: u64 = 50_000_000;

/// One model's engines, by their place among its deployments.
#[derive(Debug, Default)]
pub struct Latencies {
    rates: Rates,
    engines: Vec<Mutex<Answers>>,
}

/// What is remembered of one engine.
#[derive(Debug, Default)]
struct Answers {
    ring: [Seen; KEPT],
    next: usize,
    seen: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    size: u64,
    took_us: u64,
    at_us: u64,
}

/// A stream's first token, as it is judged.
#[derive(Debug, Clone, Copy)]
pub struct FirstToken {
    /// What there was to prefill for it: tokens or bytes, the same for all of the model's engines.
    pub size: u64,
    /// How long it took.
    pub took_us: u64,
    /// When it came.
    pub now_us: u64,
    /// Whether the engine is being tried after an ejection: then this answer alone is judged.
    pub is_trial: bool,
}

impl Latencies {
    /// Of so many engines.
    pub fn new(engines: usize) -> Self {
        Self {
            rates: Rates::default(),
            engines: std::iter::repeat_with(Mutex::default).take(engines).collect(),
        }
    }

    /// A first token came. Returns whether its engine is much slower than the others.
    pub fn answered(&self, engine: usize, token: FirstToken) -> bool {
        let Some(own) = self.engines.get(engine) else {
            return false;
        };
        let seen = Seen {
            size: token.size,
            took_us: token.took_us,
            at_us: token.now_us,
        };
        self.rates
            .first_token(token.size, token.took_us.saturating_mul(1_000));
        let speed = self.rates.speed();
        let median = {
            let mut own = own.lock();
            own.add(seen);
            own.median(speed, token.now_us)
        };
        if !self.rates.can_judge() {
            return false;
        }
        let is = if token.is_trial {
            Some(seen.ratio(speed))
        } else {
            median
        };
        is.filter(|ratio| *ratio > SUSPECT).is_some_and(|ratio| {
            let others = self.median_of_others(engine, speed, token.now_us);
            others.is_some_and(|others| ratio > others.saturating_mul(SLOW))
        })
    }

    /// What was seen of an engine is forgotten: it is judged anew when it comes back.
    pub fn forget(&self, engine: usize) {
        if let Some(own) = self.engines.get(engine) {
            *own.lock() = Answers::default();
        }
    }

    fn median_of_others(&self, engine: usize, speed: Speed, now_us: u64) -> Option<u64> {
        let others = self
            .engines
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != engine);
        let mut medians: Vec<u64> = others
            .filter_map(|(_, other)| other.lock().median(speed, now_us))
            .collect();
        median(&mut medians)
    }
}

impl Seen {
    /// What it took of what is expected of an engine of this speed, in [`ONE`]ths.
    fn ratio(self, speed: Speed) -> u64 {
        let took_ns = self.took_us.saturating_mul(1_000);
        share(
            ONE,
            took_ns.saturating_add(SPARE_NS),
            speed.first_token_ns(self.size).saturating_add(SPARE_NS),
        )
    }
}

impl Answers {
    fn add(&mut self, seen: Seen) {
        self.ring[self.next] = seen;
        self.next = (self.next + 1) % KEPT;
        self.seen = (self.seen + 1).min(KEPT);
    }

    /// The median ratio of those that are young; `None` where these are too few to judge by.
    fn median(&self, speed: Speed, now_us: u64) -> Option<u64> {
        let mut ratios = [0; KEPT];
        let young = self.ring[..self.seen]
            .iter()
            .filter(|seen| now_us.saturating_sub(seen.at_us) < KEPT_US);
        let mut count = 0;
        for (ratio, seen) in ratios.iter_mut().zip(young) {
            *ratio = seen.ratio(speed);
            count += 1;
        }
        if count < ANSWERS_TO_JUDGE {
            return None;
        }
        median(&mut ratios[..count])
    }
}

/// The lower one, where there are two in the middle.
fn median(values: &mut [u64]) -> Option<u64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Engines that take so many times what a prompt takes, each given prompts of these sizes in turn. Returns those that were
    /// found slow.
    fn slow(times: &[u64], sizes: impl Fn(usize, u64) -> u64) -> Vec<usize> {
        let latencies = Latencies::new(times.len());
        let mut found = Vec::new();
        for turn in 0..60 {
            for (engine, times) in times.iter().enumerate() {
                let size = sizes(engine, turn);
                let token = FirstToken {
                    size,
                    // 100 ms, and 10 ms for a thousand.
                    took_us: times * (100_000 + size * 10),
                    now_us: turn * 100_000,
                    is_trial: false,
                };
                if latencies.answered(engine, token) && !found.contains(&engine) {
                    found.push(engine);
                }
            }
        }
        found.sort_unstable();
        found
    }

    fn mixed(engine: usize, turn: u64) -> u64 {
        let turn = usize::try_from(turn).unwrap_or(0);
        [200, 40_000, 2_000, 9_000][(turn + engine) % 4]
    }

    #[test]
    fn the_tenfold_slow_one_is_found_and_nobody_else() {
        assert_eq!(slow(&[1, 10], mixed), [1]);
        assert_eq!(slow(&[1, 1, 10, 1], mixed), [2]);
        assert_eq!(slow(&[10, 1, 1, 10, 1, 1], mixed), [0, 3]);
        assert_eq!(slow(&[1, 1, 1, 1], mixed), [0; 0]);
        assert_eq!(slow(&[1, 3, 1, 3], mixed), [0; 0], "an older card");
        assert_eq!(slow(&[10], mixed), [0; 0], "there is nobody to compare it with");
    }

    #[test]
    fn it_is_found_though_its_answers_come_last() {
        let latencies = Latencies::new(2);
        let first_token = |took_us| FirstToken {
            size: 300,
            took_us,
            now_us: took_us,
            is_trial: false,
        };
        for _ in 0..12 {
            assert!(!latencies.answered(0, first_token(5_000)));
        }
        assert!((0..12).any(|_| latencies.answered(1, first_token(800_000))));
    }

    #[test]
    fn long_prompts_make_nobody_slow() {
        let long_ones_go_to_one = |engine: usize, turn: u64| {
            if engine == 1 {
                400_000 + turn * 1_000
            } else {
                100 + turn
            }
        };
        assert_eq!(slow(&[1, 1, 1], long_ones_go_to_one), [0; 0]);
        let one_that_is_very_long = |engine, turn| if (engine, turn) == (0, 50) { 4_000_000 } else { 100 };
        assert_eq!(slow(&[1, 1], one_that_is_very_long), [0; 0]);
    }

    #[test]
    fn a_trial_is_judged_alone_and_what_is_old_does_not_count() {
        let latencies = Latencies::new(2);
        let first_token = |engine, took_us, now_us, is_trial| {
            let token = FirstToken {
                size: 1_000,
                took_us,
                now_us,
                is_trial,
            };
            latencies.answered(engine, token)
        };
        for turn in 0..30 {
            assert!(!first_token(0, 100_000, turn, false));
        }
        latencies.forget(1);
        assert!(!first_token(1, 2_000_000, 40, false), "one answer says little");
        assert!(first_token(1, 2_000_000, 40, true));
        assert!(!first_token(1, 120_000, 40, true));
        assert!(
            !first_token(1, 2_000_000, KEPT_US + 40, true),
            "nobody knows what the others take now"
        );
    }
}
