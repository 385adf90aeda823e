//! How long a token of text is, learned from answers.

use crate::fading::FadingShare;
use crate::prompt::{Cut, share};

/// One sixty-fourth of what was seen is forgotten with each answer.
const FORGET: u64 = 64;

/// Bytes of text, and the tokens that engines counted in it, of late.
#[derive(Debug)]
pub struct Lengths(FadingShare<FORGET>);

impl Default for Lengths {
    /// Four bytes a token, as English has in most vocabularies, until an answer says otherwise.
    fn default() -> Self {
        Self(FadingShare::new(1, 4))
    }
}

impl Lengths {
    /// The tokens that so many bytes are likely to have.
    pub fn tokens_of(&self, bytes: u64) -> u64 {
        let (tokens, all_bytes) = self.0.sums();
        share(tokens, bytes, all_bytes)
    }

    /// The bytes that so many tokens are likely to have.
    pub fn bytes_of(&self, tokens: u64) -> u64 {
        let (all_tokens, bytes) = self.0.sums();
        share(bytes, tokens, all_tokens)
    }

    pub(crate) fn answered(&self, cut: Cut) {
        if cut.is_text && cut.tokens > 0 {
            self.0.add(cut.tokens, cut.units);
        }
    }
}
