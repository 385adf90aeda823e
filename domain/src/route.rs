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
    #[inline]
    pub fn is_full(&self) -> bool {
        self.has_trial || self.max_concurrent.is_some_and(|most| self.in_flight >= most)
    }

    #[inline]
    fn cost(&self, routing: Routing) -> Cost {
        match routing {
            Routing::LeastLoaded => (0, self.in_flight.saturating_add(self.others_waiting)),
            Routing::RoundRobin => NOTHING,
            Routing::Prefix => (self.estimated_us, self.in_flight),
        }
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

/// What makes a candidate worse than another: its estimate, then its load.
type Cost = (u64, u32);
const NOTHING: Cost = (0, 0);

/// The engines that may be given requests and are not warming.
#[derive(Debug, Clone, Copy, Default)]
struct Warm {
    engines: u64,
    in_flight: u64,
}

impl Warm {
    #[inline]
    fn count(&mut self, candidate: Candidate) {
        self.engines += 1;
        self.in_flight += u64::from(candidate.in_flight);
    }

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

/// Chooses among so many candidates. `turn` is a number that grows with each choice: it decides between equals, so
/// that idle engines take turns, and it is the whole of round robin.
///
/// An engine that is warming and has its part comes after all others, whatever the routing; where the others are full it is
/// chosen all the same, so nobody waits for its sake.
///
/// They are looked at in turn, each once, and none any more when one is found that nobody can better: an idle one, and in
/// round robin any that has a place. Only where one is warming are all looked at a second time, when it is known what the
/// others have.
pub fn choose(routing: Routing, count: usize, candidate: impl Fn(usize) -> Candidate, turn: usize) -> Choice {
    let Some(first) = turn.checked_rem(count) else {
        return Choice::NoneUsable;
    };
    let in_turn = || (first..count).chain(0..first);
    let mut warm = Warm::default();
    let (mut any_usable, mut any_warming) = (false, false);
    let mut best: Option<(Cost, usize)> = None;
    for index in in_turn() {
        let candidate = candidate(index);
        if !candidate.usable {
            continue;
        }
        any_usable = true;
        match candidate.warmth {
            None => warm.count(candidate),
            // One without a request has not its part, whatever that is.
            Some(_) => any_warming |= candidate.in_flight > 0,
        }
        if candidate.is_full() {
            continue;
        }
        let cost = candidate.cost(routing);
        if cost == NOTHING && !any_warming {
            return Choice::Engine(index);
        }
        // Of equals the first stays.
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, index));
        }
    }
    if any_warming {
        let all = in_turn().map(|index| (index, candidate(index)));
        let open = all.filter(|(_, one)| one.usable && !one.is_full());
        let least = open.min_by_key(|(_, one)| (one.has_its_part(warm), one.cost(routing)));
        best = least.map(|(index, one)| (one.cost(routing), index));
    }
    match best {
        Some((_, index)) => Choice::Engine(index),
        None if any_usable => Choice::AllFull,
        None => Choice::NoneUsable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use proptest::prelude::*;

    fn engine(in_flight: u32, usable: bool) -> Candidate {
        Candidate {
            in_flight,
            max_concurrent: Some(4),
            usable,
            ..Candidate::default()
        }
    }

    fn choose_of(routing: Routing, candidates: &[Candidate], turn: usize) -> Choice {
        choose(routing, candidates.len(), |index| candidates[index], turn)
    }

    fn least(candidates: &[Candidate], turn: usize) -> Choice {
        choose_of(Routing::LeastLoaded, candidates, turn)
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
        let prefix = |candidates: &[Candidate]| choose_of(Routing::Prefix, candidates, 0);
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
        let turns = [0, 1, 2].map(|turn| choose_of(Routing::RoundRobin, &engines, turn));
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
            let chosen = |candidates: &[Candidate]| choose_of(routing, candidates, 0);
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

    #[test]
    fn an_idle_one_is_taken_without_a_look_at_the_rest_and_round_robin_takes_the_next_that_is_open() {
        let looked_at = |routing, candidates: &[Candidate], turn| {
            let looks = Cell::new(0);
            let look = |index: usize| {
                looks.set(looks.get() + 1);
                candidates[index]
            };
            (choose(routing, candidates.len(), look, turn), looks.get())
        };
        let mut engines = [engine(2, true); 512];
        engines[301] = engine(0, true);
        assert_eq!(
            looked_at(Routing::LeastLoaded, &engines, 299),
            (Choice::Engine(301), 3)
        );
        engines[301] = engine(1, true);
        assert_eq!(
            looked_at(Routing::LeastLoaded, &engines, 299),
            (Choice::Engine(301), 512)
        );
        engines[511] = engine(4, true);
        assert_eq!(
            looked_at(Routing::RoundRobin, &engines, 511),
            (Choice::Engine(0), 2)
        );
    }

    /// The rule as it is promised, said without regard to what it costs.
    fn chosen_by_the_rule(routing: Routing, candidates: &[Candidate], turn: usize) -> Choice {
        let count = candidates.len();
        let usable = || candidates.iter().filter(|candidate| candidate.usable);
        if usable().count() == 0 {
            return Choice::NoneUsable;
        }
        let mut warm = Warm::default();
        for candidate in usable().filter(|candidate| candidate.warmth.is_none()) {
            warm.count(*candidate);
        }
        let open = candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| candidate.usable && !candidate.is_full());
        // How far behind the one whose turn it is.
        let distance = |index: usize| (index + count - turn % count) % count;
        let chosen = open.min_by_key(|(index, candidate)| {
            (
                candidate.has_its_part(warm),
                candidate.cost(routing),
                distance(*index),
            )
        });
        chosen.map_or(Choice::AllFull, |(index, _)| Choice::Engine(index))
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let warmth = prop_oneof![4 => Just(None), 1 => (0..WARM).prop_map(Some)];
        let limit = prop_oneof![Just(None), (1_u32..4).prop_map(Some)];
        let usable = prop::bool::weighted(0.8);
        let has_trial = prop::bool::weighted(0.1);
        (0_u32..4, 0_u32..2, limit, usable, has_trial, warmth, 0_u64..3).prop_map(
            |(in_flight, others_waiting, max_concurrent, usable, has_trial, warmth, estimated_us)| {
                Candidate {
                    in_flight,
                    others_waiting,
                    max_concurrent,
                    usable,
                    has_trial,
                    warmth,
                    estimated_us,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_what_the_rule_says(
            candidates in prop::collection::vec(any_candidate(), 0..9), turn in 0_usize..20
        ) {
            for routing in Routing::ALL {
                prop_assert_eq!(
                    choose_of(routing, &candidates, turn),
                    chosen_by_the_rule(routing, &candidates, turn),
                    "{:?}", routing
                );
            }
        }
    }
}
