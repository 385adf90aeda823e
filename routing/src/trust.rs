//! How far a prediction of cached tokens is believed: as far as the answers bore it out.

use std::sync::atomic::{AtomicU64, Ordering};

/// One sixteenth of what was seen is forgotten with each answer, so that some dozens of them count.
const FORGET: u64 = 16;
/// Tokens that speak for a prediction before any answer has.
const PRIOR_TOKENS: u64 = 4_096;

/// Predicted and reported cached tokens, of late. Two sums that need not agree to the token.
#[derive(Debug)]
pub struct Trust {
    predicted: AtomicU64,
    borne_out: AtomicU64,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            predicted: AtomicU64::new(PRIOR_TOKENS),
            borne_out: AtomicU64::new(PRIOR_TOKENS),
        }
    }
}

impl Trust {
    /// An answer said how many tokens were cached of those that were predicted.
    pub fn answered(&self, predicted_tokens: u64, reported_tokens: u64) {
        if predicted_tokens == 0 {
            return;
        }
        let fade = |sum: &AtomicU64, more: u64| {
            let before = sum.load(Ordering::Relaxed);
            // The prior stays at the bottom, so that trust can grow again and a short prompt moves little.
            let kept = (before - before / FORGET).max(1);
            sum.store(kept.saturating_add(more), Ordering::Relaxed);
        };
        fade(&self.predicted, predicted_tokens);
        fade(&self.borne_out, reported_tokens.min(predicted_tokens));
    }

    /// What a prediction is worth.
    pub fn expected(&self, predicted_tokens: u64) -> u64 {
        let predicted = u128::from(self.predicted.load(Ordering::Relaxed).max(1));
        let borne_out = u128::from(self.borne_out.load(Ordering::Relaxed)).min(predicted);
        let expected = u128::from(predicted_tokens) * borne_out / predicted;
        u64::try_from(expected).unwrap_or(predicted_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_true_is_believed_less_and_again_when_it_does() {
        let trust = Trust::default();
        assert_eq!(trust.expected(1_000), 1_000);
        for _ in 0..100 {
            trust.answered(1_000, 0);
        }
        assert!(trust.expected(1_000) < 50, "{}", trust.expected(1_000));
        for _ in 0..100 {
            trust.answered(1_000, 5_000);
        }
        assert!(
            trust.expected(1_000) > 950,
            "more than was predicted counts as what was"
        );
    }
}
