//! What each request really was: the counts that a gateway's ledger is checked against.
//!
//! A streamed token counts when its event has been handed to the HTTP body, a token of a whole answer when it
//! is decoded. The last [`KEPT`] requests are kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// Requests that are remembered; the oldest leaves first.
pub(super) const KEPT: usize = 200_000;

/// The exact counts of one request.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct RequestCount {
    /// The `x-request-id` that it was sent with, or the engine's own.
    pub id: String,
    /// The model, as the request named it.
    pub model: String,
    /// The path that was called.
    pub endpoint: &'static str,
    /// Tokens of all its prompts.
    pub prompt_tokens: u64,
    /// Those of them that the prefix cache held.
    pub cached_tokens: u64,
    /// Tokens produced so far, of all choices.
    pub completion_tokens: u64,
    /// The status that was answered; 0 while, or if, there was none.
    pub status: u16,
    /// The engine got to the end of its answer.
    pub finished: bool,
    /// The client left before the end.
    pub aborted: bool,
    /// The engine itself ended it: a trouble that was asked for, or a full queue.
    pub broken: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    Open = 0,
    Finished = 1,
    Aborted = 2,
    Broken = 3,
}

/// The live counts of one request.
#[derive(Debug)]
pub(super) struct Record {
    id: String,
    model: String,
    endpoint: &'static str,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) cached_tokens: AtomicU64,
    pub(super) completion_tokens: AtomicU64,
    pub(super) status: AtomicU16,
    end: AtomicU8,
}

impl Record {
    pub(super) fn new(id: String, model: String, endpoint: &'static str) -> Record {
        Record {
            id,
            model,
            endpoint,
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
            status: AtomicU16::new(0),
            end: AtomicU8::new(End::Open as u8),
        }
    }

    /// Whether this call ended it; the first end stays.
    pub(super) fn end(&self, end: End) -> bool {
        let open = End::Open as u8;
        self.end
            .compare_exchange(open, end as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn count(&self) -> RequestCount {
        let end = self.end.load(Ordering::Acquire);
        RequestCount {
            id: self.id.clone(),
            model: self.model.clone(),
            endpoint: self.endpoint,
            prompt_tokens: self.prompt_tokens.load(Ordering::Acquire),
            cached_tokens: self.cached_tokens.load(Ordering::Acquire),
            completion_tokens: self.completion_tokens.load(Ordering::Acquire),
            status: self.status.load(Ordering::Acquire),
            finished: end == End::Finished as u8,
            aborted: end == End::Aborted as u8,
            broken: end == End::Broken as u8,
        }
    }
}

/// The requests that are remembered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Records {
    kept: Mutex<VecDeque<Arc<Record>>>,
}

impl Records {
    pub(super) fn keep(&self, record: Arc<Record>) {
        let mut kept = self.kept.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(record);
    }

    pub(super) fn counts(&self) -> Vec<RequestCount> {
        let records: Vec<Arc<Record>> = self.kept.lock().iter().cloned().collect();
        records.iter().map(|record| record.count()).collect()
    }

    pub(super) fn clear(&self) {
        self.kept.lock().clear();
    }
}
