//! Whether an engine is up: by a probe of its own, and by what it does to requests.
//!
//! Two judgements, kept apart. The probe says up or down. Requests that fail one after the other eject the engine
//! for a while; when the while is over one failure ejects it again, for twice as long, and one success clears it.

use crate::clock::Clock;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that eject.
const EJECT_AFTER: u32 = 5;
/// The first ejection; each one after it, without a success between, is twice as long.
const FIRST_EJECTION: Duration = Duration::from_secs(5);
const LONGEST_EJECTION: Duration = Duration::from_secs(60);

/// One engine's state.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the last probe said; `None` before the first.
    probe: Option<bool>,
    failures_in_a_row: u32,
    ejections_in_a_row: u32,
    ejected_until: Option<Instant>,
}

/// What an operator is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Not probed yet.
    Unknown,
    /// Serving.
    Up,
    /// Its probe fails.
    Down,
    /// Left out for a while after failures.
    Ejected,
}

impl Health {
    /// Nothing is known yet: the engine may be tried.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// Whether requests may go there now.
    pub fn is_usable(&self) -> bool {
        matches!(self.standing(), Standing::Up | Standing::Unknown)
    }

    /// How it stands now.
    pub fn standing(&self) -> Standing {
        let state = self.state.lock();
        // The clock is asked only where there is an end to compare with.
        if state.ejected_until.is_some_and(|end| self.clock.now() < end) {
            return Standing::Ejected;
        }
        match state.probe {
            None => Standing::Unknown,
            Some(true) => Standing::Up,
            Some(false) => Standing::Down,
        }
    }

    /// What a probe found. Returns whether that is news.
    pub fn probed(&self, up: bool) -> bool {
        self.state.lock().probe.replace(up) != Some(up)
    }

    /// A request got its first event from it.
    pub fn succeeded(&self) {
        let mut state = self.state.lock();
        state.failures_in_a_row = 0;
        state.ejections_in_a_row = 0;
        state.ejected_until = None;
    }

    /// A request failed by the engine's fault. Returns for how long it is now ejected, if it is.
    pub fn failed(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        let half_open = state.ejections_in_a_row > 0;
        if state.failures_in_a_row < EJECT_AFTER && !half_open {
            return None;
        }
        let now = self.clock.now();
        if state.ejected_until.is_some_and(|end| now < end) {
            // It was called before it was ejected.
            return None;
        }
        let pause = FIRST_EJECTION
            .saturating_mul(1 << state.ejections_in_a_row.min(8))
            .min(LONGEST_EJECTION);
        state.ejections_in_a_row = state.ejections_in_a_row.saturating_add(1);
        state.ejected_until = Some(now + pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_failures_eject_and_one_success_brings_it_back() {
        let health = Health::new(Clock::system());
        for _ in 0..4 {
            assert_eq!(health.failed(), None);
        }
        assert_eq!(health.failed(), Some(FIRST_EJECTION));
        assert_eq!(health.standing(), Standing::Ejected);
        tokio::time::advance(FIRST_EJECTION).await;
        assert!(health.is_usable());
        assert_eq!(
            health.failed(),
            Some(FIRST_EJECTION * 2),
            "half open: one failure is enough"
        );
        tokio::time::advance(FIRST_EJECTION * 2).await;
        health.succeeded();
        assert_eq!(health.failed(), None, "the count starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn the_probe_and_the_requests_are_judged_apart() {
        let health = Health::new(Clock::system());
        assert!(health.is_usable(), "an engine that nobody probed may be tried");
        assert!(health.probed(false));
        assert!(!health.probed(false));
        assert!(!health.is_usable());
        assert!(health.probed(true));
        assert_eq!(health.standing(), Standing::Up);
    }
}
