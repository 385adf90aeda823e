//! Requests and tokens a minute, for whoever has such limits: an account, a key, an account on a model.
//!
//! Invariant: a request takes from all of them or from none, and a refusal takes nothing. What was taken is owned by a
//! [`RateHold`]: settled, it counts the tokens that were used; dropped before that, it gives everything back, since the
//! request was then not let in.
//!
//! Buckets are the domain's ([`Bucket`]); governor's cells cannot give back, nor be asked without being taken from.

use crate::admission::shared::{Levels, SharedRates};
use crate::clock::Clock;
use farebox_domain::limits::RateLimits;
use farebox_domain::rate::{Bucket, Standing};
use farebox_domain::refusal::{RateLimited, RateUnit, Refusal, Whose};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long whoever meets a rate of zero is told to wait: nothing but an administrator changes it.
const NEVER: Duration = Duration::from_secs(60);

/// What one of those who are limited took. A limit that is changed acts on the very next request.
#[derive(Debug, Default)]
pub struct RateGate {
    taken: Mutex<Taken>,
    own: Mutex<RateLimits>,
}

impl RateGate {
    /// What an administrator gave whoever it is.
    pub fn own(&self) -> RateLimits {
        *self.own.lock()
    }

    /// Sets that. What was taken stays taken.
    pub fn set_own(&self, own: RateLimits) {
        *self.own.lock() = own;
    }

    /// Whether nothing of what was taken counts any more, so that a new one would be as this.
    pub fn is_idle(&self, now: Instant) -> bool {
        let limits = self.own();
        let mut taken = self.taken.lock();
        let at = taken.nanoseconds(now);
        let is_empty =
            |limit: Option<u64>, bucket: &Bucket| limit.is_none_or(|limit| bucket.level_ms(limit, at) == 0);
        is_empty(limits.requests, &taken.requests) && is_empty(limits.tokens, &taken.tokens)
    }

    /// How these limits stand.
    pub fn standings(&self, limits: RateLimits, now: Instant) -> Standings {
        let mut taken = self.taken.lock();
        let at = taken.nanoseconds(now);
        let of = |limit: Option<u64>, bucket: &Bucket| limit.map(|limit| bucket.standing(limit, at));
        let requests = taken.shared_requests.as_ref().unwrap_or(&taken.requests);
        let tokens = taken.shared_tokens.as_ref().unwrap_or(&taken.tokens);
        Standings {
            requests: of(limits.requests, requests),
            tokens: of(limits.tokens, tokens),
        }
    }

    /// How they stand over all replicas, as was last heard; `None`: nobody knows. It is shown, and decides nothing.
    pub fn show_shared(&self, levels: Option<Levels>, now: Instant) {
        let mut taken = self.taken.lock();
        let at = taken.nanoseconds(now);
        let [requests, tokens] = levels.unwrap_or_default();
        taken.shared_requests = requests.map(|level| Bucket::with_level(level, at));
        taken.shared_tokens = tokens.map(|level| Bucket::with_level(level, at));
    }
}

#[derive(Debug, Default)]
struct Taken {
    requests: Bucket,
    tokens: Bucket,
    /// The same over all replicas.
    shared_requests: Option<Bucket>,
    shared_tokens: Option<Bucket>,
    /// What the buckets count from: the first moment that they were asked at.
    epoch: Option<Instant>,
}

impl Taken {
    fn nanoseconds(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One who is limited, as a request meets it.
#[derive(Debug, Clone)]
pub struct Limited {
    /// What it took.
    pub gate: Arc<RateGate>,
    /// What it may.
    pub limits: RateLimits,
    /// Who it is.
    pub whose: Whose,
}

/// The tightest limits that a request met, for its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standings {
    /// Of requests.
    pub requests: Option<Standing>,
    /// Of tokens.
    pub tokens: Option<Standing>,
}

/// What a request took of each rate.
#[derive(Debug)]
pub struct RateHold {
    /// Empty once it is settled.
    from: Vec<Limited>,
    tokens: u64,
    clock: Clock,
    /// The same over all replicas.
    shared: Option<SharedRates>,
}

/// Takes a request and so many tokens from each, or says which limit it meets. They are to be given in the same order by
/// everyone: account, key, model.
pub fn take(limited: Vec<Limited>, tokens: u64, clock: &Clock) -> Result<RateHold, Refusal> {
    let from: Vec<Limited> = limited
        .into_iter()
        .filter(|limited| !limited.limits.is_empty())
        .collect();
    let now = clock.now();
    // All are locked before one is asked, so that what is free of one is still free once the others have said yes.
    let mut locked: Vec<MutexGuard<'_, Taken>> =
        from.iter().map(|limited| limited.gate.taken.lock()).collect();
    let mut longest: Option<RateLimited> = None;
    for (limited, taken) in from.iter().zip(&mut locked) {
        if let Some(met) = limited.meets(taken, tokens, now) {
            let is_longer = longest
                .as_ref()
                .is_none_or(|other| met.retry_after > other.retry_after);
            longest = if is_longer { Some(met) } else { longest };
        }
    }
    if let Some(met) = longest {
        return Err(Refusal::RateLimit(met));
    }
    for (limited, taken) in from.iter().zip(&mut locked) {
        limited.take(taken, tokens, now);
    }
    drop(locked);
    Ok(RateHold {
        from,
        tokens,
        clock: clock.clone(),
        shared: None,
    })
}

impl Limited {
    /// The limit that such a request meets, of two the one that it waits for the longest.
    fn meets(&self, taken: &mut Taken, tokens: u64, now: Instant) -> Option<RateLimited> {
        let at = taken.nanoseconds(now);
        let of = |unit, limit: Option<u64>, bucket: &Bucket, amount| {
            let limit = limit?;
            let wait = bucket.wait(limit, amount, at).unwrap_or(NEVER);
            (wait > Duration::ZERO).then(|| RateLimited {
                unit,
                limit,
                used: limit - bucket.standing(limit, at).remaining,
                asked: amount,
                scope: self.whose.to_string(),
                retry_after: wait,
            })
        };
        let requests = of(RateUnit::Requests, self.limits.requests, &taken.requests, 1);
        let tokens = of(RateUnit::Tokens, self.limits.tokens, &taken.tokens, tokens);
        requests
            .into_iter()
            .chain(tokens)
            .max_by_key(|met| met.retry_after)
    }

    fn take(&self, taken: &mut Taken, tokens: u64, now: Instant) {
        let at = taken.nanoseconds(now);
        if let Some(limit) = self.limits.requests {
            taken.requests.take(limit, 1, at);
        }
        if let Some(limit) = self.limits.tokens {
            taken.tokens.take(limit, tokens.min(limit), at);
        }
    }

    /// Counts `used` tokens in the place of `held` ones.
    fn true_up(&self, held: u64, used: u64, now: Instant) {
        let Some(limit) = self.limits.tokens else { return };
        let held = held.min(limit);
        let mut taken = self.gate.taken.lock();
        let at = taken.nanoseconds(now);
        let Taken {
            tokens,
            shared_tokens,
            ..
        } = &mut *taken;
        for bucket in [Some(tokens), shared_tokens.as_mut()].into_iter().flatten() {
            if used > held {
                bucket.take(limit, used - held, at);
            } else {
                bucket.give_back(limit, held - used, at);
            }
        }
    }

    /// How it stands.
    fn standings(&self, now: Instant) -> Standings {
        self.gate.standings(self.limits, now)
    }
}

impl RateHold {
    /// The tightest of each kind, that is, the one with the least left.
    pub fn standings(&self) -> Standings {
        standings(&self.from, self.clock.now())
    }

    /// Over all replicas it was taken too, and stands so there.
    pub fn share(&mut self, shared: SharedRates, levels: &[Levels]) {
        let now = self.clock.now();
        for (number, limited) in self.from.iter().enumerate() {
            limited.gate.show_shared(levels.get(number).copied(), now);
        }
        self.shared = Some(shared);
    }

    /// What it was taken from, and so many tokens of it.
    pub fn taken(&self) -> (&[Limited], u64) {
        (&self.from, self.tokens)
    }

    /// The request came to this many tokens.
    pub fn settle(mut self, used: u64) {
        let now = self.clock.now();
        if let Some(shared) = self.shared.take() {
            shared.settle(used);
        }
        for limited in std::mem::take(&mut self.from) {
            limited.true_up(self.tokens, used, now);
        }
    }
}

/// The tightest limits of these.
pub fn standings(limited: &[Limited], now: Instant) -> Standings {
    let tighter = |a: Option<Standing>, b: Option<Standing>| {
        let both = a.into_iter().chain(b);
        both.min_by_key(|standing| standing.remaining)
    };
    limited
        .iter()
        .map(|limited| limited.standings(now))
        .fold(Standings::default(), |all, one| Standings {
            requests: tighter(all.requests, one.requests),
            tokens: tighter(all.tokens, one.tokens),
        })
}

impl Drop for RateHold {
    /// It was not settled, so the request was not let in after all: another limit refused it.
    fn drop(&mut self) {
        let now = self.clock.now();
        for limited in &self.from {
            limited.true_up(self.tokens, 0, now);
            if let Some(limit) = limited.limits.requests {
                let mut taken = limited.gate.taken.lock();
                let at = taken.nanoseconds(now);
                taken.requests.give_back(limit, 1, at);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    fn limited(whose: Whose, requests: Option<u64>, tokens: Option<u64>) -> Limited {
        Limited {
            gate: Arc::default(),
            limits: RateLimits { requests, tokens },
            whose,
        }
    }

    fn left(limited: &Limited, clock: &Clock) -> (Option<u64>, Option<u64>) {
        let now = limited.standings(clock.now());
        let remaining = |standing: Option<Standing>| standing.map(|standing| standing.remaining);
        (remaining(now.requests), remaining(now.tokens))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_takes_nothing_and_names_the_limit_that_is_waited_for_the_longest() {
        let clock = Clock::standing_at(0);
        let account = limited(Whose::Account, Some(10), Some(1_000));
        let key = limited(Whose::Key("k".into()), None, Some(100));
        let both = || vec![account.clone(), key.clone()];
        take(both(), 80, &clock).unwrap().settle(80);
        let refused = take(both(), 50, &clock).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "80 of 100 tokens a minute are used for this key, and this request asks for up to 50. Try again in 18s."
        );
        assert_eq!(left(&account, &clock), (Some(9), Some(920)));
        assert_eq!(left(&key, &clock), (None, Some(20)));
        tokio::time::advance(Duration::from_secs(18)).await;
        take(both(), 50, &clock).unwrap().settle(50);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_returns_and_what_was_used_beyond_is_taken() {
        let clock = Clock::standing_at(0);
        let account = limited(Whose::Account, Some(5), Some(1_000));
        let hold = take(vec![account.clone()], 600, &clock).unwrap();
        assert_eq!(left(&account, &clock), (Some(4), Some(400)));
        hold.settle(100);
        assert_eq!(left(&account, &clock), (Some(4), Some(900)));
        take(vec![account.clone()], 100, &clock).unwrap().settle(950);
        assert_eq!(left(&account, &clock), (Some(3), Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_another_limit_refuses_gives_everything_back() {
        let clock = Clock::standing_at(0);
        let account = limited(Whose::Account, Some(5), Some(1_000));
        drop(take(vec![account.clone()], 600, &clock).unwrap());
        assert_eq!(left(&account, &clock), (Some(5), Some(1_000)));
        // One that is larger than what may be used in a minute holds all of it, and no more is given back.
        take(vec![account.clone()], 5_000, &clock).unwrap().settle(10);
        assert_eq!(left(&account, &clock), (Some(4), Some(990)));
    }

    #[tokio::test(start_paused = true)]
    async fn headers_tell_of_the_tightest() {
        let clock = Clock::standing_at(0);
        let account = limited(Whose::Account, Some(5), Some(1_000));
        let model = limited(Whose::Model("m".into()), Some(3), None);
        let unlimited = limited(Whose::Key("k".into()), None, None);
        let hold = take(vec![account, unlimited, model], 10, &clock).unwrap();
        let standings = hold.standings();
        let of = |standing: Option<Standing>| standing.map(|standing| (standing.limit, standing.remaining));
        assert_eq!(of(standings.requests), Some((3, 2)));
        assert_eq!(of(standings.tokens), Some((1_000, 990)));
    }
}
