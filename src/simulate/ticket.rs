//! One request inside the engine: whoever owns its ticket keeps it open, and dropping it ends it.
//!
//! The ticket moves into the response body, so a client that leaves drops it: the slot is free at once and the
//! record says `aborted`, with the tokens that were produced until then.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use tokio::sync::OwnedSemaphorePermit;

use super::engine::Shared;
use super::records::{End, Record};
use super::script::Ended;
use super::tokens::Prompt;

pub(super) struct Ticket {
    engine: Arc<Shared>,
    record: Arc<Record>,
    permit: Option<OwnedSemaphorePermit>,
    /// Cache blocks that it occupies while it runs.
    blocks: u64,
}

impl Ticket {
    pub(super) fn open(engine: &Arc<Shared>, record: Record) -> Ticket {
        let record = Arc::new(record);
        engine.records.keep(Arc::clone(&record));
        let now = engine.in_flight.fetch_add(1, AcqRel) + 1;
        engine.peak_in_flight.fetch_max(now, AcqRel);
        Ticket {
            engine: Arc::clone(engine),
            record,
            permit: None,
            blocks: 0,
        }
    }

    pub(super) fn set_prompt_tokens(&self, tokens: u64) {
        self.record.prompt_tokens.store(tokens, Release);
    }

    pub(super) fn set_status(&self, status: u16) {
        self.record.status.store(status, Release);
    }

    /// Starts the prefill in the slot that was got; returns the cached tokens.
    pub(super) fn start(&mut self, permit: Option<OwnedSemaphorePermit>, prompts: &[Prompt]) -> u64 {
        self.permit = permit;
        let block_size = self.engine.settings.block_size;
        let mut cached = 0;
        let mut total = 0;
        {
            let mut cache = self.engine.cache.lock();
            for prompt in prompts {
                total += prompt.tokens;
                let leading = cache.admit(&prompt.blocks) as u64;
                // As in vLLM, the last token is always computed.
                cached += leading.min(prompt.tokens.saturating_sub(1) / block_size) * block_size;
            }
        }
        self.record.cached_tokens.store(cached, Release);
        self.blocks = total.div_ceil(block_size);
        self.engine.blocks_in_use.fetch_add(self.blocks, Relaxed);
        self.engine.prompt_tokens.fetch_add(total, Relaxed);
        self.engine.cache_hits.fetch_add(cached, Relaxed);
        cached
    }

    /// Counts tokens that have just been produced.
    pub(super) fn count(&self, tokens: u64) {
        if tokens > 0 {
            self.record.completion_tokens.fetch_add(tokens, AcqRel);
            self.engine.completion_tokens.fetch_add(tokens, Relaxed);
        }
    }

    /// The engine has nothing more to say: the answer is complete, or it gives it up itself.
    pub(super) fn end(&mut self, ended: Ended) {
        self.close(match ended {
            Ended::Sound => End::Finished,
            Ended::Broken => End::Broken,
        });
    }

    fn close(&mut self, end: End) {
        if self.record.end(end) {
            self.permit = None;
            self.engine.blocks_in_use.fetch_sub(self.blocks, Relaxed);
            self.engine.in_flight.fetch_sub(1, AcqRel);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(End::Aborted);
    }
}
