//! Prices under their names, and when each holds.

use super::Price;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Names one price of one model for ever: entries carry it, and a price that changes gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceVersion(pub i64);

/// A price under its name, and when it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionedPrice {
    /// Its name.
    pub version: PriceVersion,
    /// From when it holds, in milliseconds since 1970; `None`: never by itself, it was made to rerate by.
    pub effective_at_ms: Option<u64>,
    /// The price.
    pub price: Price,
}

/// Every price that a model has, had and is to have. It is never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceSchedule {
    first: Arc<VersionedPrice>,
    /// By the time from which they hold, later versions behind earlier ones of the same time.
    later: Vec<Arc<VersionedPrice>>,
}

impl PriceSchedule {
    /// The schedule of these versions, in any order; `None` if none of them ever holds by itself.
    pub fn new(versions: impl IntoIterator<Item = VersionedPrice>) -> Option<Self> {
        let mut holding: Vec<_> = versions
            .into_iter()
            .filter(|version| version.effective_at_ms.is_some())
            .map(Arc::new)
            .collect();
        holding.sort_by_key(|version| (version.effective_at_ms, version.version));
        let mut holding = holding.into_iter();
        Some(Self {
            first: holding.next()?,
            later: holding.collect(),
        })
    }

    /// The one that holds at this time: the last that began. Before the first one began, the first.
    pub fn at(&self, unix_ms: u64) -> &Arc<VersionedPrice> {
        self.later
            .iter()
            .rev()
            .find(|version| version.effective_at_ms.is_some_and(|from| from <= unix_ms))
            .unwrap_or(&self.first)
    }
}
