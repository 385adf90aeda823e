//! What follows a try that failed: an exhaustive rule, so that a new fault cannot be forgotten.

use crate::retries::RetryShare;
use core::time::Duration;

/// How a try at an engine failed before anything had gone to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptFault {
    /// No connection, or it broke before a status came.
    Unreachable,
    /// farebox could not open a connection: it has as many files open as it may.
    OutOfFiles,
    /// No first event in time. Headers count as nothing.
    Silent,
    /// The engine answered 429 or 503: it is busy or loading.
    Busy {
        /// The status.
        status: u16,
        /// What its `retry-after` asked for.
        retry_after: Option<Duration>,
    },
    /// Another 5xx, or a 4xx that speaks of the engine and not of the request (401, 403, 404, 408...).
    Status(u16),
    /// An error in a 200, or an end, before the first token.
    ErrorAnswer,
    /// A 200 with something that is no answer at all.
    BadAnswer,
    /// The body broke off before it was whole.
    BrokenBody,
    /// The engine does not have the LoRA adapter that was asked for.
    NotLoaded,
}

/// What the engine's status means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusVerdict {
    /// An answer.
    Answer,
    /// An error about the request itself: it would be the same anywhere, so it is passed on and never retried.
    AboutTheRequest,
    /// A fault of the engine's.
    Fault,
}

/// Reads a status. 404 is the engine's fault: farebox named the model and the path. So are 401 and 403: the key
/// was farebox's.
pub const fn read_status(status: u16) -> StatusVerdict {
    match status {
        200..=299 => StatusVerdict::Answer,
        401 | 403 | 404 | 405 | 407 | 408 | 429 => StatusVerdict::Fault,
        400..=499 => StatusVerdict::AboutTheRequest,
        _ => StatusVerdict::Fault,
    }
}

impl AttemptFault {
    /// The fault in a status that [`read_status`] calls one.
    pub const fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            429 | 503 => Self::Busy { status, retry_after },
            _ => Self::Status(status),
        }
    }

    /// Whether the same engine may be tried again when there is no other. A silent engine may not: the request
    /// may still be running there, and would be paid for twice.
    pub const fn may_repeat(self) -> bool {
        match self {
            Self::Silent => false,
            Self::Unreachable
            | Self::OutOfFiles
            | Self::Busy { .. }
            | Self::Status(500..=599)
            | Self::ErrorAnswer
            | Self::BadAnswer
            | Self::BrokenBody
            | Self::NotLoaded => true,
            Self::Status(_) => false,
        }
    }

    /// Whether it counts towards the engine's ejection. An engine that says it is busy is well; a bare 500, or an
    /// error event, may be one request's own doing (llama.cpp answers 500 to an output that does not parse,
    /// REAL.md), and a client must not be able to eject an engine with it. What is no answer at all is no request's doing.
    pub const fn blames_engine(self) -> bool {
        match self {
            Self::Unreachable | Self::Silent | Self::BadAnswer | Self::BrokenBody => true,
            Self::Status(status) => status != 500,
            Self::OutOfFiles | Self::Busy { .. } | Self::ErrorAnswer | Self::NotLoaded => false,
        }
    }

    /// Its name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::OutOfFiles => "out_of_files",
            Self::Silent => "silent",
            Self::Busy { .. } => "busy",
            Self::Status(_) => "status",
            Self::ErrorAnswer => "error_answer",
            Self::BadAnswer => "bad_answer",
            Self::BrokenBody => "broken_body",
            Self::NotLoaded => "not_loaded",
        }
    }
}

/// How much trying a request is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Tries in all.
    pub attempts: u32,
    /// From the first try's start to the last try's start.
    pub time: Duration,
    /// The first wait before the same engine is tried again; it doubles each time.
    pub backoff: Duration,
    /// What part of all requests may be tried again.
    pub share: RetryShare,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            attempts: 3,
            time: Duration::from_secs(20),
            backoff: Duration::from_millis(100),
            share: RetryShare::default(),
        }
    }
}

impl RetryBudget {
    /// How long to wait before the same engine is tried again, after `failed` failures (from 1) and `elapsed`
    /// since the first try; `None` when the budget is spent, or when the engine asks for more than is left.
    pub fn wait(&self, fault: AttemptFault, failed: u32, elapsed: Duration) -> Option<Duration> {
        let own = self.doubled(failed);
        let wait = match fault {
            AttemptFault::Busy {
                retry_after: Some(asked),
                ..
            } => asked.max(own),
            _ => own,
        };
        (fault.may_repeat() && self.allows(failed, elapsed.saturating_add(wait))).then_some(wait)
    }

    /// How long to wait for an engine that takes nothing now, after `failed` failures and so many waits (from 0) since the last of
    /// them; `None` when the budget is spent. Eight times the first wait at most.
    pub fn wait_for_another(&self, failed: u32, waits: u32, elapsed: Duration) -> Option<Duration> {
        let doubled = self.doubled(failed.saturating_add(waits));
        let wait = doubled.min(self.backoff.saturating_mul(8));
        self.allows(failed, elapsed.saturating_add(wait)).then_some(wait)
    }

    fn doubled(&self, failed: u32) -> Duration {
        self.backoff.saturating_mul(1 << failed.saturating_sub(1).min(16))
    }

    /// Whether another try fits after `failed` failures.
    pub fn allows(&self, failed: u32, elapsed: Duration) -> bool {
        failed < self.attempts && elapsed <= self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_the_request_is_never_retried() {
        for status in [400, 409, 413, 422] {
            assert_eq!(read_status(status), StatusVerdict::AboutTheRequest);
        }
        for status in [401, 404, 408, 429, 500, 502, 503, 504, 302, 199] {
            assert_eq!(read_status(status), StatusVerdict::Fault, "{status}");
        }
    }

    #[test]
    fn the_wait_doubles_obeys_retry_after_and_ends_with_the_budget() {
        let budget = RetryBudget::default();
        let busy = |seconds| AttemptFault::of_status(503, seconds);
        let ms = Duration::from_millis;
        assert_eq!(budget.wait(busy(None), 1, Duration::ZERO), Some(ms(100)));
        assert_eq!(budget.wait(busy(None), 2, Duration::ZERO), Some(ms(200)));
        assert_eq!(budget.wait(busy(None), 3, Duration::ZERO), None);
        assert_eq!(
            budget.wait(busy(Some(ms(2000))), 1, Duration::ZERO),
            Some(ms(2000))
        );
        assert_eq!(budget.wait(busy(Some(ms(30_000))), 1, Duration::ZERO), None);
        assert_eq!(budget.wait(AttemptFault::Silent, 1, Duration::ZERO), None);
        let for_another = |waits, elapsed| budget.wait_for_another(1, waits, Duration::from_secs(elapsed));
        assert_eq!(
            [0, 1, 9].map(|waits| for_another(waits, 0)),
            [100, 200, 800].map(|wait| Some(ms(wait)))
        );
        assert_eq!(for_another(9, 20), None);
    }
}
