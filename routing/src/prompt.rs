//! A prompt as a chain of blocks, each named by its content and by everything before it.

use crate::lengths::Lengths;
use kv_index::{ContentHash, StoredBlock, chain_prefix_hash};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One block of a prompt: by its content, and by its content with all that is before it.
pub type Block = StoredBlock;

/// A block's name: its content and everything before it.
pub use kv_index::SequenceHash;

/// Bytes of text that make a block where no tokenizer is at hand: some 50 to 60 tokens of English.
const TEXT_BLOCK_BYTES: usize = 256;

/// What a prompt's prefix may be shared with: prompts of the same namespace alone. A LoRA adapter and a cache salt each make
/// one of their own, as they do in the engines. An empty name is none.
pub fn namespace(lora: Option<&str>, cache_salt: Option<&str>) -> u64 {
    kv_index::salt::namespace_seed(lora, cache_salt)
}

/// The block of these tokens after `before`: what [`Prompt::of_tokens`] makes of them there.
pub fn block_after(before: Option<SequenceHash>, namespace: u64, tokens: &[u32]) -> Block {
    chained(before, kv_index::salt::content_hash_with_seed(tokens, namespace))
}

fn chained(before: Option<SequenceHash>, content_hash: ContentHash) -> Block {
    let seq_hash = before.map_or(SequenceHash(content_hash.0), |before| {
        chain_prefix_hash(before, content_hash)
    });
    Block {
        seq_hash,
        content_hash,
    }
}

/// A prompt, as routing sees it.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    blocks: Vec<Block>,
    cut: Cut,
    affinity: Option<u64>,
    /// The same by its token ids, by the tokens in a block: one for each size that engines tell theirs in.
    by_tokens: Vec<(usize, Prompt)>,
}

/// How a prompt was cut into blocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cut {
    pub(crate) blocks: usize,
    /// Bytes or tokens in a block, and in all of the prompt: also in what is left over at the end and makes no block.
    pub(crate) block_units: u64,
    /// Bytes or tokens of all of it.
    pub units: u64,
    /// Its tokens, counted or estimated.
    pub tokens: u64,
    /// Whether it was cut as text, and not as tokens.
    pub(crate) is_text: bool,
}

impl Prompt {
    /// Of token ids, in an engine's blocks of `block_size`. What does not fill a block is no block: engines cache whole ones.
    pub fn of_tokens(namespace: u64, tokens: &[u32], block_size: usize) -> Self {
        let contents = kv_index::salt::request_content_hashes_with_seed(tokens, block_size, namespace);
        Self::of_contents(contents, block_size, tokens.len(), len(tokens.len()))
    }

    /// Of text, in the order in which engines read it; `tokens` is an estimate or a count of all of it.
    pub fn of_text<'a>(namespace: u64, parts: impl IntoIterator<Item = &'a [u8]>, tokens: u64) -> Self {
        let mut seed = namespace;
        let (mut contents, mut units) = (Vec::new(), 0_usize);
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            units += part.len();
            if parts.peek().is_some() {
                // What comes before the text is there whole or not at all.
                seed = xxh3_64_with_seed(part, seed);
            } else {
                let blocks = part.chunks_exact(TEXT_BLOCK_BYTES);
                contents.extend(blocks.map(|block| ContentHash(xxh3_64_with_seed(block, seed))));
            }
        }
        let mut prompt = Self::of_contents(contents, TEXT_BLOCK_BYTES, units, tokens);
        prompt.cut.is_text = true;
        prompt
    }

    /// The blocks of text that so many tokens are likely to fill.
    pub fn text_blocks(tokens: u64) -> usize {
        let bytes = Lengths::default().bytes_of(tokens);
        usize::try_from(bytes / len(TEXT_BLOCK_BYTES)).unwrap_or(usize::MAX)
    }

    /// Of blocks that are named already, such as those of a trace: each stands for `block_size` tokens.
    pub fn of_names(names: impl IntoIterator<Item = u64>, block_size: usize, tokens: usize) -> Self {
        Self::of_contents(
            names.into_iter().map(ContentHash).collect(),
            block_size,
            tokens,
            len(tokens),
        )
    }

    fn of_contents(contents: Vec<ContentHash>, block_units: usize, units: usize, tokens: u64) -> Self {
        let mut before = None;
        let blocks = contents.into_iter().map(|content_hash| {
            let block = chained(before, content_hash);
            before = Some(block.seq_hash);
            block
        });
        let blocks: Vec<Block> = blocks.collect();
        let cut = Cut {
            blocks: blocks.len(),
            block_units: len(block_units),
            units: len(units),
            tokens,
            is_text: false,
        };
        Self {
            blocks,
            cut,
            affinity: None,
            by_tokens: Vec::new(),
        }
    }

    /// With the same by its token ids, for engines that tell what they hold in blocks of `block_size` tokens. The last token is
    /// always computed, and the block that it fills with it: no engine finds that one in its cache.
    #[must_use]
    pub fn with_tokens(mut self, namespace: u64, tokens: &[u32], block_size: usize) -> Self {
        let before_last = &tokens[..tokens.len().saturating_sub(1)];
        let mut cut = Self::of_tokens(namespace, before_last, block_size);
        (cut.cut.units, cut.cut.tokens) = (len(tokens.len()), len(tokens.len()));
        self.by_tokens.push((block_size, cut));
        self
    }

    /// In blocks of so many tokens, if it was cut so.
    pub fn in_blocks_of(&self, tokens: usize) -> Option<&Self> {
        let mut cuts = self.by_tokens.iter();
        cuts.find(|(size, _)| *size == tokens).map(|(_, cut)| cut)
    }

    /// Each way that it was cut by its token ids: tokens in a block, and the blocks.
    pub(crate) fn by_tokens(&self) -> &[(usize, Self)] {
        &self.by_tokens
    }

    /// With a hint that prompts of the same key belong together: OpenAI's `prompt_cache_key`.
    #[must_use]
    pub fn with_cache_key(mut self, key: &[u8]) -> Self {
        self.affinity = Some(xxh3_64_with_seed(key, 0));
        self
    }

    /// Which of these engines the hint prefers: the same for all prompts of a key, and another for few of them when engines come
    /// and go.
    pub(crate) fn preferred(&self, engines: impl Iterator<Item = u32>) -> Option<u32> {
        let key = self.affinity?;
        engines.max_by_key(|engine| (xxh3_64_with_seed(&engine.to_le_bytes(), key), *engine))
    }

    /// Its whole blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// How it was cut.
    pub const fn cut(&self) -> Cut {
        self.cut
    }
}

impl Cut {
    /// The tokens of so many leading blocks.
    pub fn tokens_of(&self, blocks: usize) -> u64 {
        let units = len(blocks).saturating_mul(self.block_units).min(self.units);
        share(self.tokens, units, self.units)
    }

    /// The leading blocks that so many tokens fill, to the nearest.
    pub fn blocks_of(&self, tokens: u64) -> usize {
        let units = share(self.units, tokens.min(self.tokens), self.tokens);
        let blocks = (units + self.block_units / 2).checked_div(self.block_units);
        usize::try_from(blocks.unwrap_or(0)).map_or(self.blocks, |blocks| blocks.min(self.blocks))
    }
}

/// `part` of `all` of this; nothing of nothing.
pub(crate) fn share(of: u64, part: u64, all: u64) -> u64 {
    // Nearly always: a division of twice the width takes several times as long.
    if let Some(product) = of.checked_mul(part) {
        return product.checked_div(all).unwrap_or(0);
    }
    let share = (u128::from(of) * u128::from(part)).checked_div(u128::from(all));
    u64::try_from(share.unwrap_or(0)).unwrap_or(u64::MAX)
}

pub(crate) fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_beginning_is_shared_blocks_and_nothing_after_it_is() {
        let names =
            |prompt: &Prompt| -> Vec<u64> { prompt.blocks().iter().map(|block| block.seq_hash.0).collect() };
        let one = names(&Prompt::of_tokens(1, &[1, 2, 3, 4, 5, 6, 7], 2));
        let other = names(&Prompt::of_tokens(1, &[1, 2, 9, 9, 5, 6], 2));
        assert_eq!(one.len(), 3, "the seventh token fills no block");
        assert_eq!(one[0], other[0]);
        assert!(
            one[1] != other[1] && one[2] != other[2],
            "the third has the same content after another second"
        );
        assert_ne!(names(&Prompt::of_tokens(2, &[1, 2], 2))[0], one[0]);
    }

    #[test]
    fn a_block_after_another_is_named_as_the_prompt_names_it() {
        let prompt = Prompt::of_tokens(1, &[1, 2, 3, 4], 2);
        let first = block_after(None, 1, &[1, 2]);
        let second = block_after(Some(first.seq_hash), 1, &[3, 4]);
        let names: Vec<_> = prompt.blocks().iter().map(|block| block.seq_hash).collect();
        assert_eq!(names, [first.seq_hash, second.seq_hash]);
    }

    #[test]
    fn what_comes_before_the_text_is_part_of_each_of_its_blocks() {
        let text = [7_u8; 2 * TEXT_BLOCK_BYTES + 3];
        let with = |tools: &'static [u8]| Prompt::of_text(0, [tools, &text], 100);
        assert_eq!(with(b"a").blocks().len(), 2);
        assert_ne!(with(b"a").blocks()[0].seq_hash, with(b"b").blocks()[0].seq_hash);
    }

    #[test]
    fn tokens_and_blocks_are_each_others_share() {
        let cut = Prompt::of_names([1, 2, 3], 512, 1_400).cut();
        assert_eq!((cut.tokens_of(2), cut.tokens_of(3)), (1_024, 1_400));
        assert_eq!(
            (cut.blocks_of(1_024), cut.blocks_of(1_000), cut.blocks_of(9_999)),
            (2, 2, 3)
        );
        assert_eq!((Cut::default().tokens_of(1), Cut::default().blocks_of(1)), (0, 0));
    }
}
