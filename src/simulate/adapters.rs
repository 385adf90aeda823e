//! LoRA adapters, as vLLM has them: some from the start, others loaded and unloaded by name while it serves. They change no answer.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde::Deserialize;

use super::engine::{Engine, Shared};
use super::refusal::Refusal;

/// What a path begins with at which nothing is found.
const MISSING: &str = "missing";

/// The adapters that are loaded, and how often one was asked for.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    loaded: Mutex<BTreeSet<String>>,
    asked: Mutex<Vec<String>>,
}

impl Adapters {
    pub(super) fn new(names: &[String]) -> Adapters {
        Adapters {
            loaded: Mutex::new(names.iter().cloned().collect()),
            asked: Mutex::default(),
        }
    }
}

impl Shared {
    /// Whether a request may name this model.
    pub(super) fn serves(&self, model: &str) -> bool {
        self.settings.models.iter().any(|served| served == model)
            || self.adapters.loaded.lock().contains(model)
    }

    /// What is listed: the models, then the adapters that are loaded, each with the first model as its parent.
    pub(super) fn listed(&self) -> Vec<(String, Option<&str>)> {
        let models = self.settings.models.iter();
        let parent = self.settings.models.first().map(String::as_str);
        let adapters = self.adapters.loaded.lock();
        models
            .map(|model| (model.clone(), None))
            .chain(adapters.iter().map(|name| (name.clone(), parent)))
            .collect()
    }
}

impl Engine {
    /// The adapters that it was told to load, in order, those that it had or did not find among them.
    pub fn adapter_loads(&self) -> Vec<String> {
        self.shared.adapters.asked.lock().clone()
    }

    /// It has this adapter no more.
    pub fn unload_adapter(&self, name: &str) {
        self.shared.adapters.loaded.lock().remove(name);
    }
}

#[derive(Deserialize)]
pub(super) struct Named {
    lora_name: String,
    #[serde(default)]
    lora_path: String,
}

/// `POST /v1/load_lora_adapter`
pub(super) async fn load(State(engine): State<Engine>, Json(asked): Json<Named>) -> Response {
    let shared = &engine.shared;
    shared.adapters.asked.lock().push(asked.lora_name.clone());
    if shared.adapters.loaded.lock().contains(&asked.lora_name) {
        let message = format!("The lora adapter '{}' has already been loaded.", asked.lora_name);
        return Refusal::bad("lora_name", message).into_response();
    }
    if asked.lora_path.starts_with(MISSING) {
        let message = format!(
            "Loading lora {} failed: No adapter found for {}",
            asked.lora_name, asked.lora_path
        );
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    tokio::time::sleep(Duration::from_millis(shared.settings.lora_load_ms)).await;
    let said = format!("Success: LoRA adapter '{}' added successfully.", asked.lora_name);
    shared.adapters.loaded.lock().insert(asked.lora_name);
    said.into_response()
}

/// `POST /v1/unload_lora_adapter`
pub(super) async fn unload(State(engine): State<Engine>, Json(asked): Json<Named>) -> Response {
    engine.unload_adapter(&asked.lora_name);
    format!(
        "Success: LoRA adapter '{}' removed successfully.",
        asked.lora_name
    )
    .into_response()
}
