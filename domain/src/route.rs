//! Which engine serves a request: a choice over facts, without a clock or a lock.

use crate::catalog::Routing;
use crate::ejection::WARM;

/// What is known of an engine when a choice is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Requests in flight from here.
    pub in_flight: u32,
    /// Requests of others that wait there, as far as it says so.
    pub others_waiting: u32,
    /// How many it may be given.
    pub max_concurrent: Option<u32>,
    /// Not ejected, and not tried in vain by this request.
    pub usable: bool,
    /// It is half open after an ejection, and a request is there that decides: no place until it has.
    pub has_trial: bool,
    /// How warm it is, of [`WARM`], where it has come back within the last seconds.
    pub warmth: Option<u32>,
    /// What the request is estimated to cost there, in microseconds; zero where nobody estimates.
    pub estimated_us: u64,
}

impl Candidate {
    /// Whether it has as many requests as it may be given.
    pub fn is_full(&self) -> bool {
        self.has_trial || self.max_concurrent.is_some_and(|most| self.in_flight >= most)
    }

    /// Whether it is warming, and has its part of the load: a part of what those have that are warm, and one request at least.
    fn has_its_part(&self, warm: Warm) -> bool {
        let Some((warmth, mean)) = self.warmth.zip(warm.mean()) else {
            return false;
        };
        let part = mean.saturating_mul(warmth.into()) / u64::from(WARM);
        u64::from(self.in_flight) >= part.max(1)
    }
}

/// The engines that may be given requests and are not warming.
#[derive(Debug, Clone, Copy, Default)]
struct Warm {
    engines: u64,
    in_flight: u64,
}

impl Warm {
    fn mean(self) -> Option<u64> {
        self.in_flight.checked_div(self.engines)
    }
}

/// What came of choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The candidate with this index.
    Engine(usize),
    /// There are usable engines, and each has as many requests as it may be given.
    AllFull,
    /// There is no usable engine.
    NoneUsable,
}

/// Chooses among the candidates. `turn` is a number that grows with each choice: it decides between equals, so
/// that idle engines take turns, and it is the whole of round robin.
///
/// An engine that is warming and has its part comes after all others, whatever the routing; where the others are full it is
/// chosen all the same, so nobody waits for its sake.
pub fn choose(
    routing: Routing,
    candidates: impl ExactSizeIterator<Item = Candidate> + Clone,
    turn: usize,
) -> Choice {
    let count = candidates.len();
    let mut warm = Warm::default();
    let mut usable = 0_u64;
    for candidate in candidates.clone().filter(|candidate| candidate.usable) {
        usable += 1;
        if candidate.warmth.is_none() {
            warm.engines += 1;
            warm.in_flight += u64::from(candidate.in_flight);
        }
    }
    if usable == 0 {
        return Choice::NoneUsable;
    }
    let open = candidates
        .enumerate()
        .filter(|(_, candidate)| candidate.usable && !candidate.is_full());
    // How far behind the one whose turn it is.
    let distance = |index: usize| (index + count - turn % count) % count;
    let chosen = open.min_by_key(|&(index, candidate)| {
        let (estimate, load) = match routing {
            Routing::LeastLoaded => (0, candidate.in_flight.saturating_add(candidate.others_waiting)),
            Routing::RoundRobin => (0, 0),
            Routing::Prefix => (candidate.estimated_us, candidate.in_flight),
        };
        (candidate.has_its_part(warm), estimate, load, distance(index))
    });
    chosen.map_or(Choice::AllFull, |(index, _)| Choice::Engine(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(in_flight: u32, usable: bool) -> Candidate {
        Candidate {
            in_flight,
            max_concurrent: Some(4),
            usable,
            ..Candidate::default()
        }
    }

    fn least(candidates: &[Candidate], turn: usize) -> Choice {
        choose(Routing::LeastLoaded, candidates.iter().copied(), turn)
    }

    #[test]
    fn the_fewest_in_flight_wins_and_equals_take_turns() {
        assert_eq!(least(&[engine(3, true), engine(1, true)], 0), Choice::Engine(1));
        let idle = [engine(0, true), engine(0, true), engine(0, true)];
        assert_eq!(
            [0, 1, 2, 3].map(|turn| least(&idle, turn)),
            [0, 1, 2, 0].map(Choice::Engine)
        );
    }

    #[test]
    fn what_others_have_waiting_there_counts_as_load_and_takes_no_place() {
        let crowded = Candidate {
            others_waiting: 5,
            ..engine(0, true)
        };
        assert_eq!(least(&[crowded, engine(3, true)], 0), Choice::Engine(1));
        assert_eq!(least(&[crowded, engine(4, true)], 0), Choice::Engine(0));
    }

    #[test]
    fn the_full_and_the_unusable_are_passed_over_and_told_apart() {
        assert_eq!(least(&[engine(4, true), engine(0, false)], 0), Choice::AllFull);
        assert_eq!(least(&[engine(0, false)], 0), Choice::NoneUsable);
        assert_eq!(least(&[], 0), Choice::NoneUsable);
    }

    #[test]
    fn the_least_estimate_wins_and_what_nobody_estimated_goes_by_load() {
        let estimated = |estimated_us, in_flight| Candidate {
            estimated_us,
            ..engine(in_flight, true)
        };
        let prefix = |candidates: &[Candidate]| choose(Routing::Prefix, candidates.iter().copied(), 0);
        assert_eq!(prefix(&[estimated(900, 0), estimated(20, 3)]), Choice::Engine(1));
        assert_eq!(
            prefix(&[estimated(900, 0), estimated(20, 4)]),
            Choice::Engine(0),
            "the best is full"
        );
        assert_eq!(prefix(&[estimated(0, 2), estimated(0, 1)]), Choice::Engine(1));
    }

    #[test]
    fn round_robin_skips_what_it_cannot_use() {
        let engines = [engine(0, true), engine(0, false), engine(3, true)];
        let turns = [0, 1, 2].map(|turn| choose(Routing::RoundRobin, engines.iter().copied(), turn));
        assert_eq!(turns, [0, 2, 2].map(Choice::Engine));
    }

    #[test]
    fn who_has_come_back_gets_its_part_first_and_the_rest_only_where_others_are_full() {
        for routing in Routing::ALL {
            let warming = |in_flight, warmth| Candidate {
                warmth: Some(warmth),
                max_concurrent: None,
                ..engine(in_flight, true)
            };
            let busy = |in_flight| Candidate {
                max_concurrent: Some(40),
                estimated_us: 900,
                ..engine(in_flight, true)
            };
            let chosen = |candidates: &[Candidate]| choose(routing, candidates.iter().copied(), 0);
            let at_first = [warming(0, 0), busy(30), busy(30)];
            assert_eq!(
                chosen(&at_first),
                Choice::Engine(0),
                "{routing:?}: one request at least"
            );
            let has_one = [warming(1, 0), busy(30), busy(30)];
            assert_ne!(chosen(&has_one), Choice::Engine(0), "{routing:?}");
            let later = [warming(14, WARM / 2), busy(30), busy(30)];
            assert_eq!(
                chosen(&later),
                Choice::Engine(0),
                "{routing:?}: half of what they have"
            );
            let has_half = [warming(15, WARM / 2), busy(30), busy(30)];
            assert_ne!(chosen(&has_half), Choice::Engine(0), "{routing:?}");
            let others_full = [warming(15, WARM / 2), busy(40), busy(40)];
            assert_eq!(chosen(&others_full), Choice::Engine(0), "{routing:?}");
            let all_warming = [warming(5, 0), warming(5, 0)];
            assert_ne!(chosen(&all_warming), Choice::AllFull, "{routing:?}");
        }
    }

    #[test]
    fn one_that_is_being_tried_has_no_place_and_is_not_given_up() {
        let tried = Candidate {
            has_trial: true,
            ..engine(1, true)
        };
        assert_eq!(least(&[tried, engine(3, true)], 0), Choice::Engine(1));
        assert_eq!(least(&[tried], 0), Choice::AllFull);
    }
}
