//! What an engine has to do: prefill that was sent there and has not come back as a first token, and running streams.

use crate::rates::Pace;
use crate::trust::Trust;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Requests of others that count at the most: an engine says how many wait, and not what each of them is.
const OTHERS_AT_MOST: u32 = 64;

/// One engine's load from here, and what was learned of it.
///
/// A choice looks at each engine, and what it reads of one is on one line of the processor's cache: of hundreds it would wait for
/// each line. Hence the order, the alignment and the widths. What comes after the pace's first word is read when an answer comes.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct EngineLoad {
    in_flight: AtomicU32,
    others_waiting: AtomicU32,
    waiting: AtomicU32,
    streams: AtomicU32,
    marks: AtomicU8,
    reports_cached: AtomicBool,
    prefill_tokens: AtomicU64,
    /// How far a prediction of its cached tokens is believed.
    pub trust: Trust,
    /// How fast it is among its like.
    pub pace: Pace,
}

/// Why an engine is not just any engine: a choice that finds one of these looks more closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is down, left out, being tried or warming.
    Unsettled,
    /// It is to get no new request.
    Drained,
    /// It is no longer in models.yaml.
    Removed,
}

impl Mark {
    const fn bit(self) -> u8 {
        match self {
            Self::Unsettled => 1,
            Self::Drained => 2,
            Self::Removed => 4,
        }
    }
}

impl EngineLoad {
    /// Sets a mark, or takes it off.
    pub fn mark(&self, mark: Mark, is_on: bool) {
        if is_on {
            self.marks.fetch_or(mark.bit(), Ordering::AcqRel);
        } else {
            self.marks.fetch_and(!mark.bit(), Ordering::AcqRel);
        }
    }

    /// Whether it has this mark.
    #[inline]
    pub fn has(&self, mark: Mark) -> bool {
        self.marks.load(Ordering::Acquire) & mark.bit() != 0
    }

    /// Whether it has none.
    #[inline]
    pub fn is_unmarked(&self) -> bool {
        self.marks.load(Ordering::Acquire) == 0
    }

    /// Requests in flight from here.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request in, if there are fewer than `most`; says whether it did.
    pub fn try_enter(&self, most: u32) -> bool {
        let more = |count| (count < most).then_some(count + 1);
        let entered = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
        entered.is_ok()
    }

    /// Counts it out again.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Tokens of prefill that it has still to do, for requests from here.
    #[inline]
    pub fn prefill_tokens(&self) -> u64 {
        self.prefill_tokens.load(Ordering::Relaxed)
    }

    /// Requests from here that wait for their first token.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed).into()
    }

    /// Streams from here that run.
    #[inline]
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed).into()
    }

    /// Requests that others sent there and that wait, as it said when it was last asked.
    #[inline]
    pub fn others_waiting(&self) -> u32 {
        self.others_waiting.load(Ordering::Relaxed)
    }

    /// The engine was asked: so many wait that are not from here. Whoever asks does so every few seconds, and says none where
    /// it does not answer.
    pub fn set_others_waiting(&self, others: u64) {
        let others = u32::try_from(others).unwrap_or(u32::MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_choice_reads_of_an_engine_is_on_one_line_of_the_cache() {
        let load = EngineLoad::default();
        let at = |field: *const u8| field.addr() - (&raw const load).addr();
        assert_eq!(align_of::<EngineLoad>(), 64);
        assert!(at((&raw const load.pace).cast()) + size_of::<AtomicU64>() <= 64);
        assert_eq!(at((&raw const load.in_flight).cast()), 0);
    }

    #[test]
    fn marks_are_apart_and_places_end() {
        let load = EngineLoad::default();
        assert!(load.is_unmarked());
        for mark in [Mark::Unsettled, Mark::Drained, Mark::Removed] {
            load.mark(mark, true);
        }
        load.mark(Mark::Drained, false);
        let has = [Mark::Unsettled, Mark::Drained, Mark::Removed].map(|mark| load.has(mark));
        assert_eq!(has, [true, false, true]);
        assert!(load.try_enter(1) && !load.try_enter(1));
        load.leave();
        assert_eq!(load.in_flight(), 0);
    }
}
