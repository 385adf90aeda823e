//! Which engine serves a request: a choice over facts, without a clock or a lock.

use crate::catalog::Routing;

/// What is known of an engine when a choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Requests in flight from here.
    pub in_flight: u32,
    /// How many it may be given.
    pub max_concurrent: Option<u32>,
    /// Not ejected, and not tried in vain by this request.
    pub usable: bool,
    /// What the request is estimated to cost there, in microseconds; zero where nobody estimates.
    pub estimated_us: u64,
}

impl Candidate {
    /// Whether it has as many requests as it may be given.
    pub fn is_full(&self) -> bool {
        self.max_concurrent.is_some_and(|most| self.in_flight >= most)
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
pub fn choose(
    routing: Routing,
    candidates: impl ExactSizeIterator<Item = Candidate> + Clone,
    turn: usize,
) -> Choice {
    let count = candidates.len();
    if !candidates.clone().any(|candidate| candidate.usable) {
        return Choice::NoneUsable;
    }
    let open = candidates
        .enumerate()
        .filter(|(_, candidate)| candidate.usable && !candidate.is_full());
    // How far behind the one whose turn it is.
    let distance = |index: usize| (index + count - turn % count) % count;
    let chosen = match routing {
        Routing::LeastLoaded => open.min_by_key(|&(index, candidate)| (candidate.in_flight, distance(index))),
        Routing::RoundRobin => open.min_by_key(|&(index, _)| distance(index)),
        Routing::Prefix => open
            .min_by_key(|&(index, candidate)| (candidate.estimated_us, candidate.in_flight, distance(index))),
    };
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
            estimated_us: 0,
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
}
