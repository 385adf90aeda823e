//! What is sold, joined to the engines that serve it now.

use crate::engines::client::Engine;
use crate::engines::prompt::PromptCounter;
use crate::telemetry::metrics::ModelMetrics;
use farebox_domain::catalog::Model;
use farebox_domain::ids::EngineName;
use farebox_domain::price::{PriceSchedule, VersionedPrice};
use farebox_domain::route::{Choice, choose};
use parking_lot::RwLock;
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
    /// Its metrics.
    pub metrics: ModelMetrics,
    turn: AtomicUsize,
}

impl ServedModel {
    /// Joins a model to its engines.
    pub fn new(
        model: Arc<Model>,
        prices: Prices,
        deployments: Vec<ServedDeployment>,
        prompt: Option<Arc<PromptCounter>>,
        metrics: ModelMetrics,
    ) -> Self {
        Self {
            model,
            prices,
            deployments,
            prompt,
            metrics,
            turn: AtomicUsize::new(0),
        }
    }

    /// Chooses a deployment for which `may_use` holds.
    pub fn choose(&self, may_use: impl Fn(usize) -> bool + Clone) -> Choice {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let candidates = self.deployments.iter().enumerate().map(|(index, deployment)| {
            let mut candidate = deployment.engine.as_candidate();
            candidate.usable &= may_use(index);
            candidate
        });
        choose(self.model.routing, candidates, turn)
    }
}

/// Everything that is sold and every engine.
#[derive(Debug)]
pub struct Registry {
    models: Vec<Arc<ServedModel>>,
    by_name: HashMap<String, Arc<ServedModel>>,
    engines: Vec<Arc<Engine>>,
}

impl Registry {
    /// Indexes the models by their ids and aliases.
    pub fn new(models: Vec<Arc<ServedModel>>, engines: Vec<Arc<Engine>>) -> Self {
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
        }
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
        self.engines
            .iter()
            .any(|engine| engine.health.standing() == Standing::Up && !engine.is_drained())
    }

    /// These engines, and no others, get no new request.
    pub fn set_drained(&self, drained: &[EngineName]) {
        for engine in &self.engines {
            engine.set_drained(drained.contains(&engine.name));
        }
    }

    /// The engine with this name.
    pub fn engine(&self, name: &str) -> Option<&Arc<Engine>> {
        self.engines.iter().find(|engine| engine.name.as_str() == name)
    }
}
