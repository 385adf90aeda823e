//! What is sold, at which price, and by which engines: models.yaml as domain values.
//!
//! Invariant: a [`Catalog`] that exists holds. [`Catalog::new`] is the only way to make one, and it refuses
//! with every fault at once.

use crate::ids::{EngineName, ModelId};
use crate::limits::{Limits, RateLimits};
use crate::price::Price;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::Serialize;

mod fallback;

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Chat completions and plain completions.
    Chat,
    /// Embeddings.
    Embedding,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 2] = [Self::Chat, Self::Embedding];

    /// Its name in models.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
        }
    }
}

/// How an engine is chosen among those that serve a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// The engine with the fewest requests in flight from here.
    #[default]
    LeastLoaded,
    /// Each in turn.
    RoundRobin,
    /// The engine at which the request is estimated to cost least, with what its cache holds of the prompt counted in.
    Prefix,
}

impl Routing {
    /// Every routing.
    pub const ALL: [Self; 3] = [Self::LeastLoaded, Self::RoundRobin, Self::Prefix];

    /// Its name in models.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::RoundRobin => "round_robin",
            Self::Prefix => "prefix",
        }
    }
}

/// Whose prompts may find each other in an engine's cache. Whoever shares one can tell by the time of an answer what another
/// has asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheSharing {
    /// Everybody's.
    #[default]
    Everybody,
    /// One account's alone: `isolate_cache: account`.
    Account,
}

/// What an engine is, and so what it understands. The facts are FACTS.md's and REAL.md's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// llama.cpp's `llama-server`.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// TensorRT-LLM's `trtllm-serve`.
    Trtllm,
    /// Ollama.
    Ollama,
    /// Hugging Face's text-embeddings-inference.
    Tei,
    /// Anything else that speaks OpenAI's API.
    Openai,
}

impl EngineKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Vllm,
        Self::Sglang,
        Self::LlamaCpp,
        Self::Trtllm,
        Self::Ollama,
        Self::Tei,
        Self::Openai,
    ];

    /// Its name in models.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::LlamaCpp => "llama.cpp",
            Self::Trtllm => "trtllm",
            Self::Ollama => "ollama",
            Self::Tei => "tei",
            Self::Openai => "openai",
        }
    }

    /// Whether it knows `stream_options.continuous_usage_stats`: a running usage on each chunk.
    pub const fn has_continuous_usage(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang | Self::Trtllm)
    }

    /// Whether its usage counts the last choice alone when a request asks for several (REAL.md, llama.cpp).
    pub const fn undercounts_choices(self) -> bool {
        matches!(self, Self::LlamaCpp)
    }

    /// Whether a plain completion goes on to the end of the context where `max_tokens` is not given; OpenAI's API says 16.
    pub const fn completes_without_end(self) -> bool {
        matches!(self, Self::LlamaCpp | Self::Ollama)
    }

    /// Whether it answers 400 to a field that it does not know, OpenAI's own among them (TensorRT-LLM's request model
    /// forbids extra fields).
    pub const fn refuses_unknown_fields(self) -> bool {
        matches!(self, Self::Trtllm)
    }

    /// Whether it may sell service tiers itself, as another provider does. The other kinds ignore the field.
    pub const fn may_sell_tiers(self) -> bool {
        matches!(self, Self::Openai)
    }

    /// Whether a request's `cache_salt` keeps its prompt apart in the cache from those of other salts.
    pub const fn takes_cache_salt(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang)
    }

    /// Whether it can tell what its KV cache holds, over ZeroMQ.
    pub const fn has_kv_events(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang)
    }

    /// The path, under the engine's URL, that answers 200 when it can serve. Ollama and an unknown OpenAI
    /// server have no health route of their own: their model list stands for it.
    pub const fn health_path(self) -> &'static str {
        match self {
            Self::Vllm | Self::LlamaCpp | Self::Trtllm | Self::Tei => "/health",
            Self::Sglang => "/ready",
            Self::Ollama => "/api/version",
            Self::Openai => "/v1/models",
        }
    }
}

/// An engine as the operator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSpec {
    /// The operator's name for it.
    pub name: EngineName,
    /// What it is.
    pub kind: EngineKind,
    /// Its base URL, `http` or `https`, without `/v1` and without a slash at its end.
    pub url: String,
    /// The name of the environment variable with the key that it wants, if it wants one.
    pub api_key_env: Option<String>,
    /// Requests that it is given at once; `None` is without a limit.
    pub max_concurrent: Option<u32>,
    /// Tokens that its KV cache holds, where the operator says it.
    pub cache_tokens: Option<u32>,
    /// Where it tells what its KV cache holds, where it does.
    pub kv_events: Option<KvEvents>,
}

/// Where an engine's KV events come from. Endpoints are `tcp://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEvents {
    /// Who connects to whom.
    pub feed: KvFeed,
    /// Where it is asked for what was missed.
    pub replay: Option<String>,
}

/// Who connects to whom for an engine's KV events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvFeed {
    /// The engine binds, and farebox connects to this.
    Connect(String),
    /// farebox binds this, and the engine connects.
    Bind(String),
}

/// One engine that serves a model, and the name by which the model goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Which engine.
    pub engine: EngineName,
    /// What the engine calls the model.
    pub serves: String,
}

/// The files with which a model's prompts are counted before an engine has seen them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PromptFiles {
    /// The path of a Hugging Face `tokenizer.json`.
    pub tokenizer: String,
    /// The path of the Jinja template that makes one text of a chat's messages.
    pub chat_template: Option<String>,
}

/// What makes a model a LoRA adapter: it is served by its base's engines, beside the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// The model that it adapts. An account's limits on that are its own too: both are counted together.
    pub base: ModelId,
    /// What engines call it.
    pub name: String,
    /// Where an engine finds it, as that engine reads it: a folder on its own disk, or a repository's name. `None`: it is sent
    /// where it is loaded, and never loaded by farebox.
    pub path: Option<String>,
}

/// A model that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub id: ModelId,
    /// Other names that mean the same.
    pub aliases: Vec<String>,
    /// What it does.
    pub task: Task,
    /// Tokens of prompt and completion together.
    pub context_length: u32,
    /// Tokens of completion; the context's length where the operator says nothing.
    pub max_output_tokens: u32,
    /// Its prices.
    pub price: Price,
    /// Who serves it; at least one.
    pub deployments: Vec<Deployment>,
    /// Inputs of an embeddings request that an engine is sent in one call; a request with more is split. `None` is without a
    /// limit.
    pub max_batch_inputs: Option<u32>,
    /// How one of them is chosen.
    pub routing: Routing,
    /// Whose prompts may find each other in an engine's cache.
    pub cache_sharing: CacheSharing,
    /// What each account may do with it in a minute, besides what it may do with all models together.
    pub limits: RateLimits,
    /// What its prompts are counted with, where the operator gives it.
    pub prompt: Option<PromptFiles>,
    /// Models that serve its requests where none of its engines can, the first one first. What they serve is answered and billed
    /// as theirs.
    pub fallback: Vec<ModelId>,
    /// If it is a LoRA adapter of another model: which.
    pub adapter: Option<Adapter>,
}

impl Model {
    /// The model as which it is counted where an account has limits on models: its base, if it is an adapter.
    pub fn limited_as(&self) -> &ModelId {
        self.adapter.as_ref().map_or(&self.id, |adapter| &adapter.base)
    }
}

/// Something that does not hold between parts of a catalog that are each well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogFault {
    /// The same name twice among ids and aliases. The index is the later model's.
    #[error("`{name}` is already the id or an alias of another model")]
    NameTaken {
        /// The later model's index.
        model: usize,
        /// The name.
        name: String,
    },
    /// The same engine name twice.
    #[error("the engine `{name}` is described twice")]
    EngineTwice {
        /// The later engine's index.
        engine: usize,
        /// The name.
        name: EngineName,
    },
    /// A model without an engine.
    #[error("a model needs at least one engine")]
    NoEngine {
        /// The model's index.
        model: usize,
    },
    /// A model names an engine that is not described.
    #[error("there is no engine `{name}` under `engines`")]
    UnknownEngine {
        /// The model's index.
        model: usize,
        /// The index among its engines.
        deployment: usize,
        /// The name.
        name: EngineName,
    },
    /// A model names the same engine twice under the same name.
    #[error("the engine `{name}` is listed twice for this model")]
    DeploymentTwice {
        /// The model's index.
        model: usize,
        /// The index among its engines.
        deployment: usize,
        /// The name.
        name: EngineName,
    },
    /// Accounts are to be kept apart in a cache that cannot keep them apart.
    #[error("isolate_cache needs an engine that takes a cache_salt (vllm, sglang); `{name}` is none")]
    CacheNotIsolated {
        /// The model's index.
        model: usize,
        /// The index among its engines.
        deployment: usize,
        /// The engine's name.
        name: EngineName,
    },
    /// A fallback that cannot be one.
    #[error("{why}")]
    Fallback {
        /// The model's index.
        model: usize,
        /// The index among its fallbacks.
        fallback: usize,
        /// What is wrong with it.
        why: FallbackFault,
    },
    /// An engine tells what it holds in tokens, and nobody can tell the tokens of the model's prompts.
    #[error(
        "`{name}` tells what its cache holds in tokens (kv_events), and a prompt's tokens are to be found in it: name the \
         model's tokenizer.json in `tokenizer`, and its template in `chat_template`"
    )]
    KvEventsWithoutTokenizer {
        /// The model's index.
        model: usize,
        /// The index among its engines.
        deployment: usize,
        /// The engine's name.
        name: EngineName,
    },
    /// An engine tells what it holds, and nobody is routed by that.
    #[error("kv_events are of use to models with `routing: prefix` alone, and `{name}` serves none")]
    KvEventsUnused {
        /// The engine's index.
        engine: usize,
        /// Its name.
        name: EngineName,
    },
    /// More output than context.
    #[error("max_output_tokens {max_output} is more than context_length {context}")]
    OutputExceedsContext {
        /// The model's index.
        model: usize,
        /// `max_output_tokens`
        max_output: u32,
        /// `context_length`
        context: u32,
    },
}

/// Why a model cannot stand in for another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FallbackFault {
    /// There is none of this id.
    #[error("there is no model with the id `{0}`")]
    Unknown(ModelId),
    /// It is the model itself.
    #[error("a model does not stand in for itself")]
    Itself,
    /// It is listed before.
    #[error("`{0}` is listed twice")]
    Twice(ModelId),
    /// It does something else.
    #[error("`{0}` has another task")]
    OtherTask(ModelId),
    /// It has the model as a fallback of its own, or of one of those that it has.
    #[error("`{0}` itself falls back to this model: two that stand in for each other fail together")]
    Cycle(ModelId),
}

/// Everything that is sold, and who serves it.
#[derive(Debug, Clone)]
pub struct Catalog {
    models: Vec<Arc<Model>>,
    by_name: BTreeMap<String, usize>,
    engines: Vec<EngineSpec>,
    limits: Limits,
}

impl Catalog {
    /// Checks that the parts hold together.
    pub fn new(
        models: Vec<Model>,
        engines: Vec<EngineSpec>,
        limits: Limits,
    ) -> Result<Self, Vec<CatalogFault>> {
        let mut faults = engine_faults(&engines);
        let mut by_name = BTreeMap::new();
        for (index, model) in models.iter().enumerate() {
            for name in core::iter::once(model.id.as_str()).chain(model.aliases.iter().map(String::as_str)) {
                if by_name.insert(String::from(name), index).is_some() {
                    faults.push(CatalogFault::NameTaken {
                        model: index,
                        name: name.into(),
                    });
                }
            }
            faults.extend(model_faults(index, model, &engines));
            faults.extend(fallback::faults(index, &models));
        }
        faults.extend(unused_events(&engines, &models));
        if !faults.is_empty() {
            return Err(faults);
        }
        let models = models.into_iter().map(Arc::new).collect();
        Ok(Self {
            models,
            by_name,
            engines,
            limits,
        })
    }

    /// The model with this id or alias.
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name).and_then(|&index| self.models.get(index))
    }

    /// Every model, in the operator's order.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// Every engine, in the operator's order.
    pub fn engines(&self) -> &[EngineSpec] {
        &self.engines
    }

    /// What an account has until it is given more.
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

fn engine_faults(engines: &[EngineSpec]) -> Vec<CatalogFault> {
    let twice = |(index, engine): (usize, &EngineSpec)| {
        engines[..index]
            .iter()
            .any(|earlier| earlier.name == engine.name)
            .then(|| CatalogFault::EngineTwice {
                engine: index,
                name: engine.name.clone(),
            })
    };
    engines.iter().enumerate().filter_map(twice).collect()
}

/// Whether prompts of this model are looked for in what its engines tell.
fn reads_events(model: &Model) -> bool {
    model.routing == Routing::Prefix && model.task == Task::Chat
}

fn unused_events(engines: &[EngineSpec], models: &[Model]) -> Vec<CatalogFault> {
    let of_use = |engine: &EngineSpec| {
        let serves = |model: &Model| model.deployments.iter().any(|one| one.engine == engine.name);
        models.iter().any(|model| reads_events(model) && serves(model))
    };
    let telling = engines
        .iter()
        .enumerate()
        .filter(|(_, engine)| engine.kv_events.is_some());
    telling
        .filter(|(_, engine)| !of_use(engine))
        .map(|(index, engine)| CatalogFault::KvEventsUnused {
            engine: index,
            name: engine.name.clone(),
        })
        .collect()
}

fn model_faults(index: usize, model: &Model, engines: &[EngineSpec]) -> Vec<CatalogFault> {
    let mut faults = Vec::new();
    if model.adapter.is_some() {
        // It has what its base has, and there it is told.
        return faults;
    }
    if model.deployments.is_empty() {
        faults.push(CatalogFault::NoEngine { model: index });
    }
    if model.max_output_tokens > model.context_length {
        faults.push(CatalogFault::OutputExceedsContext {
            model: index,
            max_output: model.max_output_tokens,
            context: model.context_length,
        });
    }
    for (deployment, served) in model.deployments.iter().enumerate() {
        let name = served.engine.clone();
        let spec = engines.iter().find(|engine| engine.name == name);
        if model.cache_sharing == CacheSharing::Account
            && spec.is_some_and(|spec| !spec.kind.takes_cache_salt())
        {
            faults.push(CatalogFault::CacheNotIsolated {
                model: index,
                deployment,
                name: name.clone(),
            });
        }
        if reads_events(model) && model.prompt.is_none() && spec.is_some_and(|spec| spec.kv_events.is_some())
        {
            faults.push(CatalogFault::KvEventsWithoutTokenizer {
                model: index,
                deployment,
                name: name.clone(),
            });
        }
        if spec.is_none() {
            faults.push(CatalogFault::UnknownEngine {
                model: index,
                deployment,
                name,
            });
        } else if model.deployments[..deployment].contains(served) {
            faults.push(CatalogFault::DeploymentTwice {
                model: index,
                deployment,
                name,
            });
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::TokenPrice;
    use alloc::string::ToString;
    use alloc::vec;

    fn model(id: &str, engine: &str) -> Model {
        Model {
            id: id.into(),
            aliases: vec![],
            task: Task::Chat,
            context_length: 4096,
            max_output_tokens: 4096,
            price: Price::of_tokens(
                TokenPrice::from_picodollars(1),
                None,
                TokenPrice::from_picodollars(1),
            ),
            deployments: vec![Deployment {
                engine: engine.into(),
                serves: id.into(),
            }],
            max_batch_inputs: None,
            routing: Routing::LeastLoaded,
            cache_sharing: CacheSharing::Everybody,
            limits: RateLimits::default(),
            prompt: None,
            fallback: vec![],
            adapter: None,
        }
    }

    fn engine(name: &str) -> EngineSpec {
        EngineSpec {
            name: name.into(),
            kind: EngineKind::Vllm,
            url: "http://127.0.0.1:1".into(),
            api_key_env: None,
            max_concurrent: None,
            cache_tokens: None,
            kv_events: None,
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let twice = Model {
            aliases: vec!["a".into()],
            ..model("b", "nowhere")
        };
        let empty = Model {
            deployments: vec![],
            max_output_tokens: 5000,
            ..model("c", "x")
        };
        let models = vec![model("a", "x"), twice, empty];
        let faults = Catalog::new(models, vec![engine("x"), engine("x")], Limits::default()).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
    }

    #[test]
    fn a_fallback_is_another_model_of_the_same_task_and_no_cycle() {
        let to = |id: &str, fallback: &[&str]| Model {
            fallback: fallback.iter().map(|id| (*id).into()).collect(),
            ..model(id, "x")
        };
        let whys = |models: Vec<Model>| match Catalog::new(models, vec![engine("x")], Limits::default()) {
            Ok(_) => vec![],
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        };
        let none: Vec<String> = vec![];
        assert_eq!(
            whys(vec![to("a", &["b", "c"]), to("b", &["c"]), to("c", &[])]),
            none
        );
        let embedder = Model {
            task: Task::Embedding,
            ..model("e", "x")
        };
        assert_eq!(
            whys(vec![
                to("a", &["a", "b", "b", "e", "nothing"]),
                to("b", &[]),
                embedder
            ]),
            [
                "a model does not stand in for itself",
                "`b` is listed twice",
                "`e` has another task",
                "there is no model with the id `nothing`",
            ]
        );
        let circle = whys(vec![
            to("a", &["b"]),
            to("b", &["c"]),
            to("c", &["a"]),
            to("d", &["a"]),
        ]);
        assert_eq!(
            circle.len(),
            3,
            "each of the circle, and not who leads to it: {circle:?}"
        );
    }

    #[test]
    fn a_model_is_found_by_id_and_alias() {
        let models = vec![Model {
            aliases: vec!["short".into()],
            ..model("org/long", "x")
        }];
        let catalog = Catalog::new(models, vec![engine("x")], Limits::default()).unwrap();
        assert_eq!(catalog.find("short").unwrap().id.as_str(), "org/long");
        assert!(catalog.find("org/long").is_some());
        assert!(catalog.find("org").is_none());
    }
}
