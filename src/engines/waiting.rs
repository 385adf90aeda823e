//! Where requests wait while every engine of their model is full.
//!
//! A place that comes free is handed to the one whose turn it is, by whoever gives it back: nobody polls, and nobody who comes
//! later takes it. Invariant: while someone waits and an engine of the model has a place, somebody is handing it over. Whoever
//! gives a place back counts down first and then looks who waits; whoever waits is counted first and then looks for a place;
//! a fence between the two steps of each means that one of them sees the other. An engine counts the rooms in which somebody
//! waits for it, so that whoever gives a place back need not look into each room to find that nobody does.
//!
//! When models.yaml is read again the room is closed: who waits in it is sent on, and waits in the new one as one who was there
//! before.

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
    /// Every engine is left out, and one is being tried by another request.
    OnTrial,
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
    /// The room is closed: the model is served anew.
    Closed,
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
    /// Whether it waited before, in a room that was closed: it is not turned away for want of room.
    pub waited: bool,
}

/// Those that wait for one model.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    line: Mutex<Line>,
    waiting: AtomicUsize,
    /// How many may wait.
    size: usize,
}

#[derive(Debug, Default)]
struct Line {
    queue: FairQueue<Waiter>,
    is_closed: bool,
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
        self.line.lock().queue.peek().map(|waiter| waiter.rank)
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
    /// The place, when its turn has come; `None` when the room was closed first.
    pub async fn place(mut self) -> Option<Place> {
        (&mut self.place).await.ok()
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let room = &self.model.room;
        let mut line = room.line.lock();
        // After a room was closed there is nobody in it.
        let left = (!line.is_closed).then(|| line.queue.remove(&self.ticket));
        self.model.count_waiting(&line.queue);
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
                Err(NoPlace::OnTrial) if asks.may_wait && self.waits_for_trials() => {}
                // Its engines may have gone to the model as it is served now.
                Err(_) if self.is_superseded() => return Ok(Entered::Closed),
                Err(none) => return Err(none),
            }
        } else if !(self.has_usable_engine() || self.waits_for_trials() && self.may_try_one()) {
            return if self.is_superseded() {
                Ok(Entered::Closed)
            } else {
                Err(NoPlace::NoneUsable)
            };
        } else if !asks.may_wait {
            return Err(NoPlace::Full);
        }
        let mut line = self.room.line.lock();
        if line.is_closed {
            return Ok(Entered::Closed);
        }
        if line.queue.len() >= self.room.size && !asks.waited {
            return Err(NoPlace::Full);
        }
        let (give, place) = oneshot::channel();
        let waiter = Waiter {
            rank: (turn(asks.tier), asks.since),
            prompt: asks.prompt.cloned(),
            give,
        };
        let ticket = line.queue.push(asks.tier, asks.account, waiter);
        let left_over = self.hand_over(&mut line.queue);
        drop(line);
        drop(left_over);
        Ok(Entered::Waits(Waits {
            model: Arc::clone(self),
            ticket,
            place,
        }))
    }

    /// Whether a request waits for what comes of another's trial, where every engine is left out: not if a model stands in.
    fn waits_for_trials(&self) -> bool {
        self.model.fallback.is_empty()
    }

    /// Whether models.yaml was read again since it was made of it.
    pub fn is_superseded(&self) -> bool {
        self.room.line.lock().is_closed
    }

    /// Nobody waits for it any more.
    pub fn close_room(&self) {
        let mut line = self.room.line.lock();
        line.is_closed = true;
        let sent_on = std::mem::take(&mut line.queue);
        self.count_waiting(&line.queue);
        drop(line);
        drop(sent_on);
    }

    /// Says how many wait, to whoever asks and to the engines. The line is in hand, so nobody else says so meanwhile.
    fn count_waiting(&self, line: &FairQueue<Waiter>) {
        let before = self.room.waiting.swap(line.len(), Ordering::Relaxed);
        if (before > 0) != line.is_empty() {
            return;
        }
        for deployment in &self.deployments {
            deployment.engine.somebody_waits(!line.is_empty());
        }
    }

    /// Gives those that wait the places that there are.
    fn serve_waiting(&self) {
        let mut line = self.room.line.lock();
        let left_over = self.hand_over(&mut line.queue);
        // Only now, as giving it back looks who waits.
        drop(line);
        drop(left_over);
    }

    /// The same, with the line in hand. A place that nobody would have is returned.
    fn hand_over(&self, line: &mut FairQueue<Waiter>) -> Option<Place> {
        self.count_waiting(line);
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
        self.count_waiting(line);
        spare
    }
}

impl Engine {
    /// Something may have come free here: hands it to whoever waits for it.
    pub fn offer_places(&self) {
        fence(Ordering::SeqCst);
        if self.rooms() == 0 {
            return;
        }
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
