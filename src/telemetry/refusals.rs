//! The last refusals, for whoever asks why a request was refused. Nothing of a prompt is in them.

use farebox_domain::ids::{AccountId, KeyId, ModelId, RequestId};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// How many are kept.
const KEPT: usize = 500;

/// Who asked for what, as far as it was known when the request was refused.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The account.
    pub account: Option<AccountId>,
    /// The key.
    pub key: Option<KeyId>,
    /// The model, if it is sold.
    pub model: Option<ModelId>,
}

/// A request that was refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Its id.
    pub id: RequestId,
    /// Who asked for what.
    pub asked: Asked,
    /// The status that it was answered with.
    pub status: u16,
    /// The code that it was answered with.
    pub code: &'static str,
    /// What it was told, unless that may quote it.
    pub message: Option<String>,
}

/// The last of them.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<VecDeque<Refused>>);

impl Refusals {
    /// Puts one in; the oldest is forgotten.
    pub fn put(&self, refused: Refused) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(refused);
    }

    /// All that are kept, the newest first.
    pub fn newest_first(&self) -> Vec<Refused> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_five_hundred_are_kept() {
        let refusals = Refusals::default();
        for at_ms in 0..1000 {
            refusals.put(Refused {
                at_ms,
                id: RequestId::from_bytes([0; 16]),
                asked: Asked::default(),
                status: 429,
                code: "concurrency_limit_exceeded",
                message: None,
            });
        }
        let kept: Vec<u64> = refusals
            .newest_first()
            .iter()
            .map(|refused| refused.at_ms)
            .collect();
        assert_eq!((kept.len(), kept[0], kept[499]), (500, 999, 500));
    }
}
