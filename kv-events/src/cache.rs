//! One engine's cache, as its events tell it: what its names of blocks stand for, and how often it holds each.

use crate::counters::{Counters, add};
use crate::decode::{Batch, Event, Stored};
use farebox_routing::{Block, CacheView, SequenceHash, block_after, namespace};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

/// Blocks of one engine that are kept account of. More than any has: what exceeds it is a publisher gone wrong.
const MOST_BLOCKS: usize = 1 << 22;

/// An engine's views, one in the index of each model that it serves, fed by events.
///
/// A block has two names. The engine's own is random or hashed in its own way, and different on each of its ranks; so blocks
/// are told to the views by the name that a prompt of the same tokens has ([`block_after`]), and the engine's are kept here.
#[derive(Debug)]
pub struct Cache<V> {
    views: Vec<V>,
    counters: Arc<Counters>,
    /// By data-parallel rank and the engine's name.
    ranks: HashMap<u32, HashMap<u64, Held>>,
    /// How many of the engine's names stand for each block of the views.
    names: HashMap<SequenceHash, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    block: SequenceHash,
    /// What it may be shared with: what comes after it may be shared with the same.
    namespace: u64,
    copies: u32,
}

impl<V: Borrow<CacheView>> Cache<V> {
    /// One that holds nothing: what the views knew before is forgotten.
    pub fn new(views: Vec<V>, counters: Arc<Counters>) -> Self {
        views.iter().for_each(|view| view.borrow().cleared());
        Self {
            views,
            counters,
            ranks: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// All that one rank says at one time.
    pub fn apply(&mut self, batch: &Batch) {
        let counters = Arc::clone(&self.counters);
        add(&counters.events, batch.events.len());
        add(
            &counters.undecodable,
            usize::try_from(batch.undecodable).unwrap_or(usize::MAX),
        );
        for event in &batch.events {
            match event {
                Event::Stored(stored) => self.stored(batch.rank, stored),
                Event::Removed(hashes) => self.removed(batch.rank, hashes),
                Event::Cleared => self.forget(batch.rank),
            }
        }
    }

    /// This rank holds nothing, or what it holds is not known any more.
    pub fn forget(&mut self, rank: u32) {
        let held = self.ranks.remove(&rank).unwrap_or_default();
        if self.ranks.values().all(HashMap::is_empty) {
            self.names.clear();
            self.views.iter().for_each(|view| view.borrow().cleared());
            // What starts anew may be cut otherwise.
            self.counters.hearing.learn_block_size(None);
        } else {
            let held = held.into_values().map(|held| held.block).collect();
            self.release(held);
        }
    }

    fn stored(&mut self, rank: u32, stored: &Stored) {
        let count = stored.hashes.len();
        match self.counters.block_size() {
            None => self.counters.hearing.learn_block_size(Some(stored.block_size)),
            Some(size) if size != stored.block_size => return add(&self.counters.misfits, count),
            Some(_) => {}
        }
        let parent = match stored.parent {
            None => None,
            Some(parent) => match self.ranks.get(&rank).and_then(|held| held.get(&parent)) {
                None => return add(&self.counters.orphans, count),
                known => known.copied(),
            },
        };
        if self.ranks.values().map(HashMap::len).sum::<usize>() + count > MOST_BLOCKS {
            add(&self.counters.resets, 1);
            return self.forget(rank);
        }
        let namespace = parent.map_or_else(
            || namespace(stored.lora.as_deref(), stored.salt.as_deref()),
            |parent| parent.namespace,
        );
        let parent = parent.map(|parent| parent.block);
        let blocks = blocks(stored, namespace, parent);
        let stores = self
            .views
            .iter()
            .map(|view| view.borrow().stored(&blocks, parent));
        if stores.filter(Result::is_err).count() > 0 {
            return add(&self.counters.orphans, count);
        }
        add(&self.counters.stored, count);
        let held = self.ranks.entry(rank).or_default();
        let mut renamed = Vec::new();
        for (&hash, block) in stored.hashes.iter().zip(&blocks) {
            let known = held.get_mut(&hash);
            if let Some(same) = known.filter(|known| known.block == block.seq_hash) {
                same.copies = same.copies.saturating_add(1);
                continue;
            }
            *self.names.entry(block.seq_hash).or_default() += 1;
            let new = Held {
                block: block.seq_hash,
                namespace,
                copies: 1,
            };
            renamed.extend(held.insert(hash, new).map(|old| old.block));
        }
        self.release(renamed);
    }

    fn removed(&mut self, rank: u32, hashes: &[u64]) {
        let Some(held) = self.ranks.get_mut(&rank) else {
            return;
        };
        let mut gone = Vec::new();
        for hash in hashes {
            if let Some(one) = held.get_mut(hash) {
                one.copies -= 1;
                if one.copies == 0 {
                    gone.push(one.block);
                    held.remove(hash);
                }
            }
        }
        add(&self.counters.removed, hashes.len());
        self.release(gone);
    }

    /// One of the engine's names does not stand for each of these any more.
    fn release(&mut self, mut blocks: Vec<SequenceHash>) {
        blocks.retain(|block| match self.names.get_mut(block) {
            Some(names) if *names > 1 => {
                *names -= 1;
                false
            }
            _ => self.names.remove(block).is_some(),
        });
        self.views.iter().for_each(|view| view.borrow().removed(&blocks));
    }
}

/// What a prompt of the same tokens would call them.
fn blocks(stored: &Stored, namespace: u64, mut before: Option<SequenceHash>) -> Vec<Block> {
    let extra = stored.extra.iter().copied().chain(std::iter::repeat(0));
    let tokens = stored.tokens.chunks_exact(stored.block_size);
    tokens
        .zip(extra)
        .map(|(tokens, extra)| {
            let block = block_after(before, namespace.wrapping_add(extra), tokens);
            before = Some(block.seq_hash);
            block
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_routing::{PrefixIndex, Prompt};
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A prompt of these blocks, each of one token.
    fn prompt(tokens: &[u32]) -> Prompt {
        Prompt::of_tokens(namespace(None, None), tokens, 1)
    }

    /// The engine's name of a prompt's last block: the other rank has another.
    fn name(rank: u32, tokens: &[u32]) -> u64 {
        let digits = tokens
            .iter()
            .fold(u64::from(rank), |name, &token| name * 10 + u64::from(token));
        digits.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[derive(Debug, Clone)]
    enum Said {
        Stored(usize),
        Removed(usize),
        Cleared,
    }

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![
            6 => (0..4_usize).prop_map(Said::Stored),
            4 => (1..5_usize).prop_map(Said::Removed),
            1 => Just(Said::Cleared),
        ]
    }

    fn stored(hash: u64, token: u32) -> Event {
        Event::Stored(Stored {
            hashes: vec![hash],
            parent: None,
            tokens: vec![token],
            block_size: 1,
            lora: None,
            salt: None,
            extra: vec![],
        })
    }

    #[test]
    fn a_name_stands_for_one_block_and_an_empty_engine_may_be_cut_anew() {
        let index = PrefixIndex::new();
        let view = Arc::new(index.follow("engine").unwrap());
        let counters = Arc::new(Counters::default());
        let mut cache = Cache::new(vec![Arc::clone(&view)], Arc::clone(&counters));
        let mut say = |rank, event| {
            cache.apply(&Batch {
                rank,
                events: vec![event],
                undecodable: 0,
            });
        };
        say(0, stored(7, 1));
        say(0, stored(7, 2));
        let held = |token| index.held(&prompt(&[token])).by(&view);
        assert_eq!((held(1), held(2), view.blocks()), (0, 1, 1));

        say(1, stored(8, 1));
        say(0, Event::Removed(vec![7]));
        assert_eq!(counters.block_size(), Some(1));
        say(1, Event::Cleared);
        assert_eq!(counters.block_size(), None);
    }

    proptest! {
        /// Against copies counted by rank and prompt: what is held is what a copy of is left of, on any rank.
        #[test]
        fn what_is_held_is_what_a_copy_of_is_left(
            events in vec((0..2_u32, vec(1..3_u32, 4), said()), 1..60),
        ) {
            let index = PrefixIndex::new();
            let view = Arc::new(index.follow("engine").unwrap());
            let counters = Arc::new(Counters::default());
            let mut cache = Cache::new(vec![Arc::clone(&view)], counters);
            let mut copies: HashMap<(u32, Vec<u32>), u32> = HashMap::new();
            for (rank, tokens, said) in events {
                let event = match said {
                    Said::Stored(from) => {
                        let parent = (from > 0).then(|| name(rank, &tokens[..from]));
                        if from == 0 || copies.contains_key(&(rank, tokens[..from].to_vec())) {
                            for end in from + 1..=tokens.len() {
                                *copies.entry((rank, tokens[..end].to_vec())).or_default() += 1;
                            }
                        }
                        Event::Stored(Stored {
                            hashes: (from + 1..=tokens.len()).map(|end| name(rank, &tokens[..end])).collect(),
                            parent,
                            tokens: tokens[from..].to_vec(),
                            block_size: 1,
                            lora: None,
                            salt: None,
                            extra: vec![],
                        })
                    }
                    Said::Removed(end) => {
                        if let Some(left) = copies.get_mut(&(rank, tokens[..end].to_vec())) {
                            *left -= 1;
                        }
                        copies.retain(|_, left| *left > 0);
                        Event::Removed(vec![name(rank, &tokens[..end])])
                    }
                    Said::Cleared => {
                        copies.retain(|(of, _), _| *of != rank);
                        Event::Cleared
                    }
                };
                cache.apply(&Batch { rank, events: vec![event], undecodable: 0 });
                let is_held = |tokens: &[u32]| (0..2).any(|rank| copies.contains_key(&(rank, tokens.to_vec())));
                let held = (1..=4).take_while(|&end| is_held(&tokens[..end])).count();
                prop_assert_eq!(index.held(&prompt(&tokens)).by(&view), held);
            }
            let mut distinct: Vec<_> = copies.keys().map(|(_, tokens)| tokens).collect();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(view.blocks(), distinct.len());
        }
    }
}
