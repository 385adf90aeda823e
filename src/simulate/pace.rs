//! Time: how long a prefill takes and when the next token is due. At rate zero there is no timer at all.
//!
//! Tokens are due at fixed distances from the end of the prefill, whenever the last one was fetched, so a slow
//! reader does not slow the engine and rounding does not add up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

const NANOSECONDS_A_SECOND: u64 = 1_000_000_000;

/// The time that `tokens` take at `rate` tokens a second; zero at rate zero.
pub(super) fn time_for(tokens: u64, rate: u64) -> Duration {
    match rate {
        0 => Duration::ZERO,
        _ => Duration::from_nanos(tokens.saturating_mul(NANOSECONDS_A_SECOND) / rate),
    }
}

/// Says when the next step is due. The first step is the prefill.
pub(super) struct Pacer {
    timer: Option<Pin<Box<Sleep>>>,
    interval: Duration,
    armed: bool,
}

impl Pacer {
    pub(super) fn new(prefill: Duration, interval: Duration) -> Pacer {
        let timed = !(prefill.is_zero() && interval.is_zero());
        Pacer {
            timer: timed.then(|| Box::pin(tokio::time::sleep(prefill))),
            interval,
            armed: true,
        }
    }

    /// Ready when the next step is due: first the prefill, then one token of each choice.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            return Poll::Ready(());
        };
        if !self.armed {
            if self.interval.is_zero() {
                return Poll::Ready(());
            }
            let due = timer.deadline() + self.interval;
            timer.as_mut().reset(due);
            self.armed = true;
        }
        ready!(timer.as_mut().poll(cx));
        self.armed = false;
        Poll::Ready(())
    }
}
