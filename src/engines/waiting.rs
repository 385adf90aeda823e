//! Where requests wait while every engine of their model is full.
//!
//! A place that comes free is handed to the one whose turn it is, by whoever gives it back: nobody polls, and nobody who comes
//! later takes it. Invariant: while someone waits and an engine of the model has a place, somebody is handing it over. Whoever
//! gives a place back counts down first and then looks who waits; whoever waits is counted first and then looks for a place;
//! a fence between the two steps of each means that one of them sees the other.

use super::client::{Engine, EngineGuard};
use super::registry::ServedModel;
use farebox_domain::ids::AccountId;
use farebox_domain::queue::{FairQueue, Ticket, turn};
use farebox_domain::units::ServiceTier;
use farebox_routing::Prompt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A place at an engine.
#[derive(Debug)]
pub struct Place {
    /// The index among the model's deployments.
    pub deployment: usize,
    /// The place; given back when it is dropped.
    pub guard: EngineGuard,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// Every usable engine has as many requests as it may be given, and nobody else may wait.
    Full,
    /// No engine is usable.
    NoneUsable,
}

/// What came of asking for a place.
#[derive(Debug)]
pub enum Entered {
    /// Here it is.
    Place(Place),
    /// It will come.
    Waits(Waits),
}

/// Who asks for a place.
#[derive(Debug, Clone, Copy)]
pub struct Asks<'a> {
    /// Who pays.
    pub account: &'a AccountId,
    /// In which tier.
    pub tier: ServiceTier,
    /// Whether it would wait.
    pub may_wait: bool,
    /// Since when it waits.
    pub since: Instant,
    /// With what prompt, where that decides where it goes.
    pub prompt: Option<&'a Arc<Prompt>>,
}

/// Those that wait for one model.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    line: Mutex<FairQueue<Waiter>>,
    waiting: AtomicUsize,
    /// How many may wait.
    size: usize,
}

#[derive(Debug)]
struct Waiter {
    rank: Rank,
    prompt: Option<Arc<Prompt>>,
    give: oneshot::Sender<Place>,
}

/// Who goes first where an engine serves several models: the higher tier, then whoever waits longer.
type Rank = (usize, Instant);

impl WaitingRoom {
    /// One in which so many may wait.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn next(&self) -> Option<Rank> {
        if self.waiting() == 0 {
            return None;
        }
        self.line.lock().peek().map(|waiter| waiter.rank)
    }
}

/// A request that waits. It leaves when this is dropped.
#[derive(Debug)]
pub struct Waits {
    model: Arc<ServedModel>,
    ticket: Ticket,
    place: oneshot::Receiver<Place>,
}

impl Waits {
    /// The place, when its turn has come. It never ends without one.
    pub async fn place(mut self) -> Place {
        match (&mut self.place).await {
            Ok(place) => place,
            // Only who holds the other end could let go of it: the line, which gives a place first.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let room = &self.model.room;
        let mut line = room.line.lock();
        let left = line.remove(&self.ticket);
        room.waiting.store(line.len(), Ordering::Relaxed);
        drop(line);
        drop(left);
    }
}

impl ServedModel {
    /// A place now, or a turn. Nobody overtakes those that wait.
    pub fn enter(self: &Arc<Self>, asks: Asks<'_>) -> Result<Entered, NoPlace> {
        if self.room.waiting() == 0 {
            match self.try_place(asks.prompt.map(|prompt| &**prompt), |_| true) {
                Ok(place) => return Ok(Entered::Place(place)),
                Err(NoPlace::Full) if asks.may_wait => {}
                Err(none) => return Err(none),
            }
        } else if !self.has_usable_engine() {
            return Err(NoPlace::NoneUsable);
        } else if !asks.may_wait {
            return Err(NoPlace::Full);
        }
        let mut line = self.room.line.lock();
        if line.len() >= self.room.size {
            return Err(NoPlace::Full);
        }
        let (give, place) = oneshot::channel();
        let waiter = Waiter {
            rank: (turn(asks.tier), asks.since),
            prompt: asks.prompt.cloned(),
            give,
        };
        let ticket = line.push(asks.tier, asks.account, waiter);
        let left_over = self.hand_over(&mut line);
        drop(line);
        drop(left_over);
        Ok(Entered::Waits(Waits {
            model: Arc::clone(self),
            ticket,
            place,
        }))
    }

    /// Gives those that wait the places that there are.
    fn serve_waiting(&self) {
        let mut line = self.room.line.lock();
        let left_over = self.hand_over(&mut line);
        // Only now, as giving it back looks who waits.
        drop(line);
        drop(left_over);
    }

    /// The same, with the line in hand. A place that nobody would have is returned.
    fn hand_over(&self, line: &mut FairQueue<Waiter>) -> Option<Place> {
        self.room.waiting.store(line.len(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut spare = None;
        while !line.is_empty() {
            let place = match spare.take() {
                Some(place) => place,
                None => {
                    let prompt = line.peek().and_then(|next| next.prompt.as_deref());
                    match self.try_place(prompt, |_| true) {
                        Ok(place) => place,
                        Err(_) => break,
                    }
                }
            };
            if let Some(waiter) = line.pop() {
                // Whoever left meanwhile has let go of the other end.
                spare = waiter.give.send(place).err();
            }
        }
        self.room.waiting.store(line.len(), Ordering::Relaxed);
        spare
    }
}

impl Engine {
    /// Something may have come free here: hands it to whoever waits for it.
    pub fn offer_places(&self) {
        fence(Ordering::SeqCst);
        let mut waited_for: Vec<(Rank, Arc<ServedModel>)> = self
            .models()
            .filter(|model| model.room.waiting() > 0)
            .filter_map(|model| Some((model.room.next()?, model)))
            .collect();
        waited_for.sort_by_key(|(rank, _)| *rank);
        for (_, model) in waited_for {
            model.serve_waiting();
        }
    }
}
