//! What an engine's own events tell of its cache, and what it was sent that they cannot have told yet.

use crate::index::{CacheView, PrefixIndex, TooManyEngines};
use crate::prompt::{Block, Cut, Prompt, SequenceHash};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whom a prediction is by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// The model of a cache, made from what was sent there.
    #[default]
    Sent,
    /// The engine's own events.
    Events,
}

impl Source {
    /// Its name in metrics and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Events => "events",
        }
    }
}

/// Whether an engine's events are heard now, and how they cut prompts.
#[derive(Debug, Default)]
pub struct Hearing {
    is_heard: AtomicBool,
    block_size: AtomicUsize,
}

impl Hearing {
    /// Tokens in a block, as the events say; `None` until the first.
    pub fn block_size(&self) -> Option<usize> {
        Some(self.block_size.load(Ordering::Relaxed)).filter(|&size| size > 0)
    }

    /// Blocks are of this size; `None`: what comes next may be of another.
    pub fn learn_block_size(&self, size: Option<usize>) {
        self.block_size.store(size.unwrap_or(0), Ordering::Relaxed);
    }

    /// A message came that follows on what is known.
    pub fn heard(&self) {
        self.is_heard.store(true, Ordering::Relaxed);
    }

    /// Nothing is heard any more: what is known may be out of date until the next message.
    pub fn lost(&self) {
        self.is_heard.store(false, Ordering::Relaxed);
    }

    /// Whether what the events told is up to date.
    pub fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    /// Tokens in a block, while what the events told is up to date.
    pub fn cut(&self) -> Option<usize> {
        self.block_size().filter(|_| self.is_heard())
    }
}

/// An engine that tells what it holds, in one model's index.
#[derive(Debug)]
pub struct Told {
    /// What its events tell: they keep it.
    pub view: CacheView,
    hearing: Arc<Hearing>,
    sent: Requested,
}

/// What was known of an engine when a prompt was sent there. To be [`released`](Told::release).
#[derive(Debug)]
pub(crate) struct ToldSent {
    /// Leading blocks that it was known to hold, or to be about to.
    held: usize,
    cut: Cut,
    blocks: Vec<SequenceHash>,
}

impl ToldSent {
    pub(crate) fn predicted_tokens(&self) -> u64 {
        self.cut.tokens_of(self.held)
    }
}

impl Told {
    /// One of which nothing is known yet. `engine` is its name in the index.
    pub fn new(
        index: &Arc<PrefixIndex>,
        engine: &str,
        hearing: Arc<Hearing>,
    ) -> Result<Self, TooManyEngines> {
        // No engine's name has a line break.
        Ok(Self {
            view: index.follow(&format!("{engine}\nevents"))?,
            hearing,
            sent: Requested {
                view: index.follow(&format!("{engine}\nsent"))?,
                uses: Mutex::default(),
            },
        })
    }

    /// Tokens in a block, while its events are heard.
    pub fn block_size(&self) -> Option<usize> {
        self.hearing.cut()
    }

    pub(crate) fn is_by(&self, hearing: &Arc<Hearing>) -> bool {
        Arc::ptr_eq(&self.hearing, hearing)
    }

    /// What it told is not to be relied on until it tells more.
    pub fn lost(&self) {
        self.hearing.lost();
    }

    /// The prompt in this engine's blocks, while its events are heard.
    pub(crate) fn cut<'a>(&self, prompt: &'a Prompt) -> Option<&'a Prompt> {
        prompt.in_blocks_of(self.block_size()?)
    }

    /// The views whose blocks it holds.
    pub(crate) fn views(&self) -> [&CacheView; 2] {
        [&self.view, &self.sent.view]
    }

    /// A prompt goes there: until its answer has ended, what comes after it finds the prompt's blocks, told or not.
    pub(crate) fn sent(&self, prompt: &Prompt) -> Option<ToldSent> {
        let prompt = self.cut(prompt)?;
        let told = self.view.sent(prompt).held;
        Some(ToldSent {
            held: told.max(self.sent.add(prompt.blocks())),
            cut: prompt.cut(),
            blocks: prompt.blocks().iter().map(|block| block.seq_hash).collect(),
        })
    }

    /// Its answer has ended: from now on its blocks are there as far as the events say so.
    pub(crate) fn release(&self, sent: &ToldSent) {
        self.sent.remove(&sent.blocks);
    }
}

/// Blocks of prompts that are at an engine now. It holds them as soon as it works on them, and evicts none of them before the
/// end of the answer; its events say so only when the prefill is done, and a burst of prompts with one beginning comes sooner.
#[derive(Debug)]
struct Requested {
    view: CacheView,
    /// How many requests have each. With a block, all that are before it in a prompt are there.
    uses: Mutex<HashMap<SequenceHash, u32>>,
}

impl Requested {
    /// How many leading blocks of these were there.
    fn add(&self, blocks: &[Block]) -> usize {
        let mut uses = self.uses.lock();
        let known = blocks
            .iter()
            .take_while(|block| uses.contains_key(&block.seq_hash))
            .count();
        for block in blocks {
            *uses.entry(block.seq_hash).or_default() += 1;
        }
        let parent = known.checked_sub(1).map(|last| blocks[last].seq_hash);
        let stored = self.view.stored(&blocks[known..], parent);
        debug_assert!(stored.is_ok(), "{stored:?}");
        known
    }

    fn remove(&self, blocks: &[SequenceHash]) {
        let mut uses = self.uses.lock();
        let mut gone = Vec::new();
        for &block in blocks {
            if let Some(count) = uses.get_mut(&block) {
                *count -= 1;
                if *count == 0 {
                    uses.remove(&block);
                    gone.push(block);
                }
            }
        }
        self.view.removed(&gone);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::{Answered, ModelRouter, Seat, namespace};

    const BLOCK: usize = 4;

    struct Fleet {
        router: ModelRouter,
        hearing: Arc<Hearing>,
        /// The first tells, the second is modelled.
        seats: [Arc<Seat>; 2],
    }

    impl Fleet {
        fn new() -> Self {
            let router = ModelRouter::default();
            let hearing = Arc::new(Hearing::default());
            let seat = |name: &str| router.seat(router.index().model(name, 1_000).unwrap(), Arc::default());
            let told = Told::new(router.index(), "a", Arc::clone(&hearing)).unwrap();
            let seats = [Arc::new(seat("a").with_told(told)), Arc::new(seat("b"))];
            hearing.learn_block_size(Some(BLOCK));
            hearing.heard();
            Self {
                router,
                hearing,
                seats,
            }
        }

        fn predicted(&self, prompt: &Prompt) -> [(u64, Source); 2] {
            let seats = self.seats.iter().map(|seat| &**seat);
            let scores = self.router.scores(prompt, seats, 0);
            [0, 1].map(|at| (scores[at].predicted_tokens, scores[at].source))
        }

        fn stores(&self, blocks: &[Block]) {
            let told = self.seats[0].told.as_ref().unwrap();
            told.view.stored(blocks, None).unwrap();
        }
    }

    fn prompt(tokens: u32) -> Prompt {
        let ids: Vec<u32> = (0..tokens).collect();
        let text = vec![b'x'; 1_024];
        Prompt::of_text(0, [&text[..]], u64::from(tokens)).with_tokens(namespace(None, None), &ids, BLOCK)
    }

    #[test]
    fn what_an_engine_tells_is_believed_while_it_is_heard_and_else_what_it_was_sent() {
        let fleet = Fleet::new();
        let prompt = prompt(22);
        assert_eq!(fleet.predicted(&prompt), [(0, Source::Events), (0, Source::Sent)]);
        fleet.stores(&prompt.in_blocks_of(BLOCK).unwrap().blocks()[..3]);
        assert_eq!(fleet.predicted(&prompt)[0], (12, Source::Events));

        fleet.hearing.lost();
        assert_eq!(fleet.predicted(&prompt)[0], (0, Source::Sent));
        let sent = fleet.router.dispatch(Arc::clone(&fleet.seats[0]), &prompt, 0);
        drop(sent);
        assert_eq!(
            fleet.predicted(&prompt)[0],
            (22, Source::Sent),
            "the model goes on"
        );
        fleet.hearing.heard();
        assert_eq!(fleet.predicted(&prompt)[0], (12, Source::Events));
        fleet.hearing.learn_block_size(Some(2 * BLOCK));
        assert_eq!(
            fleet.predicted(&prompt)[0].1,
            Source::Sent,
            "it was not cut for these"
        );
    }

    #[test]
    fn a_prompt_is_found_where_it_is_before_the_events_say_so_and_not_after_its_end() {
        let fleet = Fleet::new();
        let (prompt, longer) = (prompt(22), prompt(26));
        let first = fleet.router.dispatch(Arc::clone(&fleet.seats[0]), &prompt, 0);
        assert_eq!(first.predicted_tokens(), 0);
        assert_eq!(fleet.predicted(&longer)[0], (20, Source::Events));
        let second = fleet.router.dispatch(Arc::clone(&fleet.seats[0]), &longer, 0);
        assert_eq!(second.predicted_tokens(), 20);
        drop(first);
        assert_eq!(fleet.predicted(&prompt)[0].0, 20, "the other has it still");
        let answered = Answered {
            prompt_tokens: 26,
            cached_tokens: Some(20),
            output_tokens: 1,
        };
        let foretold = second.ended(answered, 9);
        assert_eq!((foretold.predicted_tokens, foretold.source), (20, Source::Events));
        drop(second);
        assert_eq!(fleet.predicted(&longer)[0].0, 0);
    }

    #[test]
    fn the_last_token_is_always_computed_and_its_block_with_it() {
        let blocks = |tokens| prompt(tokens).in_blocks_of(BLOCK).unwrap().blocks().len();
        assert_eq!((blocks(0), blocks(1), blocks(4)), (0, 0, 0));
        assert_eq!((blocks(5), blocks(8), blocks(9)), (1, 1, 2));
        let prompt = prompt(8);
        let cut = prompt.in_blocks_of(BLOCK).unwrap().cut();
        assert_eq!((cut.tokens, cut.tokens_of(1)), (8, 4));
    }
}
