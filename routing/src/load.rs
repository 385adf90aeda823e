//! What an engine has to do: prefill that was sent there and has not come back as a first token, and running streams.

use crate::rates::Rates;
use crate::trust::Trust;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One engine's load from here, and what was learned of it.
#[derive(Debug, Default)]
pub struct EngineLoad {
    prefill_tokens: AtomicU64,
    waiting: AtomicU64,
    streams: AtomicU64,
    /// How fast it is.
    pub rates: Rates,
    /// How far a prediction of its cached tokens is believed.
    pub trust: Trust,
}

impl EngineLoad {
    /// Tokens of prefill that it has still to do, for requests from here.
    pub fn prefill_tokens(&self) -> u64 {
        self.prefill_tokens.load(Ordering::Relaxed)
    }

    /// Requests from here that wait for their first token.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Streams from here that run.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// A request goes there, with so many tokens to prefill and so many that it is thought to have cached.
    pub fn dispatch(self: &Arc<Self>, prefill_tokens: u64, predicted_tokens: u64, now_us: u64) -> Dispatched {
        let ahead = self.prefill_tokens.fetch_add(prefill_tokens, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Dispatched {
            load: Arc::clone(self),
            prefill_tokens,
            predicted_tokens,
            work_tokens: ahead.saturating_add(prefill_tokens),
            sent_at_us: now_us,
            first_token_at_us: None,
        }
    }
}

/// A request that is at an engine: it counts there until it is dropped, whatever becomes of it.
#[derive(Debug)]
pub struct Dispatched {
    load: Arc<EngineLoad>,
    prefill_tokens: u64,
    predicted_tokens: u64,
    work_tokens: u64,
    sent_at_us: u64,
    first_token_at_us: Option<u64>,
}

impl Dispatched {
    /// Its first token came. Returns how long that took; a second call changes nothing.
    pub fn first_token(&mut self, now_us: u64) -> Option<(u64, u64)> {
        if self.first_token_at_us.is_some() {
            return None;
        }
        self.first_token_at_us = Some(now_us);
        self.load
            .prefill_tokens
            .fetch_sub(self.prefill_tokens, Ordering::Relaxed);
        self.load.waiting.fetch_sub(1, Ordering::Relaxed);
        self.load.streams.fetch_add(1, Ordering::Relaxed);
        let took = now_us.saturating_sub(self.sent_at_us);
        self.load.rates.first_token(self.work_tokens, took, now_us);
        Some((self.work_tokens, took))
    }

    /// It came to its end: with so many tokens of output, and with what the engine said it had cached, if it says so.
    pub fn ended(&self, output_tokens: u64, cached_tokens: Option<u64>, now_us: u64) {
        if let Some(first) = self.first_token_at_us {
            let after = output_tokens.saturating_sub(1);
            let took = now_us.saturating_sub(first);
            self.load.rates.streamed(after, took, self.load.streams());
        }
        if let Some(cached) = cached_tokens {
            self.load.trust.answered(self.predicted_tokens, cached);
        }
    }

    /// What it was thought to have cached.
    pub const fn predicted_tokens(&self) -> u64 {
        self.predicted_tokens
    }
}

impl Drop for Dispatched {
    fn drop(&mut self) {
        if self.first_token_at_us.is_some() {
            self.load.streams.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.load
                .prefill_tokens
                .fetch_sub(self.prefill_tokens, Ordering::Relaxed);
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_becomes_of_a_request_its_load_goes_with_it() {
        let load = Arc::new(EngineLoad::default());
        let counts = || (load.prefill_tokens(), load.waiting(), load.streams());
        let gone = load.dispatch(100, 0, 0);
        let mut served = load.dispatch(50, 0, 0);
        assert_eq!(counts(), (150, 2, 0));
        drop(gone);
        assert_eq!(served.first_token(9), Some((150, 9)));
        assert_eq!(served.first_token(10), None);
        assert_eq!(counts(), (0, 0, 1));
        served.ended(5, None, 20);
        drop(served);
        assert_eq!(counts(), (0, 0, 0));
    }
}
