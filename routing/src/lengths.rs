//! How long a token of text is, learned from answers.

use crate::prompt::{Cut, share};
use std::sync::atomic::{AtomicU64, Ordering};

/// One sixty-fourth of what was seen is forgotten with each answer.
const FORGET: u64 = 64;

/// Bytes of text and the tokens that engines counted in it, of late. Two sums that need not agree to the token.
#[derive(Debug)]
pub struct Lengths {
    bytes: AtomicU64,
    tokens: AtomicU64,
}

impl Default for Lengths {
    /// Four bytes a token, as English has in most vocabularies, until an answer says otherwise.
    fn default() -> Self {
        Self {
            bytes: AtomicU64::new(4),
            tokens: AtomicU64::new(1),
        }
    }
}

impl Lengths {
    /// The tokens that so many bytes are likely to have.
    pub fn tokens_of(&self, bytes: u64) -> u64 {
        share(
            self.tokens.load(Ordering::Relaxed),
            bytes,
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// The bytes that so many tokens are likely to have.
    pub fn bytes_of(&self, tokens: u64) -> u64 {
        share(
            self.bytes.load(Ordering::Relaxed),
            tokens,
            self.tokens.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn answered(&self, cut: Cut) {
        if !cut.is_text || cut.tokens == 0 {
            return;
        }
        for (sum, more) in [(&self.bytes, cut.units), (&self.tokens, cut.tokens)] {
            let before = sum.load(Ordering::Relaxed);
            sum.store((before - before / FORGET).saturating_add(more), Ordering::Relaxed);
        }
    }
}
