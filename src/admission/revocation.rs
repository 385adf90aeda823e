//! When a key or an admin token was ended: once, for good, and from the very next request on.

use std::sync::atomic::{AtomicU64, Ordering};

const NEVER: u64 = u64::MAX;

/// The moment, in milliseconds since 1970, or that there was none.
#[derive(Debug)]
pub(super) struct Revocation(AtomicU64);

impl Default for Revocation {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Revocation {
    /// As the store has it.
    pub(super) fn new(at_ms: Option<u64>) -> Self {
        Self(AtomicU64::new(at_ms.unwrap_or(NEVER)))
    }

    /// When it was.
    pub(super) fn at_ms(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|&at| at != NEVER)
    }

    /// Now it is. Of two moments the first one counts.
    pub(super) fn revoke(&self, at_ms: u64) {
        self.0.fetch_min(at_ms, Ordering::AcqRel);
    }
}
