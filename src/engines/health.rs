//! Whether an engine is up: by a probe of its own, and by what it does to requests.
//!
//! Two judgements, kept apart. The probe says up or down. Requests that fail, or that it begins to answer much later than others
//! would, leave it out for a while (`domain/src/ejection.rs`).

use crate::clock::Clock;
use farebox_domain::ejection::{Ejected, Ejection, Pass, Stand};
use farebox_routing::{EngineLoad, Mark};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One engine's state.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    since: Instant,
    state: Mutex<State>,
    /// Where it is marked that the state must be looked at. It seldom must: requests may go there, as they may until something
    /// happens to it. The mark is written with the state in hand.
    load: Arc<EngineLoad>,
}

#[derive(Debug, Default)]
struct State {
    /// What the last probe said; `None` before the first.
    probe: Option<bool>,
    ejection: Ejection,
}

impl State {
    fn standing(&self, now_ms: u64) -> Standing {
        match (self.ejection.stand(now_ms), self.probe) {
            (Stand::Out, _) => Standing::Ejected,
            (_, Some(false)) => Standing::Down,
            (Stand::HalfOpen, _) => Standing::HalfOpen,
            (Stand::In, None) => Standing::Unknown,
            (Stand::In, Some(true)) => Standing::Up,
        }
    }
}

/// What an operator is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not probed yet.
    Unknown,
    /// Serving.
    Up,
    /// Its probe fails.
    Down,
    /// Left out for a while.
    Ejected,
    /// It was left out, and is given one request at a time until one succeeds.
    HalfOpen,
}

impl Standing {
    /// Its name, as the admin API tells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::HalfOpen => "half_open",
        }
    }

    /// Whether requests may go there.
    pub const fn is_usable(self) -> bool {
        match self {
            Self::Unknown | Self::Up | Self::HalfOpen => true,
            Self::Down | Self::Ejected => false,
        }
    }
}

/// What a choice among engines needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Fitness {
    /// Whether requests may go there.
    pub usable: bool,
    /// Whether it is half open and being tried.
    pub has_trial: bool,
    /// How warm it is, where it has come back within the last seconds.
    pub warmth: Option<u32>,
}

impl Health {
    /// Nothing is known yet: the engine may be tried. `load` is its own.
    pub fn new(clock: Clock, load: Arc<EngineLoad>) -> Self {
        Self {
            since: clock.now(),
            clock,
            state: Mutex::default(),
            load,
        }
    }

    /// Whether requests may go there now.
    pub fn is_usable(&self) -> bool {
        self.fitness().usable
    }

    /// How it stands now.
    pub fn standing(&self) -> Standing {
        self.with_state(|state, now_ms| state.standing(now_ms))
    }

    /// What a choice needs to know of it now.
    #[inline]
    pub fn fitness(&self) -> Fitness {
        if !self.load.has(Mark::Unsettled) {
            return Fitness {
                usable: true,
                has_trial: false,
                warmth: None,
            };
        }
        self.fitness_now()
    }

    #[cold]
    fn fitness_now(&self) -> Fitness {
        self.with_state(|state, now_ms| Fitness {
            usable: state.standing(now_ms).is_usable(),
            has_trial: state.ejection.has_trial(),
            warmth: state.ejection.warmth(now_ms),
        })
    }

    /// Looks at the state or changes it, with the time in milliseconds, and notes whether it is settled then.
    fn with_state<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> T {
        let now_ms = self.now_ms();
        let mut state = self.state.lock();
        let done = act(&mut state, now_ms);
        let is_settled = state.probe != Some(false) && state.ejection.is_settled(now_ms);
        self.load.mark(Mark::Unsettled, !is_settled);
        done
    }

    /// For what it is left out or half open, where it is.
    pub fn ejected(&self) -> Option<Ejected> {
        self.state.lock().ejection.ejected()
    }

    /// Since when it is left out or half open, where it is: to be compared with other engines'.
    pub fn ejected_at(&self) -> Option<Instant> {
        let at_ms = self.ejected()?.at_ms;
        self.since.checked_add(Duration::from_millis(at_ms))
    }

    /// Whether it is left out or half open, and may be tried by a request: its probe does not say that it is down.
    pub fn may_be_tried(&self) -> bool {
        let state = self.state.lock();
        state.probe != Some(false) && state.ejection.ejected().is_some()
    }

    /// Whether the last probe said that it is up.
    pub fn was_up(&self) -> bool {
        self.state.lock().probe == Some(true)
    }

    /// What a probe found. Returns whether that is news.
    pub fn probed(&self, up: bool) -> bool {
        self.with_state(|state, now_ms| {
            let before = state.probe.replace(up);
            if up && before == Some(false) {
                state.ejection.came_up(now_ms);
            }
            before != Some(up)
        })
    }

    /// Lets a request in, if it may come in. `early`: there is no other engine, so an ejected one may be tried now.
    pub fn enter(&self, early: bool) -> Option<Pass> {
        if !self.load.has(Mark::Unsettled) {
            return Some(Pass::ORDINARY);
        }
        self.with_state(|state, now_ms| {
            if early && state.probe == Some(false) {
                return None;
            }
            state.ejection.enter(now_ms, early)
        })
    }

    /// A request that was let in is gone.
    pub fn left(&self, pass: Pass) {
        if pass.is_trial() {
            self.with_state(|state, _| state.ejection.left(pass));
        }
    }

    /// A request got its first event from it. Returns whether it came back by that.
    pub fn succeeded(&self, pass: Pass) -> bool {
        self.with_state(|state, now_ms| state.ejection.succeeded(pass, now_ms))
    }

    /// A request failed by the engine's fault. Returns the ejection that it led to.
    pub fn failed(&self, pass: Pass) -> Option<Ejected> {
        self.with_state(|state, now_ms| state.ejection.failed(pass, now_ms))
    }

    /// A request got its first event much later than it would have at another engine: it is left out.
    pub fn was_slow(&self, pass: Pass) -> Option<Ejected> {
        self.with_state(|state, now_ms| state.ejection.was_slow(pass, now_ms))
    }

    /// Milliseconds since it was made.
    fn now_ms(&self) -> u64 {
        let passed: Duration = self.clock.now().saturating_duration_since(self.since);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_ejection_ends_with_its_pause_and_a_trial_that_succeeds() {
        let health = Health::new(Clock::system(), Arc::default());
        for _ in 0..5 {
            let pass = health.enter(false).unwrap();
            let _ = health.failed(pass);
        }
        assert_eq!(health.standing(), Standing::Ejected);
        assert!(!health.is_usable());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(health.standing(), Standing::HalfOpen);
        let trial = health.enter(false).unwrap();
        assert!(health.fitness().has_trial);
        assert!(health.succeeded(trial));
        assert!(health.is_usable());
        assert_eq!(health.fitness().warmth, Some(0));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(health.fitness().warmth, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_probe_and_the_requests_are_judged_apart() {
        let health = Health::new(Clock::system(), Arc::default());
        assert!(health.is_usable(), "an engine that nobody probed may be tried");
        assert!(health.probed(false));
        assert!(!health.probed(false));
        assert!(!health.is_usable());
        assert!(health.enter(true).is_none(), "not even as a last resort");
        assert!(health.probed(true));
        assert_eq!(health.standing(), Standing::Up);
        assert_eq!(health.fitness().warmth, Some(0), "it has come up again");
    }
}
