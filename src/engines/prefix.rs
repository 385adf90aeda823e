//! Routing by what the engines' caches hold, for a model whose operator asks for it: `routing: prefix`.

use crate::clock::Clock;
use crate::engines::client::Engine;
use crate::engines::registry::ServedDeployment;
use farebox_routing::{Dispatched, ModelRouter, Prompt, Seat, Told, TooManyEngines, Weighing};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Tokens that an engine's cache is thought to hold where nobody says it; its answers correct it downwards.
const CACHE_TOKENS: u32 = 4 << 20;

/// One model's routing, with the clock.
#[derive(Debug)]
pub struct PrefixRouting {
    router: ModelRouter,
    clock: Clock,
    since: Instant,
    /// Seats that were made.
    seats: AtomicU64,
}

impl PrefixRouting {
    /// One that knows of no engine yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            router: ModelRouter::default(),
            since: clock.now(),
            clock,
            seats: AtomicU64::new(0),
        }
    }

    /// An engine in its part as one that serves the model.
    pub fn seat(&self, engine: &Engine) -> Result<Arc<Seat>, TooManyEngines> {
        let tokens = engine.cache_tokens.unwrap_or(CACHE_TOKENS);
        let blocks = Prompt::text_blocks(u64::from(tokens));
        // A seat of the same engine's at another address may still be there, for the requests that are.
        let name = format!("{} {}", engine.name, self.seats.fetch_add(1, Ordering::Relaxed));
        let view = self.router.index().model(&name, blocks)?;
        let seat = self.router.seat(view, Arc::clone(&engine.load));
        // Where there is no room for what it tells, its cache is modelled as the others' are.
        let told = engine
            .hearing()
            .and_then(|hearing| Told::new(self.router.index(), &name, Arc::clone(hearing)).ok());
        Ok(Arc::new(match told {
            Some(told) => seat.with_told(told),
            None => seat,
        }))
    }

    /// Microseconds since it began: the time that its engines' rates are learned in.
    pub fn now_us(&self) -> u64 {
        let passed = self.clock.now().saturating_duration_since(self.since);
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
    }

    /// The tokens that a prompt of so many bytes is likely to have.
    pub fn tokens_of(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.router.lengths().tokens_of(bytes)
    }

    /// What these engines are like together, to score any of them for a prompt.
    pub fn weigh<'a>(&self, prompt: &'a Prompt, seats: &[Arc<Seat>]) -> Weighing<'a> {
        let seats = seats.iter().map(|seat| &**seat);
        self.router.weigh(prompt, seats, self.now_us())
    }

    /// A prompt goes to this deployment.
    pub fn dispatch(&self, prompt: &Prompt, deployment: &ServedDeployment) -> Option<Dispatched> {
        let seat = Arc::clone(deployment.seat.as_ref()?);
        Some(self.router.dispatch(seat, prompt, self.now_us()))
    }

    /// Blocks of prompts that the engines are thought to hold.
    pub fn blocks(&self) -> usize {
        self.router.index().blocks()
    }
}
