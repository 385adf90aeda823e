//! What an engine has to do: prefill that was sent there and has not come back as a first token, and running streams.

use crate::rates::Pace;
use crate::trust::Trust;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Requests of others that count at the most: an engine says how many wait, and not what each of them is.
const OTHERS_AT_MOST: u64 = 64;

/// One engine's load from here, and what was learned of it.
#[derive(Debug, Default)]
pub struct EngineLoad {
    prefill_tokens: AtomicU64,
    waiting: AtomicU64,
    streams: AtomicU64,
    others_waiting: AtomicU64,
    reports_cached: AtomicBool,
    /// How fast it is among its like.
    pub pace: Pace,
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

    /// Requests that others sent there and that wait, as it said when it was last asked.
    #[inline]
    pub fn others_waiting(&self) -> u64 {
        self.others_waiting.load(Ordering::Relaxed)
    }

    /// The engine was asked: so many wait that are not from here. Whoever asks does so every few seconds, and says none where
    /// it does not answer.
    pub fn set_others_waiting(&self, others: u64) {
        self.others_waiting
            .store(others.min(OTHERS_AT_MOST), Ordering::Relaxed);
    }

    /// What an answer said that was cached. An engine that has said it once leaves it out where it is zero (vLLM); one that
    /// never has does not say.
    pub(crate) fn cached_of(&self, said: Option<u64>) -> Option<u64> {
        if said.is_some_and(|tokens| tokens > 0) {
            self.reports_cached.store(true, Ordering::Relaxed);
        }
        said.or_else(|| self.reports_cached.load(Ordering::Relaxed).then_some(0))
    }

    /// A request with so much to prefill goes there. Returns what there was before it.
    pub(crate) fn sent(&self, prefill_tokens: u64) -> u64 {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.prefill_tokens.fetch_add(prefill_tokens, Ordering::Relaxed)
    }

    /// Its prefill is done, or will not be.
    pub(crate) fn prefilled(&self, prefill_tokens: u64) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.prefill_tokens.fetch_sub(prefill_tokens, Ordering::Relaxed);
    }

    pub(crate) fn stream_began(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stream_ended(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
