//! Requests that are in flight: what each has used so far, for whoever must settle it.

use crate::admission::rate::RateHold;
use crate::admission::wallet::Hold;
use crate::engines::registry::ServedModel;
use crate::pipeline::hold::{Bounds, Held};
use crate::pipeline::meter::StreamMeter;
use crate::pipeline::usage::read_usage;
use atomic_waker::AtomicWaker;
use farebox_domain::catalog::EngineKind;
use farebox_domain::ids::{AccountId, EngineName, KeyId, RequestId};
use farebox_domain::ledger::Endpoint;
use farebox_domain::price::VersionedPrice;
use farebox_domain::units::ServiceTier;
use farebox_routing::Dispatched;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// One request, from its admission to its settlement. It never holds content: the one piece of an answer that
/// is kept is its usage.
#[derive(Debug)]
pub struct Live {
    /// Its id: the ledger entry's, too.
    pub id: RequestId,
    /// The id that the client gave it.
    pub client_request_id: Option<String>,
    /// Who pays.
    pub account: AccountId,
    /// With which key.
    pub key: KeyId,
    /// What was asked for.
    pub model: Arc<ServedModel>,
    /// By which route.
    pub endpoint: Endpoint,
    /// Choices that the answer will have.
    pub choices: usize,
    /// The tier that it is served in.
    pub service_tier: ServiceTier,
    /// The price that it was admitted under.
    pub price: Arc<VersionedPrice>,
    /// Its prompt's tokens, where the model's own tokenizer has counted them.
    pub prompt_tokens: Option<u64>,
    /// What bounds its cost.
    pub bounds: Bounds,
    /// Tokens of completion, of all choices, at which the balance and not the model has ended the answer.
    pub capped_at: Option<u64>,
    /// When it was admitted.
    pub admitted_at: Instant,
    /// The same in milliseconds since 1970.
    pub admitted_at_ms: u64,
    /// Whether it asks for a stream.
    pub stream: bool,
    /// What has come of it so far.
    pub progress: Mutex<Progress>,
    cut: AtomicBool,
    waker: AtomicWaker,
}

/// What has come of a request so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// The engine that is answering, or that answered.
    pub engine: Option<(EngineName, EngineKind)>,
    /// When that engine was called.
    pub called_at: Option<Instant>,
    /// When its first event came.
    pub first_event_at: Option<Instant>,
    /// The last usage that it sent: a JSON object's text.
    pub usage: Option<Vec<u8>>,
    /// Whether that is its final word.
    pub usage_is_final: bool,
    /// Whether the answer came in one piece, not as a stream.
    pub whole: bool,
    /// The money that it may cost; gone once it is settled.
    pub hold: Option<Hold>,
    /// Tokens of completion, of all choices together, that the hold pays for, where there is a ceiling.
    pub affordable_tokens: Option<u64>,
    /// The tokens of completion at which farebox ended the stream, because the hold pays for no more.
    pub ended_at_ceiling: Option<u64>,
    /// Deltas with a token in them, counted where the engine sends no running usage.
    pub deltas: u64,
    /// What it took of the rates that hold for it; gone once it is settled.
    pub rates: Option<RateHold>,
    /// What it adds to its engine's load, where its model is routed by its engines' caches; gone once it is settled.
    pub dispatched: Option<Dispatched>,
    /// How many parts it was split into, if it was.
    pub parts: Option<u64>,
}

/// What a request is, before it is anything more.
pub struct NewRequest {
    /// Its id.
    pub id: RequestId,
    /// The id that the client gave it.
    pub client_request_id: Option<String>,
    /// By which route.
    pub endpoint: Endpoint,
    /// Choices that the answer will have.
    pub choices: usize,
    /// The tier that it is served in.
    pub service_tier: ServiceTier,
    /// The price that it was admitted under.
    pub price: Arc<VersionedPrice>,
    /// Its prompt's tokens, where the model's own tokenizer has counted them.
    pub prompt_tokens: Option<u64>,
    /// The money that it may cost.
    pub held: Held,
    /// What it took of the rates that hold for it.
    pub rates: Option<RateHold>,
    /// When it was admitted.
    pub admitted_at: Instant,
    /// The same in milliseconds since 1970.
    pub admitted_at_ms: u64,
    /// Whether it asks for a stream.
    pub stream: bool,
}

impl Live {
    /// A request that has just been admitted.
    pub fn new(request: NewRequest, account: AccountId, key: KeyId, model: Arc<ServedModel>) -> Self {
        let held = request.held;
        let tokens = held.output_tokens.saturating_mul(held.bounds.choices);
        let progress = Progress {
            affordable_tokens: held.hold.has_ceiling().then_some(tokens),
            hold: Some(held.hold),
            rates: request.rates,
            ..Progress::default()
        };
        Self {
            id: request.id,
            client_request_id: request.client_request_id,
            account,
            key,
            model,
            endpoint: request.endpoint,
            choices: request.choices,
            service_tier: request.service_tier,
            price: request.price,
            prompt_tokens: request.prompt_tokens,
            bounds: held.bounds,
            capped_at: held.capped.then_some(tokens),
            admitted_at: request.admitted_at,
            admitted_at_ms: request.admitted_at_ms,
            stream: request.stream,
            progress: Mutex::new(progress),
            cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Gives back what the request can no longer cost: the prompt is counted by the engine now, and choices that have
    /// finished need no more than they have.
    pub(in crate::pipeline) fn shrink_hold(&self, progress: &mut Progress, meter: &StreamMeter) {
        let (Some(hold), Some(affordable)) = (&mut progress.hold, progress.affordable_tokens) else {
            return;
        };
        let counted = meter.usage.as_deref().and_then(read_usage);
        let prompt = counted.map_or(self.bounds.prompt_tokens, |usage| usage.prompt_tokens);
        let open = self.bounds.choices.saturating_sub(meter.counted_choices);
        let each = affordable / self.bounds.choices.max(1);
        let completion = open.saturating_mul(each).saturating_add(meter.counted_tokens);
        if let Ok(most) = self.price.price.most(
            prompt,
            completion.min(affordable),
            &self.bounds.units,
            self.service_tier,
        ) {
            hold.shrink_to(most);
        }
    }

    /// Whether it is to end now, because the server is going away.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Resolves when the request is cut. The waker is left before the look, so that a cut between the two is not
    /// missed.
    pub fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_cut() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Resolves when the request is cut.
    pub async fn until_cut(&self) {
        std::future::poll_fn(|cx| self.poll_cut(cx)).await;
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }
}

const SHARDS: usize = 16;

/// All of them.
#[derive(Debug, Default)]
pub struct InFlight {
    shards: [Mutex<HashMap<RequestId, Arc<Live>>>; SHARDS],
}

impl InFlight {
    fn shard(&self, id: RequestId) -> &Mutex<HashMap<RequestId, Arc<Live>>> {
        // The last byte is random.
        &self.shards[usize::from(id.as_bytes()[15]) % SHARDS]
    }

    /// Puts one in.
    pub fn insert(&self, live: &Arc<Live>) {
        self.shard(live.id).lock().insert(live.id, Arc::clone(live));
    }

    /// Takes one out, unless another admission of the same request is in its place.
    pub fn remove(&self, live: &Arc<Live>) {
        let mut shard = self.shard(live.id).lock();
        if let Entry::Occupied(found) = shard.entry(live.id)
            && Arc::ptr_eq(found.get(), live)
        {
            found.remove();
        }
    }

    /// The one with this id.
    pub fn get(&self, id: RequestId) -> Option<Arc<Live>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<Live>> {
        let mut all: Vec<_> = self.each().collect();
        all.sort_by_key(|live| live.id);
        all
    }

    /// Those that have begun to answer.
    pub fn answering(&self) -> Vec<Arc<Live>> {
        self.each()
            .filter(|live| live.progress.lock().first_event_at.is_some())
            .collect()
    }

    /// All of them, a shard at a time: none is locked while one of its requests is looked at.
    fn each(&self) -> impl Iterator<Item = Arc<Live>> {
        self.shards.iter().flat_map(|shard| {
            let live: Vec<_> = shard.lock().values().cloned().collect();
            live
        })
    }

    /// Ends each of them: streams close with an error event.
    pub fn cut_all(&self) {
        for request in self.each() {
            request.cut();
        }
    }
}
