//! What happened to one engine's events, for the gateway's metrics.

use farebox_routing::Hearing;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the start, of one engine.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that were applied.
    pub events: AtomicU64,
    /// Blocks that were stored.
    pub stored: AtomicU64,
    /// Blocks that were removed, one by one.
    pub removed: AtomicU64,
    /// Times that a publisher's sequence had a gap.
    pub gaps: AtomicU64,
    /// Times that a publisher was asked to send again what was missed.
    pub replays: AtomicU64,
    /// Times that what was known of a cache was forgotten: an engine that restarted, or a gap that could not be filled.
    pub resets: AtomicU64,
    /// Messages, and events in them, that could not be read.
    pub undecodable: AtomicU64,
    /// Blocks that were passed over, since the block before them is not known.
    pub orphans: AtomicU64,
    /// Blocks that were passed over, since they are not of the size of the others.
    pub misfits: AtomicU64,
    /// Whether they are heard now, and how they cut prompts.
    pub hearing: Arc<Hearing>,
}

impl Counters {
    /// Tokens in a block, as the engine's events say; `None` until the first. Prompts must be cut alike to be found.
    pub fn block_size(&self) -> Option<usize> {
        self.hearing.block_size()
    }
}

/// One more, or so many more.
pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Relaxed);
}
