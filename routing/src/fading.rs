//! A sum of which a part is forgotten with each thing that is added: it follows what was of late.

use std::sync::atomic::{AtomicU64, Ordering};

/// The sum with `more`, and without one `forget`th of what it was.
pub(crate) fn faded(sum: u64, more: u64, forget: u64) -> u64 {
    (sum - sum / forget).saturating_add(more)
}

/// Two sums that are read together as a part of a whole. They fade alike, one `FORGET`th with each answer, and need not agree to the
/// last of these.
#[derive(Debug)]
pub(crate) struct FadingShare<const FORGET: u64> {
    part: AtomicU64,
    all: AtomicU64,
}

impl<const FORGET: u64> FadingShare<FORGET> {
    /// Of a first part and a first whole, at least one each: neither ever falls to nothing.
    pub(crate) fn new(part: u64, all: u64) -> Self {
        Self {
            part: AtomicU64::new(part),
            all: AtomicU64::new(all),
        }
    }

    /// An answer brings so much of each.
    pub(crate) fn add(&self, part: u64, all: u64) {
        for (sum, more) in [(&self.part, part), (&self.all, all)] {
            let before = sum.load(Ordering::Relaxed);
            sum.store(faded(before, more, FORGET), Ordering::Relaxed);
        }
    }

    /// Both sums: the part and the whole.
    #[inline]
    pub(crate) fn sums(&self) -> (u64, u64) {
        (
            self.part.load(Ordering::Relaxed),
            self.all.load(Ordering::Relaxed),
        )
    }
}
