//! LoRA adapters: which of them an engine has, and having it load one.
//!
//! What an engine lists as its models is what it has. It is asked beside its probe, so what is known may be some seconds old: an
//! engine that turns out not to have an adapter says so when a request comes, and from then on it is known not to.

use crate::clock::Clock;
use crate::engines::client::Engine;
use crate::engines::registry::ServedModel;
use farebox_domain::catalog::{Adapter, EngineKind};
use farebox_domain::route::Choice;
use farebox_routing::Prompt;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An engine reads an adapter from its disk, or fetches it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// An engine that could not load one is not asked to again before this.
const FAILURE_HOLDS_FOR: Duration = Duration::from_secs(30);
/// Bytes of what an engine says of a load that are shown.
const SHOWN_BYTES: usize = 500;

/// The adapters that an engine has, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    state: Mutex<State>,
    loads: Mutex<HashMap<String, Arc<Load>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it has listed what it has since it began.
    is_listed: bool,
    known: HashMap<String, bool>,
}

/// One adapter's loads: one at a time, and when the last failed.
#[derive(Debug, Default)]
struct Load {
    turn: tokio::sync::Mutex<()>,
    failed_at: Mutex<Option<Instant>>,
}

impl Adapters {
    /// `None` where nothing is known of it.
    fn has(&self, name: &str) -> Option<bool> {
        let state = self.state.lock();
        let known = state.known.get(name).copied();
        known.or(state.is_listed.then_some(false))
    }

    fn note(&self, name: &str, has: bool) {
        self.state.lock().known.insert(name.to_owned(), has);
    }

    fn listed(&self, names: impl Iterator<Item = String>) {
        let known = names.map(|name| (name, true)).collect();
        *self.state.lock() = State {
            is_listed: true,
            known,
        };
    }

    /// What comes up again has loaded nothing, or what it loads at its start.
    pub(super) fn forget(&self) {
        *self.state.lock() = State::default();
        self.loads.lock().clear();
    }

    fn load_of(&self, name: &str) -> Arc<Load> {
        Arc::clone(self.loads.lock().entry(name.to_owned()).or_default())
    }

    fn failed_lately(&self, name: &str, clock: &Clock) -> bool {
        let loads = self.loads.lock();
        loads.get(name).is_some_and(|load| load.failed_lately(clock))
    }
}

impl Load {
    fn failed_lately(&self, clock: &Clock) -> bool {
        let failed_at = *self.failed_at.lock();
        failed_at.is_some_and(|at| clock.now().saturating_duration_since(at) < FAILURE_HOLDS_FOR)
    }
}

/// What the engine calls an adapter in a request for it.
pub fn served_as(kind: EngineKind, base: &str, adapter: &Adapter) -> String {
    match kind {
        EngineKind::Sglang => format!("{base}:{}", adapter.name),
        _ => adapter.name.clone(),
    }
}

/// The path at which an engine is told to load an adapter; `None` where it cannot be told.
pub const fn load_path(kind: EngineKind) -> Option<&'static str> {
    match kind {
        EngineKind::Vllm => Some("/v1/load_lora_adapter"),
        EngineKind::Sglang => Some("/load_lora_adapter"),
        EngineKind::LlamaCpp
        | EngineKind::Trtllm
        | EngineKind::Tei
        | EngineKind::Ollama
        | EngineKind::Openai => None,
    }
}

/// Whether a refusal of a request for an adapter says that the engine does not have it. vLLM answers 404; SGLang 400, in words.
pub fn is_not_loaded(status: u16, body: &[u8]) -> bool {
    status == 404 || (status == 400 && memchr::memmem::find(body, b"not loaded").is_some())
}

impl Engine {
    /// Asks it which adapters it has, if it serves any.
    pub(crate) async fn list_adapters(&self) {
        #[derive(Deserialize)]
        struct Listed {
            data: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            id: String,
        }
        if !self.models().any(|served| served.model.adapter.is_some()) {
            return;
        }
        let Some(text) = self.get_models().await else {
            return;
        };
        if let Ok(listed) = serde_json::from_str::<Listed>(&text) {
            let names = listed.data.into_iter();
            self.adapters().listed(names.map(|item| item.id));
        }
    }

    /// It said that it does not have it.
    pub fn lacks_adapter(&self, adapter: &Adapter) {
        self.adapters().note(&adapter.name, false);
    }

    /// Has it load an adapter, once however many ask for it meanwhile. `Err` is what it said.
    ///
    /// Whoever asks may leave: the engine goes on, and says to the next one that it has it.
    async fn load_adapter(&self, adapter: &Adapter, clock: &Clock) -> Result<Outcome, String> {
        let (Some(url), Some(path)) = (self.load_url(), &adapter.path) else {
            return Err("it cannot be told to load one".to_owned());
        };
        let load = self.adapters().load_of(&adapter.name);
        let _turn = load.turn.lock().await;
        if self.adapters().has(&adapter.name) == Some(true) {
            return Ok(Outcome::WasThere);
        }
        if load.failed_lately(clock) {
            return Err("it could not just now".to_owned());
        }
        let body = serde_json::json!({ "lora_name": adapter.name, "lora_path": path });
        let said = self.post(url, body.to_string(), LOAD_TIMEOUT).await;
        let loaded = said.and_then(|(status, text)| {
            let is_there = (200..300).contains(&status) || text.contains("already");
            is_there.then_some(()).ok_or_else(|| {
                let shown: String = text.chars().take(SHOWN_BYTES).collect();
                format!("HTTP {status}: {shown}")
            })
        });
        match loaded {
            Ok(()) => {
                *load.failed_at.lock() = None;
                self.adapters().note(&adapter.name, true);
                Ok(Outcome::Loaded)
            }
            Err(why) => {
                *load.failed_at.lock() = Some(clock.now());
                Err(why)
            }
        }
    }
}

/// How a load went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The engine has it now.
    Loaded,
    /// Another request had it loaded meanwhile.
    WasThere,
}

/// A load that was tried.
#[derive(Debug)]
pub struct Tried<'a> {
    /// At which engine.
    pub engine: &'a Arc<Engine>,
    /// How it went; `Err` is what the engine said.
    pub how: Result<Outcome, String>,
}

impl ServedModel {
    /// Whether the deployment may be sent what it serves: it is no adapter, or the engine may have it.
    #[inline]
    pub fn may_have(&self, deployment: usize) -> bool {
        let Some(adapter) = &self.model.adapter else {
            return true;
        };
        let engine = &self.deployments[deployment].engine;
        engine.adapters().has(&adapter.name) != Some(false)
    }

    /// Has an engine load the adapter where none that has it may be given a request now. No engine's place is taken meanwhile,
    /// so that what it serves besides is served. `None` where there is nothing to load, or nobody to load it.
    pub async fn load_where_it_lacks(&self, prompt: Option<&Prompt>, clock: &Clock) -> Option<Tried<'_>> {
        let adapter = self.model.adapter.as_ref()?;
        let engine = &self.deployments[self.to_load(adapter, prompt, clock)?].engine;
        let how = engine.load_adapter(adapter, clock).await;
        Some(Tried { engine, how })
    }

    fn to_load(&self, adapter: &Adapter, prompt: Option<&Prompt>, clock: &Clock) -> Option<usize> {
        adapter.path.as_ref()?;
        // Most requests find one that has it: what the prompt would cost does not matter before that.
        let having = self.candidates(None);
        if having.iter().any(|one| one.usable && !one.is_full()) {
            return None;
        }
        let may_load = |index: usize| {
            let engine = &self.deployments[index].engine;
            !self.may_have(index)
                && engine.load_url().is_some()
                && !engine.adapters().failed_lately(&adapter.name, clock)
        };
        let weighing = self.weigh(prompt);
        let candidate = |index: usize| {
            let mut candidate = self.candidate_with_adapter(index, weighing.as_ref());
            candidate.usable = candidate.usable && may_load(index);
            candidate
        };
        let loading: Vec<_> = (0..self.deployments.len()).map(candidate).collect();
        match self.chosen_of(&loading) {
            Choice::Engine(index) => Some(index),
            Choice::NoneUsable => None,
            // There it is loaded while it is full, unless an engine that has it will have a place.
            Choice::AllFull if having.iter().any(|one| one.usable) => None,
            Choice::AllFull => loading.iter().position(|candidate| candidate.usable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_what_was_listed_last_and_what_came_after() {
        let adapters = Adapters::default();
        assert_eq!(adapters.has("red"), None);
        adapters.note("red", false);
        assert_eq!(adapters.has("red"), Some(false));
        assert_eq!(adapters.has("blue"), None, "nothing was listed yet");
        adapters.listed(["base", "blue"].map(str::to_owned).into_iter());
        assert_eq!(
            (adapters.has("red"), adapters.has("blue")),
            (Some(false), Some(true))
        );
        adapters.note("red", true);
        assert_eq!(adapters.has("red"), Some(true));
        adapters.forget();
        assert_eq!(adapters.has("blue"), None);
    }

    #[test]
    fn each_kind_says_in_its_own_way_that_it_lacks_one() {
        assert!(is_not_loaded(404, b"{}"));
        let sglang = br#"{"message":"The following requested LoRA adapters are not loaded: {'red'}"}"#;
        assert!(is_not_loaded(400, sglang));
        assert!(!is_not_loaded(400, b"max_tokens is too large"));
        let red = Adapter {
            base: "b".into(),
            name: "red".to_owned(),
            path: None,
        };
        assert_eq!(served_as(EngineKind::Vllm, "b", &red), "red");
        assert_eq!(served_as(EngineKind::Sglang, "b", &red), "b:red");
    }
}
