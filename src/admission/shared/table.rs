//! What this replica has in flight, and its share of each limit while the server is away.
//!
//! Shares of all replicas add up to the limit, but when the server goes away some have more than theirs in flight and
//! others less. Those with more get nothing until they are below it. Those with less could fill theirs at once, and all
//! together would be above the limit: for [`TRANSITION`] they get no more than what they had, and their part of what
//! was free beyond a half of the limit when it was last known, which others can hardly have taken since. After that
//! most of what was too much has ended.

use super::link::GREATEST_RATE;
use super::{Ask, Levels, Met, Place, RateChange, Taken, limit_of};
use farebox_domain::ids::{AccountId, KeyId, ModelId};
use farebox_domain::rate::Bucket;
use farebox_domain::refusal::RateUnit;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For how long a replica that had less than its share does not fill it.
const TRANSITION: Duration = Duration::from_secs(5);
/// How long whoever meets a rate of zero is told to wait.
const NEVER: Duration = Duration::from_secs(60);
const UNITS: [RateUnit; 2] = [RateUnit::Requests, RateUnit::Tokens];

/// A limit's owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    Account(AccountId),
    Model(AccountId, ModelId),
    Key(AccountId, KeyId),
}

impl Scope {
    fn of(place: &Place) -> [Self; 3] {
        let account = || place.account.clone();
        [
            Self::Account(account()),
            Self::Model(account(), place.model.clone()),
            Self::Key(account(), place.key.clone()),
        ]
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    in_flight: u32,
    /// What was free over all replicas, beyond a half of the limit, when it was last known.
    spare: Option<u32>,
    /// The most that it may be in the transition.
    ceiling: Option<u32>,
    /// Asked about since the last [`Table::tidy`].
    is_fresh: bool,
}

/// What is known of one bucket.
#[derive(Debug, Clone, Copy)]
struct Kept {
    limit: u64,
    /// As the server had it last.
    server: Bucket,
    /// This replica's part of it, while the server is away.
    part: Bucket,
    /// What of that was taken since the server went away.
    since: Bucket,
}

/// How many replicas there are, and which of them this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peers {
    pub(super) replicas: u32,
    pub(super) rank: u32,
}

impl Peers {
    /// This replica's share: all shares add up to the limit.
    pub(super) fn share(self, limit: u64) -> u64 {
        let (replicas, rank) = (u64::from(self.replicas.max(1)), u64::from(self.rank));
        limit / replicas + u64::from(rank < limit % replicas)
    }
}

/// What this replica has in flight.
#[derive(Debug)]
pub(super) struct Table {
    places: HashMap<Arc<Place>, u32>,
    counts: HashMap<Scope, Count>,
    rates: HashMap<(Arc<str>, RateUnit), Kept>,
    peers: Option<Peers>,
    /// What it was when the server went away holds until all have come back.
    peers_are_kept: bool,
    transition_ends: Instant,
    epoch: Instant,
}

impl Table {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            places: HashMap::new(),
            counts: HashMap::new(),
            rates: HashMap::new(),
            peers: None,
            peers_are_kept: false,
            transition_ends: now,
            epoch: now,
        }
    }

    /// Counts a request in.
    pub(super) fn take(&mut self, place: &Arc<Place>) {
        *self.places.entry(Arc::clone(place)).or_default() += 1;
        for scope in Scope::of(place) {
            let count = self.counts.entry(scope).or_default();
            count.in_flight += 1;
            count.is_fresh = true;
        }
    }

    /// Counts it out.
    pub(super) fn give_back(&mut self, place: &Place) {
        if let Some(count) = self.places.get_mut(place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(place);
            }
        }
        for scope in Scope::of(place) {
            if let Some(count) = self.counts.get_mut(&scope) {
                count.in_flight = count.in_flight.saturating_sub(1);
            }
        }
    }

    /// All that is in flight here.
    pub(super) fn places(&self) -> impl ExactSizeIterator<Item = (&Place, u32)> {
        self.places.iter().map(|(place, count)| (&**place, *count))
    }

    /// The server said how many are in flight over all replicas.
    pub(super) fn heard_count(&mut self, place: &Place, which: usize, in_flight: u32, limit: u32) {
        let [account, model, key] = Scope::of(place);
        let scope = match which {
            0 => account,
            1 => model,
            _ => key,
        };
        let count = self.counts.entry(scope).or_default();
        count.spare = Some((limit - limit / 2).saturating_sub(in_flight));
        count.is_fresh = true;
    }

    /// The server said how a request's rates stand.
    pub(super) fn heard_levels(&mut self, ask: &Ask, levels: &[Levels], now: Instant) {
        let at = self.nanoseconds(now);
        for (rate, levels) in ask.rates.iter().zip(levels) {
            for (unit, level) in UNITS.into_iter().zip(levels) {
                if let (Some(limit), Some(level)) = (limit_of(rate.limits, unit), level) {
                    let kept = self.kept(&rate.bucket, unit, limit);
                    kept.server = Bucket::with_level(*level, at);
                }
            }
        }
    }

    /// Which replicas live.
    pub(super) fn heard_peers(&mut self, peers: Peers, is_settled: bool) {
        self.peers_are_kept &= !is_settled;
        if !self.peers_are_kept {
            self.peers = Some(peers);
        }
    }

    /// The server is away from now on.
    pub(super) fn fall_back(&mut self, now: Instant) {
        self.peers_are_kept = self.peers.is_some();
        self.transition_ends = now + TRANSITION;
        let peers = self.peers();
        for count in self.counts.values_mut() {
            let part = |spare: u32| count.in_flight + spare.div_ceil(peers.replicas.max(1));
            count.ceiling = count.spare.map(part);
        }
        let at = self.nanoseconds(now);
        for kept in self.rates.values_mut() {
            let level = kept.server.level_ms(kept.limit, at) / u64::from(peers.replicas.max(1));
            kept.part = Bucket::with_level(level, at);
            kept.since = Bucket::default();
        }
    }

    /// Forgets what tells nothing any more.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.counts.retain(|_, count| {
            let was_fresh = std::mem::take(&mut count.is_fresh);
            count.in_flight > 0 || was_fresh
        });
        let at = self.nanoseconds(now);
        self.rates.retain(|_, kept| {
            [kept.server, kept.part]
                .iter()
                .any(|bucket| bucket.level_ms(kept.limit, at) > 0)
        });
    }

    /// The most that may be in flight here of each limit, where the server is away or not all are back with it.
    pub(super) fn shares(&self, ask: &Ask, now: Instant) -> [Option<u32>; 3] {
        let mut shares = [None; 3];
        let scopes = Scope::of(&ask.place);
        for ((share, limit), scope) in shares.iter_mut().zip(ask.limits).zip(&scopes) {
            let Some(limit) = limit else { continue };
            let own = u32::try_from(self.peers().share(limit.into())).unwrap_or(limit);
            let ceiling = self.counts.get(scope).and_then(|count| count.ceiling);
            let ceiling = ceiling.filter(|_| now < self.transition_ends);
            *share = Some(ceiling.map_or(own, |ceiling| ceiling.min(own)));
        }
        shares
    }

    /// Lets a request in by this replica's shares, or says what it meets. A refusal takes nothing.
    pub(super) fn take_share(&mut self, ask: &Ask, now: Instant) -> Result<Vec<Taken>, Met> {
        let scopes = Scope::of(&ask.place);
        for (which, share) in self.shares(ask, now).into_iter().enumerate() {
            let in_flight = self.counts.get(&scopes[which]).map_or(0, |count| count.in_flight);
            if let Some(limit) = share.filter(|&limit| in_flight >= limit) {
                return Err(Met::Full {
                    which,
                    in_flight,
                    limit,
                    is_share: true,
                });
            }
        }
        if let Some(met) = self.met_rate(ask, now) {
            return Err(met);
        }
        let (at, peers) = (self.nanoseconds(now), self.peers());
        let mut all = Vec::new();
        for rate in &ask.rates {
            let share = |limit: u64| peers.share(limit);
            let tokens = rate.limits.tokens.map_or(0, |limit| ask.tokens.min(share(limit)));
            for (unit, amount) in UNITS.into_iter().zip([1, tokens]) {
                if let Some(limit) = limit_of(rate.limits, unit) {
                    let kept = self.kept(&rate.bucket, unit, limit);
                    kept.part.take(share(limit), amount, at);
                    kept.since.take(share(limit), amount, at);
                }
            }
            all.push(Taken {
                bucket: Arc::clone(&rate.bucket),
                limits: rate.limits,
                tokens,
            });
        }
        self.take(&ask.place);
        Ok(all)
    }

    /// The share of a rate that a request meets and waits for the longest.
    fn met_rate(&mut self, ask: &Ask, now: Instant) -> Option<Met> {
        let (at, peers) = (self.nanoseconds(now), self.peers());
        let mut longest: Option<(Duration, Met)> = None;
        for (which, rate) in ask.rates.iter().enumerate() {
            for (unit, amount) in UNITS.into_iter().zip([1, ask.tokens]) {
                let Some(limit) = limit_of(rate.limits, unit) else {
                    continue;
                };
                let (share, part) = (peers.share(limit), self.kept(&rate.bucket, unit, limit).part);
                let wait = part.wait(share, amount, at).unwrap_or(NEVER);
                if wait > longest.as_ref().map_or(Duration::ZERO, |(other, _)| *other) {
                    let used = limit - part.standing(share, at).remaining.min(limit);
                    let met = Met::Rate {
                        which,
                        unit,
                        used,
                        wait,
                    };
                    longest = Some((wait, met));
                }
            }
        }
        longest.map(|(_, met)| met)
    }

    /// More was used than was taken, or less.
    pub(super) fn true_up(&mut self, change: &RateChange, now: Instant) {
        let (at, share) = (self.nanoseconds(now), self.peers().share(change.limit));
        let kept = self.kept(&change.bucket, change.unit, change.limit);
        for (bucket, limit) in [
            (&mut kept.server, change.limit),
            (&mut kept.part, share),
            (&mut kept.since, share),
        ] {
            match u64::try_from(change.more) {
                Ok(more) => bucket.take(limit, more, at),
                Err(_) => bucket.give_back(limit, change.more.unsigned_abs(), at),
            }
        }
    }

    /// What this replica took while the server was away, for a server that lost the rest and for one that did not.
    pub(super) fn levels(&self, now: Instant) -> impl Iterator<Item = (&str, RateUnit, u64, [u64; 2])> {
        let (at, peers) = (self.nanoseconds(now), self.peers());
        let counted = self.rates.iter().filter(|(_, kept)| kept.limit <= GREATEST_RATE);
        counted.map(move |((bucket, unit), kept)| {
            let share = peers.share(kept.limit);
            let levels = [kept.part, kept.since].map(|of| of.level_ms(share, at));
            (&**bucket, *unit, kept.limit, levels)
        })
    }

    fn kept(&mut self, bucket: &Arc<str>, unit: RateUnit, limit: u64) -> &mut Kept {
        let kept = self.rates.entry((Arc::clone(bucket), unit)).or_insert(Kept {
            limit,
            server: Bucket::default(),
            part: Bucket::default(),
            since: Bucket::default(),
        });
        kept.limit = limit;
        kept
    }

    fn peers(&self) -> Peers {
        // A replica that has heard of no other is alone.
        self.peers.unwrap_or(Peers { replicas: 1, rank: 0 })
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RateAsk;
    use super::*;
    use crate::clock::Clock;
    use farebox_domain::limits::RateLimits;
    use farebox_domain::refusal::Whose;
    use proptest::prelude::*;

    fn ask(limits: [Option<u32>; 3]) -> Ask {
        let place = Place {
            account: "acct_1".into(),
            model: "m".into(),
            key: "k".into(),
        };
        Ask {
            place: Arc::new(place),
            limits,
            tokens: 0,
            rates: Vec::new(),
        }
    }

    fn of(replicas: u32, rank: u32, now: Instant) -> Table {
        let mut table = Table::new(now);
        table.heard_peers(Peers { replicas, rank }, true);
        table
    }

    proptest! {
        /// Whatever the limit and however many there are, the shares are the limit, and differ by one at the most.
        #[test]
        fn shares_add_up_to_the_limit(limit in 0..100_000u64, replicas in 1..50u32) {
            let shares: Vec<u64> = (0..replicas).map(|rank| Peers { replicas, rank }.share(limit)).collect();
            prop_assert_eq!(shares.iter().sum::<u64>(), limit);
            prop_assert!(shares[0] - shares[shares.len() - 1] <= 1);
        }

        /// Whatever each had when the server went away, together they never have more than the limit.
        #[test]
        fn replicas_that_fall_back_from_a_full_limit_stay_within_it(
            first in 0..31u32, second in 0..31u32, steps in prop::collection::vec((0..3usize, any::<bool>()), 0..200),
        ) {
            let (now, ask) = (Clock::system().now(), ask([Some(30), None, None]));
            let first = first.min(30);
            let second = second.min(30 - first);
            let mut tables = [0, 1, 2].map(|rank| of(3, rank, now));
            for (table, count) in tables.iter_mut().zip([first, second, 30 - first - second]) {
                (0..count).for_each(|_| table.take(&ask.place));
                table.heard_count(&ask.place, 0, 30, 30);
                table.fall_back(now);
            }
            let count = |table: &Table| table.places().map(|(_, count)| count).sum::<u32>();
            for (at, takes) in steps {
                if takes {
                    let _ = tables[at].take_share(&ask, now);
                } else if count(&tables[at]) > 0 {
                    tables[at].give_back(&ask.place);
                }
                let all: u32 = tables.iter().map(count).sum();
                prop_assert!(all <= 30, "{}", all);
            }
            // Once the transition is over, each has its share and no more.
            let later = now + TRANSITION;
            for table in &mut tables {
                (0..count(table)).for_each(|_| table.give_back(&ask.place));
                let granted = (0..30).filter(|_| table.take_share(&ask, later).is_ok()).count();
                prop_assert_eq!(granted, 10);
            }
        }
    }

    #[test]
    fn an_account_that_had_nothing_in_flight_has_its_share_at_once() {
        let now = Clock::system().now();
        let mut table = of(2, 0, now);
        table.fall_back(now);
        let limits = ask([Some(4), None, Some(3)]);
        assert!(table.take_share(&limits, now).is_ok());
        assert!(table.take_share(&limits, now).is_ok());
        let met = Met::Full {
            which: 0,
            in_flight: 2,
            limit: 2,
            is_share: true,
        };
        assert_eq!(table.take_share(&limits, now).err(), Some(met));
    }

    #[test]
    fn a_replica_goes_by_those_it_knew_until_all_are_back() {
        let now = Clock::system().now();
        let mut table = of(2, 1, now);
        table.fall_back(now);
        let alone = Peers { replicas: 1, rank: 0 };
        table.heard_peers(alone, false);
        assert_eq!(table.shares(&ask([Some(4), None, None]), now)[0], Some(2));
        table.heard_peers(alone, true);
        assert_eq!(table.shares(&ask([Some(4), None, None]), now)[0], Some(4));
    }

    #[test]
    fn a_rate_goes_on_with_the_part_of_it_that_was_left_and_tells_what_was_taken_since() {
        let now = Clock::system().now();
        let mut table = of(2, 0, now);
        let limits = RateLimits {
            requests: None,
            tokens: Some(1_000),
        };
        let rate = RateAsk {
            bucket: "b".into(),
            limits,
            whose: Whose::Account,
        };
        let asked = |tokens| Ask {
            tokens,
            rates: vec![rate.clone()],
            ..ask([None; 3])
        };
        table.heard_levels(&asked(0), &[[None, Some(600 * 60_000)]], now);
        table.fall_back(now);
        // 300 of this replica's 500 are taken.
        let refused = table.take_share(&asked(201), now).err();
        assert!(
            matches!(
                refused,
                Some(Met::Rate {
                    unit: RateUnit::Tokens,
                    ..
                })
            ),
            "{refused:?}"
        );
        assert!(table.take_share(&asked(150), now).is_ok());
        let levels: Vec<_> = table.levels(now).map(|(.., levels)| levels).collect();
        assert_eq!(levels, [[450 * 60_000, 150 * 60_000]]);
        table.true_up(
            &RateChange {
                bucket: "b".into(),
                unit: RateUnit::Tokens,
                limit: 1_000,
                more: -100,
            },
            now,
        );
        let levels: Vec<_> = table.levels(now).map(|(.., levels)| levels).collect();
        assert_eq!(levels, [[350 * 60_000, 50 * 60_000]]);
    }
}
