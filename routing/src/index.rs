//! Who holds which prefix: one index for a model, and each engine's view of it.

use crate::prompt::{Block, Prompt};
use hashlink::LinkedHashMap;
use kv_index::{ApplyError, ChainBlockMap, ChainIndex, SequenceHash};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Engines that one index can tell apart: a run of blocks has a bit for each.
const ENGINES_AT_MOST: usize = 1_024;
/// A view that was wrong about a block's age shrinks to that age, but not below this many blocks.
const LEAST_CAPACITY: usize = 64;
/// For so many engines room is made at once when it is looked what they hold.
const ENGINES_AT_ONCE: usize = 64;

/// Every engine of an index's is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyEngines;

impl fmt::Display for TooManyEngines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "one model's cache can be followed on {ENGINES_AT_MOST} engines"
        )
    }
}

impl std::error::Error for TooManyEngines {}

/// Which engine holds which prefix of a model's prompts. Looking up takes no lock.
pub struct PrefixIndex {
    chains: ChainIndex,
}

impl fmt::Debug for PrefixIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefixIndex")
            .field("blocks", &self.chains.current_size())
            .finish_non_exhaustive()
    }
}

/// How many leading blocks each engine holds of one prompt.
#[derive(Debug, Clone, Default)]
pub struct Held(Vec<u32>);

impl Held {
    /// By this engine.
    pub fn by(&self, view: &CacheView) -> usize {
        self.by_number(view.worker)
    }

    /// By the engine with this number.
    #[inline]
    pub(crate) fn by_number(&self, number: u32) -> usize {
        let blocks = self.0.get(slot(number)).copied().unwrap_or(0);
        usize::try_from(blocks).unwrap_or(usize::MAX)
    }
}

impl PrefixIndex {
    /// One that knows of no engine yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            chains: ChainIndex::with_max_workers(ENGINES_AT_MOST),
        })
    }

    /// How many leading blocks of a prompt each engine holds.
    pub fn held(&self, prompt: &Prompt) -> Held {
        let mut held = Vec::new();
        self.chains.score_into(
            prompt.blocks(),
            |block| block.content_hash.0,
            false,
            |worker, blocks| {
                if held.len() <= slot(worker) {
                    // Engines are many or few, and come in order.
                    held.resize((slot(worker) + 1).next_multiple_of(ENGINES_AT_ONCE), 0);
                }
                held[slot(worker)] = blocks;
            },
        );
        Held(held)
    }

    /// Blocks that are held, each counted once for each engine that holds it.
    pub fn blocks(&self) -> usize {
        self.chains.current_size()
    }

    /// An engine's view, modelled from what is sent there: a cache of so many blocks that forgets what was used longest ago.
    /// `name` is the engine's, and unique among those that have a view now.
    pub fn model(self: &Arc<Self>, name: &str, capacity_blocks: usize) -> Result<CacheView, TooManyEngines> {
        let model = Model {
            used: LinkedHashMap::new(),
            capacity: capacity_blocks,
            most: capacity_blocks,
            brought_in: 0,
        };
        self.view(name, Some(model))
    }

    /// An engine's view, told by its events.
    pub fn follow(self: &Arc<Self>, name: &str) -> Result<CacheView, TooManyEngines> {
        self.view(name, None)
    }

    fn view(self: &Arc<Self>, name: &str, model: Option<Model>) -> Result<CacheView, TooManyEngines> {
        let worker = self.chains.intern_worker(name).map_err(|_| TooManyEngines)?;
        let state = State {
            map: ChainBlockMap::new(),
            model,
        };
        Ok(CacheView {
            index: Arc::clone(self),
            worker,
            state: Mutex::new(state),
        })
    }
}

fn slot(worker: u32) -> usize {
    usize::try_from(worker).unwrap_or(usize::MAX)
}

/// What one engine is thought to hold. Forgotten with all its blocks when it is dropped.
pub struct CacheView {
    index: Arc<PrefixIndex>,
    worker: u32,
    state: Mutex<State>,
}

impl fmt::Debug for CacheView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheView")
            .field("worker", &self.worker)
            .field("blocks", &self.blocks())
            .finish_non_exhaustive()
    }
}

struct State {
    map: ChainBlockMap,
    /// `None` where the engine tells itself.
    model: Option<Model>,
}

/// A cache that forgets what was used longest ago, and of a prompt its end first.
struct Model {
    /// Each block with the count of blocks brought in when it was last used, the longest unused in front.
    used: LinkedHashMap<SequenceHash, u64>,
    /// How many it is thought to hold.
    capacity: usize,
    /// How many it may be thought to hold.
    most: usize,
    brought_in: u64,
}

/// What was thought of an engine's cache when a prompt was sent there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Leading blocks that it was thought to hold.
    pub held: usize,
    /// How many blocks had been brought in since the last of them was used.
    age: u64,
}

impl CacheView {
    /// Its number among the index's engines.
    pub(crate) fn number(&self) -> u32 {
        self.worker
    }

    /// Blocks that the engine is thought to hold.
    pub fn blocks(&self) -> usize {
        self.index.chains.worker_block_count(self.worker)
    }

    /// A prompt goes there: it will hold all of it. An engine that tells itself what it holds is asked nothing.
    pub fn sent(&self, prompt: &Prompt) -> Sent {
        let mut state = self.state.lock();
        let State { map, model } = &mut *state;
        let blocks = prompt.blocks();
        let held = blocks
            .iter()
            .take_while(|block| map.contains_key(block.seq_hash))
            .count();
        let Some(model) = model else {
            return Sent { held, age: 0 };
        };
        let last = held.checked_sub(1).map(|last| blocks[last].seq_hash);
        let age = last.map_or(0, |last| model.age(last));
        self.store(&blocks[held..], last, map);
        let gone = model.touch(blocks, held);
        self.index.chains.apply_removed(self.worker, &gone, map);
        Sent { held, age }
    }

    /// What the engine said that it had held of a prompt that was [`sent`](Self::sent) there: so many leading blocks. It
    /// holds all of it now, whatever it held before; but what it had forgotten tells how much it can hold.
    pub fn reported(&self, sent: Sent, held: usize) {
        let mut state = self.state.lock();
        let State { map, model } = &mut *state;
        let Some(model) = model else { return };
        // A block more or less is a matter of where the text was cut.
        if held.saturating_add(1) < sent.held {
            let age = usize::try_from(sent.age).unwrap_or(usize::MAX);
            let learned = age.max(LEAST_CAPACITY).min(model.capacity);
            // Half the way: one answer may be wrong.
            model.capacity = learned.midpoint(model.capacity);
            let gone = model.evict();
            self.index.chains.apply_removed(self.worker, &gone, map);
        } else if held > sent.held.saturating_add(1) {
            model.capacity = (model.capacity + model.capacity / 8 + 1).min(model.most);
        }
    }

    /// The engine says what its cache holds. What was learned of a size that was only assumed is forgotten.
    pub fn resize(&self, capacity_blocks: usize) {
        let mut state = self.state.lock();
        let State { map, model } = &mut *state;
        let Some(model) = model.as_mut().filter(|model| model.most != capacity_blocks) else {
            return;
        };
        model.most = capacity_blocks;
        model.capacity = capacity_blocks;
        let gone = model.evict();
        self.index.chains.apply_removed(self.worker, &gone, map);
    }

    /// The engine says that it stores these blocks after `parent`.
    pub fn stored(&self, blocks: &[Block], parent: Option<SequenceHash>) -> Result<(), ApplyError> {
        let map = &mut self.state.lock().map;
        self.index.chains.apply_stored(self.worker, blocks, parent, map)
    }

    /// The engine says that it has forgotten these.
    pub fn removed(&self, blocks: &[SequenceHash]) {
        let map = &mut self.state.lock().map;
        self.index.chains.apply_removed(self.worker, blocks, map);
    }

    /// The engine has forgotten everything, or what it holds is not known any more.
    pub fn cleared(&self) {
        let mut state = self.state.lock();
        self.index.chains.apply_cleared(self.worker, &mut state.map);
        if let Some(model) = &mut state.model {
            model.used.clear();
        }
    }

    fn store(&self, blocks: &[Block], parent: Option<SequenceHash>, map: &mut ChainBlockMap) {
        // The parent is in the map: it was counted there under the same lock.
        let stored = self.index.chains.apply_stored(self.worker, blocks, parent, map);
        debug_assert!(stored.is_ok(), "{stored:?}");
    }
}

impl Drop for CacheView {
    fn drop(&mut self) {
        let map = std::mem::take(&mut self.state.get_mut().map);
        self.index.chains.remove_worker(self.worker, map);
    }
}

impl Model {
    fn age(&self, block: SequenceHash) -> u64 {
        let used = self.used.get(&block).copied().unwrap_or(self.brought_in);
        self.brought_in.saturating_sub(used)
    }

    /// These are used now, of which so many leading ones were there; what has no place any more is returned. From the back, so
    /// that the first is used last: no block outlives the one before it, and none is there behind the leading ones.
    fn touch(&mut self, blocks: &[Block], held: usize) -> Vec<SequenceHash> {
        self.brought_in += blocks.len().saturating_sub(held) as u64;
        for block in blocks.iter().rev() {
            self.used.insert(block.seq_hash, self.brought_in);
        }
        self.evict()
    }

    fn evict(&mut self) -> Vec<SequenceHash> {
        let mut gone = Vec::new();
        while self.used.len() > self.capacity
            && let Some((block, _)) = self.used.pop_front()
        {
            gone.push(block);
        }
        gone
    }
}
