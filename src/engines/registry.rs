//! What is sold, joined to the engines that serve it now.

use crate::config::{QueueSettings, Settings, Timeouts};
use crate::engines::client::Engine;
use crate::engines::prefix::PrefixRouting;
use crate::engines::prompt::PromptCounter;
use crate::engines::waiting::{NoPlace, Place, WaitingRoom};
use crate::telemetry::metrics::ModelMetrics;
use farebox_domain::attempt::RetryBudget;
use farebox_domain::catalog::Model;
use farebox_domain::ids::EngineName;
use farebox_domain::limits::Limits;
use farebox_domain::price::{PriceSchedule, VersionedPrice};
use farebox_domain::retries::RetryWindow;
use farebox_domain::route::{Candidate, Choice, choose};
use farebox_routing::{EngineLoad, Latencies, Prompt, Score, Seat, Weighing};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One way to have a model served.
#[derive(Debug)]
pub struct ServedDeployment {
    /// The engine.
    pub engine: Arc<Engine>,
    /// What the engine calls the model.
    pub serves: String,
    /// What it is thought to hold of the model's prompts, where the model is routed by that.
    pub seat: Option<Arc<Seat>>,
}

/// What a choice reads of a deployment, without a look at its engine: there may be hundreds, and a choice for each request.
#[derive(Debug)]
struct Glance {
    load: Arc<EngineLoad>,
    max_concurrent: Option<u32>,
}

/// A model's prices, which an administrator may change while requests are served.
#[derive(Debug)]
pub struct Prices(RwLock<Arc<PriceSchedule>>);

impl Prices {
    /// These.
    pub fn new(schedule: PriceSchedule) -> Self {
        Self(RwLock::new(Arc::new(schedule)))
    }

    /// The price at this time, in milliseconds since 1970.
    pub fn at(&self, unix_ms: u64) -> Arc<VersionedPrice> {
        Arc::clone(self.0.read().at(unix_ms))
    }

    /// From now on these. What was admitted keeps its price.
    pub fn replace(&self, schedule: PriceSchedule) {
        *self.0.write() = Arc::new(schedule);
    }
}

/// How long things may take, and how often they are tried: of the models.yaml that a model was read from. A request keeps those
/// that it was admitted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServingSettings {
    /// How much trying a request is worth.
    pub retry: RetryBudget,
    /// How long an engine may be silent.
    pub timeouts: Timeouts,
    /// How long a request waits where every engine is full.
    pub queue: QueueSettings,
}

/// A model with its engines, its price version and its metrics at hand.
#[derive(Debug)]
pub struct ServedModel {
    /// The model.
    pub model: Arc<Model>,
    /// Its prices, and when each holds. A request is admitted under the one of its moment, and keeps it.
    pub prices: Prices,
    /// Who serves it.
    pub deployments: Vec<ServedDeployment>,
    /// Counts its prompts, where the operator gives its tokenizer.
    pub prompt: Option<Arc<PromptCounter>>,
    /// Routing by what the engines' caches hold, where the operator asks for it.
    pub prefix: Option<Arc<PrefixRouting>>,
    /// Its metrics.
    pub metrics: ModelMetrics,
    /// Those that wait for it.
    pub room: WaitingRoom,
    /// How long it may take.
    pub settings: ServingSettings,
    /// How long its engines' first tokens take.
    pub(super) latencies: Latencies,
    /// Requests for it, and tries again.
    pub retries: Mutex<RetryWindow>,
    turn: AtomicUsize,
    /// Of each deployment.
    glances: Vec<Glance>,
    /// Of each deployment; none where one has none, as more engines serve the model than can be followed.
    seats: Vec<Arc<Seat>>,
}

impl ServedModel {
    /// Joins a model to its engines.
    pub fn new(
        model: Arc<Model>,
        prices: Prices,
        deployments: Vec<ServedDeployment>,
        (prompt, prefix): (Option<Arc<PromptCounter>>, Option<Arc<PrefixRouting>>),
        metrics: ModelMetrics,
        settings: ServingSettings,
    ) -> Self {
        let room = WaitingRoom::new(usize::try_from(settings.queue.size).unwrap_or(usize::MAX));
        let glance = |one: &ServedDeployment| Glance {
            load: Arc::clone(&one.engine.load),
            max_concurrent: one.engine.max_concurrent,
        };
        let seats: Option<Vec<_>> = deployments.iter().map(|one| one.seat.clone()).collect();
        Self {
            glances: deployments.iter().map(glance).collect(),
            seats: seats.unwrap_or_default(),
            settings,
            latencies: Latencies::new(deployments.len()),
            retries: Mutex::default(),
            model,
            prices,
            deployments,
            prompt,
            prefix,
            metrics,
            room,
            turn: AtomicUsize::new(0),
        }
    }

    /// A place for a prompt at one of the deployments for which `may_use` holds.
    pub fn try_place(
        &self,
        prompt: Option<&Prompt>,
        may_use: impl Fn(usize) -> bool + Clone,
    ) -> Result<Place, NoPlace> {
        let weighing = self.weigh(prompt);
        loop {
            match self.choose(weighing.as_ref(), may_use.clone()) {
                Choice::Engine(deployment) => {
                    // Another request may have taken the last place since it was seen; then the choice is made anew.
                    if let Some(guard) = self.deployments[deployment].engine.try_enter() {
                        return Ok(Place { deployment, guard });
                    }
                }
                Choice::AllFull => return Err(NoPlace::Full),
                Choice::NoneUsable => return self.last_resort(may_use),
            }
        }
    }

    /// Whether any of its engines may be given requests.
    pub fn has_usable_engine(&self) -> bool {
        let mut engines = self.deployments.iter().map(|deployment| &deployment.engine);
        engines.any(|engine| engine.is_usable())
    }

    /// What the engine is thought to hold of the prompts that go there under this name.
    pub fn seat_at(&self, engine: &Engine, serves: &str) -> Option<Arc<Seat>> {
        let is_it = |deployment: &&ServedDeployment| {
            let known = &deployment.engine;
            deployment.serves == serves
                && known.is_same_server(engine)
                && known.cache_tokens == engine.cache_tokens
        };
        self.deployments.iter().find(is_it)?.seat.clone()
    }

    /// Tokens in a block, each once, by which its engines tell now what they hold; none where none does.
    pub fn block_sizes(&self) -> Vec<usize> {
        let seats = self.deployments.iter().filter_map(|one| one.seat.as_ref());
        let mut sizes: Vec<_> = seats
            .filter_map(|seat| seat.told.as_ref()?.block_size())
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// What it takes to say what a prompt would cost at a deployment; none where the model is not routed by it.
    pub fn weigh<'a>(&self, prompt: Option<&'a Prompt>) -> Option<Weighing<'a>> {
        let prefix = self.prefix.as_ref().filter(|_| !self.seats.is_empty())?;
        Some(prefix.weigh(prompt?, &self.seats))
    }

    /// What is thought of a deployment.
    #[inline]
    pub fn score(&self, weighing: &Weighing<'_>, index: usize) -> Score {
        weighing.score(index, &self.seats[index])
    }

    /// Chooses a deployment for which `may_use` holds.
    fn choose(&self, weighing: Option<&Weighing<'_>>, may_use: impl Fn(usize) -> bool) -> Choice {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let candidate = |index: usize| {
            let mut candidate = self.candidate(index, weighing);
            candidate.usable = candidate.usable && may_use(index);
            candidate
        };
        choose(self.model.routing, self.deployments.len(), candidate, turn)
    }

    /// What is known of each deployment, with what the prompt would cost there. One that lacks the adapter is not usable.
    pub fn candidates(&self, weighing: Option<&Weighing<'_>>) -> Vec<Candidate> {
        let indexes = 0..self.deployments.len();
        indexes.map(|index| self.candidate(index, weighing)).collect()
    }

    #[inline]
    fn candidate(&self, index: usize, weighing: Option<&Weighing<'_>>) -> Candidate {
        let mut candidate = self.candidate_with_adapter(index, weighing);
        candidate.usable = candidate.usable && self.may_have(index);
        candidate
    }

    /// The same as if it had the adapter.
    #[inline]
    pub(super) fn candidate_with_adapter(&self, index: usize, weighing: Option<&Weighing<'_>>) -> Candidate {
        let Glance { load, max_concurrent } = &self.glances[index];
        let candidate = if load.is_unmarked() {
            Candidate {
                in_flight: load.in_flight(),
                others_waiting: load.others_waiting(),
                max_concurrent: *max_concurrent,
                usable: true,
                ..Candidate::default()
            }
        } else {
            self.deployments[index].engine.as_candidate()
        };
        Candidate {
            estimated_us: weighing.map_or(0, |weighing| self.score(weighing, index).estimate.total_us()),
            ..candidate
        }
    }

    /// Which of these candidates would be chosen now; nobody's turn passes.
    pub fn chosen_of(&self, candidates: &[Candidate]) -> Choice {
        let turn = self.turn.load(Ordering::Relaxed);
        choose(
            self.model.routing,
            candidates.len(),
            |index| candidates[index],
            turn,
        )
    }
}

/// Everything that is sold and every engine: one reading of models.yaml.
#[derive(Debug)]
pub struct Registry {
    models: Vec<Arc<ServedModel>>,
    by_name: HashMap<String, Arc<ServedModel>>,
    engines: Vec<Arc<Engine>>,
    /// Engines of earlier readings that had requests in flight when this one was made.
    leaving: Vec<Arc<Engine>>,
    settings: Arc<Settings>,
}

impl Registry {
    /// Indexes the models by their ids and aliases. It is of these settings.
    pub fn new(models: Vec<Arc<ServedModel>>, engines: Vec<Arc<Engine>>, settings: Arc<Settings>) -> Self {
        let mut by_name = HashMap::new();
        for served in &models {
            by_name.insert(served.model.id.as_str().to_owned(), Arc::clone(served));
            for alias in &served.model.aliases {
                by_name.insert(alias.clone(), Arc::clone(served));
            }
        }
        Self {
            models,
            by_name,
            engines,
            leaving: Vec::new(),
            settings,
        }
    }

    /// The same in place of `before`, whose engines that are not in this one are remembered while requests are there.
    pub fn after(mut self, before: &Self) -> Self {
        let stays = |old: &&Arc<Engine>| self.engines.iter().any(|new| new.is_same_server(old));
        let left = before.engines.iter().chain(before.leaving());
        self.leaving = left.filter(|old| !stays(old)).cloned().collect();
        self
    }

    /// It is in force: from now on its engines' places are for those who wait for its models.
    pub fn take_over(&self) {
        for engine in &self.engines {
            let serves = |served: &&Arc<ServedModel>| {
                let mut own = served.deployments.iter();
                own.any(|deployment| deployment.engine.is_same_server(engine))
            };
            engine.set_models(self.models.iter().filter(serves).map(Arc::downgrade).collect());
            engine.set_removed(false);
            engine.offer_places();
        }
    }

    /// Another is in force: who waits for its models waits there, its engines that are gone get nothing new, and who looks after
    /// those that are called otherwise now stops. First the rooms: whoever finds an engine gone then finds its room closed.
    pub fn give_way(&self, to: &Self) {
        for served in &self.models {
            served.close_room();
        }
        for engine in &self.engines {
            if !to.engines.iter().any(|new| new.is_same_server(engine)) {
                engine.set_removed(true);
            }
            if !to.engines.iter().any(|new| Arc::ptr_eq(new, engine)) {
                engine.retired.cancel();
            }
        }
    }

    /// What an account has until it is given more.
    pub fn limits(&self) -> Limits {
        self.settings.catalog.limits()
    }

    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Engines that are not in models.yaml any more, while requests are there.
    pub fn leaving(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.leaving.iter().filter(|engine| engine.in_flight() > 0)
    }

    /// The model with this id or alias.
    pub fn find(&self, name: &str) -> Option<&Arc<ServedModel>> {
        self.by_name.get(name)
    }

    /// Every model, in the operator's order.
    pub fn models(&self) -> &[Arc<ServedModel>] {
        &self.models
    }

    /// Every engine, in the operator's order.
    pub fn engines(&self) -> &[Arc<Engine>] {
        &self.engines
    }

    /// Whether an engine is known to be up, and may be given requests.
    pub fn any_engine_up(&self) -> bool {
        use crate::engines::health::Standing;
        self.engines.iter().any(|engine| {
            matches!(engine.health.standing(), Standing::Up | Standing::HalfOpen)
                && !engine.is_drained()
                && !engine.is_removed()
        })
    }

    /// These engines, and no others, get no new request.
    pub fn set_drained(&self, drained: &[EngineName]) {
        for engine in &self.engines {
            engine.set_drained(drained.contains(&engine.name));
            engine.offer_places();
        }
    }

    /// The engine with this name.
    pub fn engine(&self, name: &str) -> Option<&Arc<Engine>> {
        self.engines.iter().find(|engine| engine.name.as_str() == name)
    }
}
