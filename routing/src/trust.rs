//! How far a prediction of cached tokens is believed: as far as the answers bore it out.

use crate::fading::FadingShare;
use crate::prompt::share;

/// One sixteenth of what was seen is forgotten with each answer, so that some dozens of them count.
const FORGET: u64 = 16;
/// Tokens that speak for a prediction before any answer has.
const PRIOR_TOKENS: u64 = 4_096;

/// Cached tokens that were predicted of late, and those of them that were reported.
#[derive(Debug)]
pub struct Trust(FadingShare<FORGET>);

impl Default for Trust {
    fn default() -> Self {
        Self(FadingShare::new(PRIOR_TOKENS, PRIOR_TOKENS))
    }
}

impl Trust {
    /// An answer said how many tokens were cached of those that were predicted.
    pub fn answered(&self, predicted_tokens: u64, reported_tokens: u64) {
        if predicted_tokens > 0 {
            self.0
                .add(reported_tokens.min(predicted_tokens), predicted_tokens);
        }
    }

    /// What a prediction is worth.
    #[inline]
    pub fn expected(&self, predicted_tokens: u64) -> u64 {
        let (borne_out, predicted) = self.0.sums();
        if predicted_tokens == 0 || borne_out >= predicted {
            return predicted_tokens;
        }
        share(predicted_tokens, borne_out, predicted)
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
