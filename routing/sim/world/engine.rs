//! An engine as vLLM is one: steps in which every running stream gets a token and the first prompts in line get a chunk of
//! prefill, and a cache of blocks that forgets what was used longest ago.

use farebox_routing::Prompt;
use hashlink::LinkedHashMap;
use std::collections::VecDeque;

/// Tokens that a step computes at most.
const STEP_TOKENS: u64 = 8_192;
/// Requests that run at once.
const RUNNING_AT_MOST: usize = 256;
/// What a step takes, whatever is in it.
const STEP_NS: u64 = 6_000_000;
/// What a token of prefill adds: 20,000 a second.
const PREFILL_NS: u64 = 50_000;
/// What a running stream adds.
const DECODE_NS: u64 = 120_000;

/// Blocks, the longest unused forgotten first, and of a prompt its end.
#[derive(Debug)]
pub struct BlockCache {
    used: LinkedHashMap<u64, ()>,
    capacity: usize,
}

impl BlockCache {
    pub fn new(capacity: usize) -> Self {
        Self {
            used: LinkedHashMap::new(),
            capacity,
        }
    }

    pub fn leading(&self, prompt: &Prompt) -> usize {
        let blocks = prompt.blocks().iter();
        blocks
            .take_while(|block| self.used.contains_key(&block.seq_hash.0))
            .count()
    }

    pub fn touch(&mut self, prompt: &Prompt) {
        for block in prompt.blocks().iter().rev() {
            self.used.remove(&block.seq_hash.0);
            self.used.insert(block.seq_hash.0, ());
        }
        while self.used.len() > self.capacity {
            self.used.pop_front();
        }
    }
}

/// A request that is at an engine.
#[derive(Debug)]
struct At {
    request: usize,
    /// Tokens to prefill; `None` until it is begun, when the cache is looked at.
    left: Option<u64>,
    cached: u64,
    output_left: u32,
}

/// What came of a step.
#[derive(Debug)]
pub enum Came {
    /// A first token, and how many tokens of the prompt were cached.
    First { request: usize, cached: u64 },
    /// The last token.
    Last { request: usize },
}

/// One engine.
#[derive(Debug)]
pub struct Engine {
    queue: VecDeque<At>,
    running: Vec<At>,
    /// A step goes on.
    stepping: bool,
    /// Nanoseconds of work that it did, besides what a step takes anyway.
    pub work_ns: u64,
    /// How many times longer everything takes.
    slow: u64,
}

impl Engine {
    pub fn new(slow: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            running: Vec::new(),
            stepping: false,
            work_ns: 0,
            slow,
        }
    }

    pub fn push(&mut self, request: usize, output: u32) {
        self.queue.push_back(At {
            request,
            left: None,
            cached: 0,
            output_left: output,
        });
    }

    /// Begins a step, if there is something to do and none goes on. Returns how long it takes, in nanoseconds.
    pub fn step<'a>(
        &mut self,
        cache: &mut BlockCache,
        prompt_of: impl Fn(usize) -> &'a Prompt,
    ) -> Option<u64> {
        if self.stepping || (self.queue.is_empty() && self.running.is_empty()) {
            return None;
        }
        self.stepping = true;
        let streams = self.running.len() as u64;
        let mut budget = STEP_TOKENS.saturating_sub(streams);
        let mut prefilled = 0;
        for (index, at) in self.queue.iter_mut().enumerate() {
            if budget == 0 || self.running.len() + index >= RUNNING_AT_MOST {
                break;
            }
            let left = *at.left.get_or_insert_with(|| {
                let prompt = prompt_of(at.request);
                let tokens = prompt.cut().tokens;
                // The last token is always computed.
                at.cached = prompt.cut().tokens_of(cache.leading(prompt)).min(tokens - 1);
                // It is held while it is used.
                cache.touch(prompt);
                tokens - at.cached
            });
            let now = left.min(budget);
            at.left = Some(left - now);
            budget -= now;
            prefilled += now;
        }
        let work = (prefilled * PREFILL_NS + streams * DECODE_NS) * self.slow;
        self.work_ns += work;
        Some(STEP_NS * self.slow + work)
    }

    /// The step is over.
    pub fn stepped(&mut self, came: &mut Vec<Came>) {
        self.stepping = false;
        for at in &mut self.running {
            at.output_left -= 1;
            if at.output_left == 0 {
                came.push(Came::Last { request: at.request });
            }
        }
        self.running.retain(|at| at.output_left > 0);
        while self.queue.front().is_some_and(|at| at.left == Some(0)) {
            let Some(mut at) = self.queue.pop_front() else {
                break;
            };
            came.push(Came::First {
                request: at.request,
                cached: at.cached,
            });
            at.output_left -= 1;
            if at.output_left == 0 {
                came.push(Came::Last { request: at.request });
            } else {
                self.running.push(at);
            }
        }
    }
}
