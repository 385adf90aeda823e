//! The clock that everything is given: the only place that asks the machine for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Tells the time, twice: a monotonic one for durations and deadlines, and the wall's for what is written down.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    wall: Wall,
}

#[derive(Debug, Clone)]
enum Wall {
    System,
    /// Milliseconds since 1970, until a test sets another.
    Set(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self { wall: Wall::System }
    }

    /// For tests: a wall clock that stands at `unix_ms` until it is set. The monotonic time still runs (or is
    /// paused with tokio's).
    pub fn standing_at(unix_ms: u64) -> Self {
        Self {
            wall: Wall::Set(Arc::new(AtomicU64::new(unix_ms))),
        }
    }

    /// Sets a standing clock and all its clones, forwards or backwards; the machine's clock is left alone.
    pub fn set_unix_ms(&self, unix_ms: u64) {
        if let Wall::Set(standing) = &self.wall {
            standing.store(unix_ms, Ordering::Relaxed);
        }
    }

    /// Monotonic: for durations and deadlines. Never goes back, means nothing across a restart.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that the ban points to"
    )]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Milliseconds since 1970 by the wall clock, which may jump both ways. Zero if it stands before 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that the ban points to"
    )]
    pub fn unix_ms(&self) -> u64 {
        match &self.wall {
            Wall::System => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .ok()
                .and_then(|since| u64::try_from(since.as_millis()).ok())
                .unwrap_or(0),
            Wall::Set(standing) => standing.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_clock_is_set_for_all_its_clones() {
        let clock = Clock::standing_at(1_000);
        let clone = clock.clone();
        clock.set_unix_ms(500);
        assert_eq!(clone.unix_ms(), 500);
    }

    #[test]
    fn the_machine_s_clock_is_past_2020_and_cannot_be_set() {
        let clock = Clock::system();
        clock.set_unix_ms(1);
        assert!(clock.unix_ms() > 1_577_836_800_000);
    }
}
