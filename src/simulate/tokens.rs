//! The toy tokenizer: about four bytes a token, cut at character boundaries, the same for the same text always.
//!
//! A text that begins with another text has (but for the last token) the other's tokens first, so prompts that
//! share a beginning share cache blocks, as they do with a real tokenizer.

const BYTES_A_TOKEN: usize = 4;

/// The pieces of `text`, each one token.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = BYTES_A_TOKEN.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Spreads the bits of `x` (splitmix64's finaliser): every hash and every choice in this engine comes from it.
pub(super) fn scatter(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The hash of a text that is not part of a prompt: a model's name, a cache salt.
pub(super) fn hash_text(text: &str) -> u64 {
    text.bytes().fold(0, |hash, byte| scatter(hash ^ u64::from(byte)))
}

/// A prompt as the engine sees it: how many tokens, and the chained hash of each full block of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    /// Tokens in it.
    pub(super) tokens: u64,
    /// One hash a full block; each depends on all the tokens before it, and on the root.
    pub(super) blocks: Vec<u64>,
    /// The hash of all its tokens, from which the answer grows. The root is no part of it.
    pub(super) digest: u64,
}

impl Prompt {
    /// `root` keeps prompts apart that must not share cache (models, cache salts).
    pub(super) fn from_text(text: &str, root: u64, block_size: u64) -> Prompt {
        Prompt::from_tokens(pieces(text).map(token_of), root, block_size)
    }

    /// A prompt that was given as token ids.
    pub(super) fn from_tokens(tokens: impl Iterator<Item = u64>, root: u64, block_size: u64) -> Prompt {
        let mut prompt = Prompt {
            tokens: 0,
            blocks: Vec::new(),
            digest: 0,
        };
        for token in tokens {
            prompt.tokens += 1;
            prompt.digest = scatter(prompt.digest ^ token);
            if prompt.tokens.is_multiple_of(block_size) {
                prompt.blocks.push(scatter(prompt.digest ^ root));
            }
        }
        prompt
    }
}

/// The id of a piece: its bytes (at most seven) in a row.
fn token_of(piece: &str) -> u64 {
    piece.bytes().fold(1, |id, byte| (id << 8) | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_characters_and_make_the_text_again() {
        let text = "Grüße, 世界! 🚀 and plain text";
        assert_eq!(pieces(text).collect::<String>(), text);
        assert!(pieces(text).all(|piece| (1..=7).contains(&piece.len())));
        assert_eq!(pieces("abcdefghi").collect::<Vec<_>>(), ["abcd", "efgh", "i"]);
        assert_eq!(pieces("").count(), 0);
    }

    #[test]
    fn a_longer_prompt_keeps_the_blocks_of_its_beginning() {
        let short = Prompt::from_text(&"word".repeat(40), 0, 16);
        let long = Prompt::from_text(&"word".repeat(70), 0, 16);
        assert_eq!((short.tokens, short.blocks.len()), (40, 2));
        assert_eq!((long.tokens, long.blocks.len()), (70, 4));
        assert_eq!(long.blocks[..2], short.blocks[..]);
    }

    #[test]
    fn another_root_shares_no_block_and_has_the_same_digest() {
        let text = "word".repeat(40);
        let (ours, theirs) = (Prompt::from_text(&text, 0, 16), Prompt::from_text(&text, 1, 16));
        assert!(ours.blocks.iter().all(|block| !theirs.blocks.contains(block)));
        assert_eq!(ours.digest, theirs.digest);
    }
}
