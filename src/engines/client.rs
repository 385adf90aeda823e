//! One engine: its HTTP client, its key, and how many requests are there from here.

use crate::clock::Clock;
use crate::engines::adapters::{self, Adapters};
use crate::engines::clients::{Clients, ClientsFault};
use crate::engines::counters::{self, Counters};
use crate::engines::events::Events;
use crate::engines::gauges::{self, Gauges};
use crate::engines::health::Health;
pub use crate::engines::pool::EngineBody;
use crate::engines::registry::ServedModel;
pub use crate::engines::transport::Reply;
use crate::engines::transport::Transport;
use arc_swap::ArcSwap;
use bytes::Bytes;
use farebox_domain::attempt::AttemptFault;
use farebox_domain::catalog::{EngineKind, EngineSpec};
use farebox_domain::ejection::Pass;
use farebox_domain::ids::{EngineName, RequestId};
use farebox_domain::ledger::Endpoint;
use farebox_domain::route::Candidate;
use farebox_routing::{EngineLoad, Hearing, Mark, Prompt, Seat};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an engine's metrics, or of its list of models. vLLM's histograms come to some hundred thousand.
const TEXT_LIMIT_BYTES: usize = 8 << 20;
static APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why an engine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineFault {
    /// Its URL does not parse.
    #[error("engine `{engine}`: the URL does not hold: {cause}")]
    Url {
        /// Which engine.
        engine: EngineName,
        /// What the parser said.
        cause: String,
    },
    /// Its key is not to be had, or cannot be sent.
    #[error("engine `{engine}`: the environment variable {variable} (api_key_env) {problem}")]
    Key {
        /// Which engine.
        engine: EngineName,
        /// Which variable.
        variable: String,
        /// `is not set`, or `holds something that a header cannot carry`.
        problem: &'static str,
    },
    /// What it sends cannot be put together.
    #[error("engine `{engine}`: {cause}")]
    Client {
        /// Which engine.
        engine: EngineName,
        /// What is wrong.
        cause: String,
    },
    /// There is nothing to call any with.
    #[error(transparent)]
    Clients(#[from] ClientsFault),
}

/// An engine that can be called.
#[derive(Debug)]
pub struct Engine {
    /// The operator's name for it.
    pub name: EngineName,
    /// What it is.
    pub kind: EngineKind,
    /// Requests that it is given at once.
    pub max_concurrent: Option<u32>,
    /// Tokens that its KV cache holds, where the operator says it.
    pub cache_tokens: Option<u32>,
    /// What it tells of its cache, where it does.
    pub events: Option<Arc<Events>>,
    /// What it has to do for requests from here, and how fast it does it.
    pub load: Arc<EngineLoad>,
    /// Whether it is up.
    pub health: Arc<Health>,
    /// Cancelled when another takes its place, or none: who looks after it stops.
    pub retired: CancellationToken,
    spec: EngineSpec,
    connect_timeout: Duration,
    client: reqwest::Client,
    transport: Transport,
    health_url: reqwest::Url,
    metrics_url: reqwest::Url,
    models_url: reqwest::Url,
    load_url: Option<reqwest::Url>,
    authorization: Option<HeaderValue>,
    counts: Arc<Counts>,
}

/// What is counted and known of a server at an address, however often models.yaml says anew how to call it.
#[derive(Debug, Default)]
struct Counts {
    /// What it said of itself when it was last asked.
    said: Mutex<Option<Gauges>>,
    failed_attempts: AtomicU64,
    errors: AtomicU64,
    adapters: Adapters,
    /// Rooms in which somebody waits for a place here, of whatever reading of models.yaml; one that has the engine twice counts twice.
    rooms: AtomicUsize,
    /// The models that it serves: who may wait for a place here.
    models: ArcSwap<Vec<Weak<ServedModel>>>,
}

impl Engine {
    /// One that is called with these. `read_env` finds the engine's key. `same` is another way to call the
    /// same server, with the same requests in flight and the same health.
    pub fn new(
        spec: &EngineSpec,
        clients: &Clients,
        clock: Clock,
        read_env: &dyn Fn(&str) -> Option<String>,
        same: Option<&Self>,
    ) -> Result<Self, EngineFault> {
        let engine = || spec.name.clone();
        let url = |path: &str| {
            let text = format!("{}{path}", spec.url.trim_end_matches('/'));
            reqwest::Url::parse(&text).map_err(|fault| EngineFault::Url {
                engine: engine(),
                cause: fault.to_string(),
            })
        };
        let authorization = bearer(spec, read_env)?;
        let load = same.map(|same| Arc::clone(&same.load)).unwrap_or_default();
        Ok(Self {
            name: spec.name.clone(),
            kind: spec.kind,
            max_concurrent: spec.max_concurrent,
            cache_tokens: spec.cache_tokens,
            events: spec.kv_events.as_ref().map(|from| Events::of(from, same)),
            health: same.map_or_else(
                || Arc::new(Health::new(clock.clone(), Arc::clone(&load))),
                |same| Arc::clone(&same.health),
            ),
            load,
            retired: CancellationToken::new(),
            spec: spec.clone(),
            connect_timeout: clients.connect_timeout,
            client: clients.http.clone(),
            transport: Transport::new(spec, clients, authorization.as_ref(), clock).map_err(|fault| {
                EngineFault::Client {
                    engine: engine(),
                    cause: fault.to_string(),
                }
            })?,
            health_url: url(spec.kind.health_path())?,
            metrics_url: url(counters::metrics_path(spec.kind))?,
            models_url: url("/v1/models")?,
            load_url: adapters::load_path(spec.kind).map(url).transpose()?,
            authorization,
            counts: same.map(|same| Arc::clone(&same.counts)).unwrap_or_default(),
        })
    }

    /// Whether it is called just as this says.
    pub fn is_as(&self, spec: &EngineSpec, connect_timeout: Duration) -> bool {
        self.spec == *spec && self.connect_timeout == connect_timeout
    }

    /// Whether the server is where this says.
    pub fn is_at(&self, spec: &EngineSpec) -> bool {
        self.spec.name == spec.name && self.spec.kind == spec.kind && self.spec.url == spec.url
    }

    /// Whether its own events are heard, and how they cut prompts; `None` where it has none.
    pub fn hearing(&self) -> Option<&Arc<Hearing>> {
        self.events.as_ref().map(|events| &events.counters.hearing)
    }

    /// Whether both are ways to call one server.
    pub fn is_same_server(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.counts, &other.counts)
    }

    /// Whether it is not in models.yaml any more.
    pub fn is_removed(&self) -> bool {
        self.load.has(Mark::Removed)
    }

    /// From now on it is not in models.yaml any more, or is in it again.
    pub fn set_removed(&self, removed: bool) {
        self.load.mark(Mark::Removed, removed);
    }

    /// Requests in flight from here.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// Whether it may be given requests: it is up, and nobody has taken it out.
    pub fn is_usable(&self) -> bool {
        self.health.is_usable() && !self.is_drained() && !self.is_removed()
    }

    /// What routing needs to know of it.
    #[inline]
    pub fn as_candidate(&self) -> Candidate {
        let fitness = self.health.fitness();
        Candidate {
            in_flight: self.in_flight(),
            max_concurrent: self.max_concurrent,
            usable: fitness.usable && !self.is_drained() && !self.is_removed(),
            has_trial: fitness.has_trial,
            warmth: fitness.warmth,
            others_waiting: self.load.others_waiting(),
            estimated_us: 0,
        }
    }

    /// Tells it which models it serves from now on.
    pub fn set_models(&self, models: Vec<Weak<ServedModel>>) {
        self.counts.models.store(Arc::new(models));
    }

    /// The models that it serves, those that are still there.
    pub fn models(&self) -> impl Iterator<Item = Arc<ServedModel>> {
        let models = self.counts.models.load_full();
        (0..models.len()).filter_map(move |index| models[index].upgrade())
    }

    /// A room of one of its models is empty no more, or is empty again.
    pub(super) fn somebody_waits(&self, waits: bool) {
        if waits {
            self.counts.rooms.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counts.rooms.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Rooms in which somebody may wait for a place here.
    pub(super) fn rooms(&self) -> usize {
        self.counts.rooms.load(Ordering::Relaxed)
    }

    /// Whether it is to get no new request.
    pub fn is_drained(&self) -> bool {
        self.load.has(Mark::Drained)
    }

    /// From now on it gets no new request, or gets them again. What is there goes on.
    pub fn set_drained(&self, drained: bool) {
        self.load.mark(Mark::Drained, drained);
    }

    /// Tries at it that failed since this process started.
    pub fn errors(&self) -> u64 {
        self.counts.errors.load(Ordering::Relaxed)
    }

    /// A try at it failed.
    pub fn attempt_failed(&self) {
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
        self.attempts_failed(1);
    }

    /// Takes a place; `None` if it has as many requests as it may be given, or is left out.
    pub fn try_enter(self: &Arc<Self>) -> Option<EngineGuard> {
        self.enter(false)
    }

    /// The same at one that is left out, as there is no other: one request at a time.
    pub fn try_enter_early(self: &Arc<Self>) -> Option<EngineGuard> {
        self.enter(true)
    }

    fn enter(self: &Arc<Self>, early: bool) -> Option<EngineGuard> {
        let pass = self.health.enter(early)?;
        if !self.load.try_enter(self.max_concurrent.unwrap_or(u32::MAX)) {
            self.health.left(pass);
            return None;
        }
        Some(EngineGuard {
            engine: Arc::clone(self),
            pass,
        })
    }

    /// Sends the body, of a request or of a part of it.
    pub async fn call(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        (id, part): (RequestId, Option<usize>),
    ) -> Result<Reply, AttemptFault> {
        let id = match part {
            None => HeaderValue::from_str(id.to_text().as_str()),
            // An engine may take two requests of one id for the same.
            Some(part) => HeaderValue::try_from(format!("{}-{part}", id.to_text().as_str())),
        };
        self.transport.send(endpoint, body, id.ok()).await
    }

    /// So many tries at it failed; it may have made tokens for nobody.
    pub fn attempts_failed(&self, count: u64) {
        self.counts.failed_attempts.fetch_add(count, Ordering::Relaxed);
    }

    /// The tries that failed since this was asked before.
    pub fn take_failed_attempts(&self) -> u64 {
        self.counts.failed_attempts.swap(0, Ordering::Relaxed)
    }

    /// Asks it what it has counted; `None` where it does not answer, or counts nothing that is known.
    pub async fn read_counters(&self) -> Option<Counters> {
        counters::read(self.kind, &self.read_metrics().await?)
    }

    /// Asks it what it does, for [`Engine::said`].
    pub async fn look(&self) {
        let _ = self.read_metrics().await;
    }

    /// What it said of itself when it was last asked; `None` where it did not answer, or says nothing that is known.
    pub fn said(&self) -> Option<Gauges> {
        *self.counts.said.lock()
    }

    /// Its page of metrics. What it says of itself there is noted, whatever the page is read for.
    async fn read_metrics(&self) -> Option<String> {
        if !counters::has_counters(self.kind) {
            return None;
        }
        let before = self.in_flight();
        let page = self.get_text(&self.metrics_url).await;
        let said = page.as_deref().and_then(|text| gauges::read(self.kind, text));
        // It counted some time between the two.
        let from_here = before.max(self.in_flight());
        let others = said.map_or(0, |said| said.others_waiting(from_here));
        self.load.set_others_waiting(others);
        if self.cache_tokens.is_none()
            && let Some(tokens) = said.and_then(|said| said.cache_tokens)
        {
            self.set_cache_size(tokens);
        }
        *self.counts.said.lock() = said;
        page
    }

    /// Its list of models.
    pub(super) async fn get_models(&self) -> Option<String> {
        self.get_text(&self.models_url).await
    }

    /// The adapters that it has.
    pub(super) fn adapters(&self) -> &Adapters {
        &self.counts.adapters
    }

    /// Where it is told to load an adapter, if it can be told.
    pub(super) const fn load_url(&self) -> Option<&reqwest::Url> {
        self.load_url.as_ref()
    }

    /// Sends it JSON that is no request of a client's. Returns the status and the text; `Err` is why there is none.
    pub(super) async fn post(
        &self,
        url: &reqwest::Url,
        json: String,
        within: Duration,
    ) -> Result<(u16, String), String> {
        let request = self.with_key(self.client.post(url.clone()).timeout(within));
        let request = request.header(CONTENT_TYPE, APPLICATION_JSON.clone()).body(json);
        let unreachable = |fault: reqwest::Error| fault.without_url().to_string();
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(unreachable)?))
    }

    fn get(&self, url: &reqwest::Url) -> reqwest::RequestBuilder {
        self.with_key(self.client.get(url.clone()).timeout(PROBE_TIMEOUT))
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.authorization {
            Some(key) => request.header(AUTHORIZATION, key.clone()),
            None => request,
        }
    }

    async fn get_text(&self, url: &reqwest::Url) -> Option<String> {
        let mut answer = self.get(url).send().await.ok()?.error_for_status().ok()?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.ok()? {
            if text.len() + chunk.len() > TEXT_LIMIT_BYTES {
                return None;
            }
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).ok()
    }

    /// Asks it whether it can serve, and remembers the answer. One that was up is asked twice before it is taken for down: a busy
    /// engine may be late for once. Returns whether that is news.
    pub async fn probe(self: &Arc<Self>) -> bool {
        let up = self.says_it_is_up().await || (self.health.was_up() && self.says_it_is_up().await);
        let changed = self.health.probed(up);
        if changed && !up {
            // What comes up again is a process that has begun anew.
            self.forget_cache();
            self.adapters().forget();
        }
        changed
    }

    async fn says_it_is_up(&self) -> bool {
        let answer = self.get(&self.health_url).send().await;
        answer.is_ok_and(|response| response.status().is_success())
    }

    /// What it was thought to hold of prompts is forgotten.
    fn forget_cache(&self) {
        self.each_seat(Seat::forget);
    }

    /// It says itself what its cache holds.
    fn set_cache_size(&self, tokens: u64) {
        self.each_seat(|seat| seat.view.resize(Prompt::text_blocks(tokens)));
    }

    fn each_seat(&self, act: impl Fn(&Seat)) {
        for model in self.models() {
            let own = model
                .deployments
                .iter()
                .filter(|one| one.engine.is_same_server(self));
            own.filter_map(|one| one.seat.as_ref()).for_each(|seat| act(seat));
        }
    }
}

fn bearer(
    spec: &EngineSpec,
    read_env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<HeaderValue>, EngineFault> {
    let Some(variable) = &spec.api_key_env else {
        return Ok(None);
    };
    let fault = |problem| EngineFault::Key {
        engine: spec.name.clone(),
        variable: variable.clone(),
        problem,
    };
    let key = read_env(variable).ok_or_else(|| fault("is not set"))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        .map_err(|_| fault("holds something that a header cannot carry"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// One request's place at an engine; given back when it is dropped.
#[derive(Debug)]
pub struct EngineGuard {
    engine: Arc<Engine>,
    pass: Pass,
}

impl EngineGuard {
    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// How the request was let in.
    pub fn pass(&self) -> Pass {
        self.pass
    }
}

impl Drop for EngineGuard {
    fn drop(&mut self) {
        self.engine.load.leave();
        self.engine.health.left(self.pass);
        self.engine.offer_places();
    }
}
