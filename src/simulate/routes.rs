//! The routes of the engine: those of vLLM, and `/simulate/...` to look into it and to trouble it.

use std::sync::atomic::Ordering::Acquire;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::adapters;
use super::clock;
use super::embeddings;
use super::engine::Engine;
use super::generate;
use super::metrics;
use super::records::RequestCount;
use super::refusal::Refusal;
use super::request::Kind;

/// Long prompts and images fit.
const MAX_BODY_BYTES: usize = 256 << 20;

impl Engine {
    /// The engine's HTTP interface, for a server or for a test without one.
    pub fn router(&self) -> Router {
        Router::new()
            .route(Kind::Chat.path(), post(generate::chat))
            .route(Kind::Completion.path(), post(generate::completion))
            .route(embeddings::PATH, post(generate::embedding))
            .route("/v1/models", get(models))
            .route("/v1/load_lora_adapter", post(adapters::load))
            .route("/v1/unload_lora_adapter", post(adapters::unload))
            .route("/health", get(health))
            .route("/metrics", get(metrics_text))
            .route("/simulate/requests", get(counts).delete(clear_counts))
            .route("/simulate/trouble", post(set_trouble))
            .route("/simulate/health", post(set_health))
            .fallback(unknown_route)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self.clone())
    }
}

async fn models(State(engine): State<Engine>) -> Json<Value> {
    let created = clock::unix_seconds();
    let settings = &engine.shared.settings;
    let models = engine.shared.listed().into_iter().map(|(model, parent)| {
        json!({
            "id": model,
            "object": "model",
            "created": created,
            "owned_by": "vllm",
            "root": model,
            "parent": parent,
            "max_model_len": settings.max_model_len,
            "permission": [],
        })
    });
    Json(json!({"object": "list", "data": models.collect::<Vec<Value>>()}))
}

async fn health(State(engine): State<Engine>) -> StatusCode {
    if engine.shared.healthy.load(Acquire) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn metrics_text(State(engine): State<Engine>) -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        metrics::render(&engine.shared),
    )
        .into_response()
}

async fn counts(State(engine): State<Engine>) -> Json<Vec<RequestCount>> {
    Json(engine.counts())
}

async fn clear_counts(State(engine): State<Engine>) -> StatusCode {
    engine.clear_counts();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetTrouble {
    trouble: Option<String>,
}

async fn set_trouble(State(engine): State<Engine>, Json(asked): Json<SetTrouble>) -> Response {
    match engine.set_trouble(asked.trouble.as_deref()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(unknown) => Refusal::bad("trouble", unknown.to_string()).into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetHealth {
    healthy: bool,
}

async fn set_health(State(engine): State<Engine>, Json(asked): Json<SetHealth>) -> StatusCode {
    engine.set_healthy(asked.healthy);
    StatusCode::NO_CONTENT
}

/// As vLLM answers it.
async fn unknown_route() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))).into_response()
}
