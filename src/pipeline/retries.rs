//! What part of all requests may be tried again: counted for each model, and again for the process.
//!
//! A model's outage spends its own part. What is left to the process is then at least what the other models' requests bring, as
//! no model may spend more than its own requests and the floor.

use crate::clock::Clock;
use crate::engines::registry::ServedModel;
use farebox_domain::retries::RetryWindow;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Requests and tries again of this process.
#[derive(Debug)]
pub struct Retries {
    clock: Clock,
    since: Instant,
    all: Mutex<RetryWindow>,
}

impl Retries {
    /// None so far.
    pub fn new(clock: Clock) -> Self {
        Self {
            since: clock.now(),
            clock,
            all: Mutex::default(),
        }
    }

    /// A request for the model goes to an engine for the first time.
    pub fn begins(&self, served: &ServedModel) {
        let second = self.second();
        served.retries.lock().request(second);
        self.all.lock().request(second);
    }

    /// Whether a request for the model may be tried again; if so it is counted.
    pub fn try_again(&self, served: &ServedModel) -> bool {
        let second = self.second();
        let mut own = served.retries.lock();
        let mut all = self.all.lock();
        let share = served.settings.retry.share;
        let has_room = own.has_room(share, second) && all.has_room(share, second);
        if has_room {
            own.retry(second);
            all.retry(second);
        }
        drop(all);
        drop(own);
        served.metrics.retried(has_room);
        has_room
    }

    fn second(&self) -> u64 {
        self.clock.now().saturating_duration_since(self.since).as_secs()
    }
}
