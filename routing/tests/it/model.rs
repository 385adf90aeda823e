//! A modelled view against a cache that anybody can read: a list of blocks, the longest unused in front.

use farebox_routing::{CacheView, PrefixIndex, Prompt};
use proptest::prelude::*;

const BLOCK_TOKENS: usize = 16;

/// Blocks, the longest unused in front.
pub struct Naive {
    used: Vec<u64>,
    capacity: usize,
}

impl Naive {
    pub fn new(capacity: usize) -> Self {
        Self {
            used: Vec::new(),
            capacity,
        }
    }

    pub fn leading(&self, prompt: &Prompt) -> usize {
        let blocks = prompt.blocks().iter();
        blocks
            .take_while(|block| self.used.contains(&block.seq_hash.0))
            .count()
    }

    /// A prompt comes: its first block is the last to go.
    pub fn take(&mut self, prompt: &Prompt) {
        for block in prompt.blocks().iter().rev() {
            self.used.retain(|&used| used != block.seq_hash.0);
            self.used.push(block.seq_hash.0);
        }
        let over = self.used.len().saturating_sub(self.capacity);
        self.used.drain(..over);
    }
}

pub fn prompt(names: impl IntoIterator<Item = u64>) -> Prompt {
    let names: Vec<u64> = names.into_iter().collect();
    Prompt::of_names(names.iter().copied(), BLOCK_TOKENS, names.len() * BLOCK_TOKENS)
}

/// Few names, so that prompts share prefixes and part again.
fn prompts() -> impl Strategy<Value = Prompt> {
    prop::collection::vec(0_u64..2, 0..12).prop_map(prompt)
}

fn agree(index: &PrefixIndex, views: &[CacheView], naive: &[Naive], asked: &Prompt) {
    let held = index.held(asked);
    for (view, naive) in views.iter().zip(naive) {
        assert_eq!(held.by(view), naive.leading(asked));
        assert_eq!(view.blocks(), naive.used.len());
        assert!(view.blocks() <= naive.capacity);
    }
    let all: usize = views.iter().map(CacheView::blocks).sum();
    assert_eq!(index.blocks(), all);
}

proptest! {
    #[test]
    fn a_view_is_a_cache_that_forgets_what_was_used_longest_ago(
        capacities in prop::collection::vec(0_usize..30, 1..4),
        sent in prop::collection::vec((0_usize..4, prompts()), 0..60),
        asked in prop::collection::vec(prompts(), 3),
    ) {
        let index = PrefixIndex::new();
        let views = capacities.iter().enumerate().map(|(name, &capacity)| {
            index.model(&name.to_string(), capacity).unwrap()
        });
        let mut views: Vec<CacheView> = views.collect();
        let mut naive: Vec<Naive> = capacities.iter().map(|&capacity| Naive::new(capacity)).collect();
        for (engine, prompt) in sent {
            let engine = engine % views.len();
            let held = views[engine].sent(&prompt).held;
            assert_eq!(held, naive[engine].leading(&prompt));
            naive[engine].take(&prompt);
            for asked in asked.iter().chain([&prompt]) {
                agree(&index, &views, &naive, asked);
            }
        }
        // An engine goes: what it held goes with it, and nothing else.
        while views.pop().is_some() {
            naive.pop();
            for asked in &asked {
                agree(&index, &views, &naive, asked);
            }
        }
        assert_eq!(index.blocks(), 0);
    }
}

#[test]
fn an_engine_that_comes_back_holds_nothing() {
    let index = PrefixIndex::new();
    let asked = prompt([1, 2, 3]);
    let view = index.model("a", 10).unwrap();
    view.sent(&asked);
    assert_eq!(index.held(&asked).by(&view), 3);
    drop(view);
    let view = index.model("a", 10).unwrap();
    assert_eq!((index.held(&asked).by(&view), index.blocks()), (0, 0));
}

#[test]
fn any_number_of_distinct_prompts_takes_no_more_room_than_the_caches_have() {
    let index = PrefixIndex::new();
    let views = (0..8).map(|name| index.model(&name.to_string(), 500).unwrap());
    let views: Vec<CacheView> = views.collect();
    for request in 0..20_000_u64 {
        let own = (0..7).map(|block| 1_000 + request * 7 + block);
        views[usize::try_from(request % 8).unwrap()].sent(&prompt([request % 5].into_iter().chain(own)));
        assert!(index.blocks() <= 8 * 500);
    }
    assert_eq!(index.blocks(), 8 * 500);
}
