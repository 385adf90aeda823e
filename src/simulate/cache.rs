//! The prefix cache: which blocks of earlier prompts are still held, least recently used out first.
//!
//! Of one prompt the last block leaves first, as in vLLM: a block is worth nothing without those before it.

use std::collections::{BTreeMap, HashMap};

/// Blocks held, each with the moment (a count, not a time) of its last use.
#[derive(Debug)]
pub(super) struct PrefixCache {
    capacity: usize,
    last_use: HashMap<u64, u64>,
    by_age: BTreeMap<u64, u64>,
    moment: u64,
}

impl PrefixCache {
    /// A cache of `capacity` blocks; zero caches nothing.
    pub(super) fn new(capacity: usize) -> PrefixCache {
        PrefixCache {
            capacity,
            last_use: HashMap::new(),
            by_age: BTreeMap::new(),
            moment: 0,
        }
    }

    /// How many of the leading `blocks` are held already; all of them are held from now on.
    pub(super) fn admit(&mut self, blocks: &[u64]) -> usize {
        if self.capacity == 0 {
            return 0;
        }
        let leading = blocks
            .iter()
            .take_while(|block| self.last_use.contains_key(block))
            .count();
        // From the back, so that the first block is the one used last.
        for &block in blocks.iter().rev() {
            self.moment += 1;
            if let Some(before) = self.last_use.insert(block, self.moment) {
                self.by_age.remove(&before);
            }
            self.by_age.insert(self.moment, block);
            if self.last_use.len() > self.capacity
                && let Some((_, oldest)) = self.by_age.pop_first()
            {
                self.last_use.remove(&oldest);
            }
        }
        leading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leading_blocks_count() {
        let mut cache = PrefixCache::new(8);
        assert_eq!(cache.admit(&[1, 2, 3]), 0);
        assert_eq!(cache.admit(&[1, 2, 9]), 2);
        assert_eq!(cache.admit(&[7, 2, 3]), 0);
        assert_eq!(cache.admit(&[1, 2, 3]), 3);
    }

    #[test]
    fn the_longest_unused_leaves_first_and_of_a_prompt_its_end() {
        let mut cache = PrefixCache::new(4);
        cache.admit(&[1, 2, 3]);
        cache.admit(&[10, 11]);
        assert_eq!(cache.admit(&[1, 2, 3]), 2);
        let mut cache = PrefixCache::new(2);
        cache.admit(&[1, 2, 3]);
        assert_eq!(
            cache.admit(&[1, 2, 3]),
            2,
            "a prompt larger than the cache keeps its beginning"
        );
        assert_eq!(cache.last_use.len(), cache.by_age.len());
    }

    #[test]
    fn no_capacity_no_cache() {
        let mut cache = PrefixCache::new(0);
        cache.admit(&[1]);
        assert_eq!(cache.admit(&[1]), 0);
    }
}
