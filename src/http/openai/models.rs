//! `GET /v1/models` and `GET /v1/models/{id}`, ids with slashes and aliases too.

use crate::app::App;
use crate::engines::registry::ServedModel;
use crate::http::openai::edge;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use farebox_domain::catalog::Task;
use farebox_domain::price::TokenPrice;
use farebox_domain::refusal::Refusal;
use serde_json::{Value, json};
use std::sync::Arc;

/// All models.
pub async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Response<Body> {
    edge::answer(&app, &headers, |_| {
        let models: Vec<Value> = app
            .registry
            .models()
            .iter()
            .map(|served| shown(&app, served))
            .collect();
        Ok(json!({ "object": "list", "data": models }))
    })
}

/// One model.
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    edge::answer(&app, &headers, |_| match app.registry.find(&id) {
        Some(served) => Ok(shown(&app, served)),
        None => Err(Refusal::no_such_model(&id)),
    })
}

/// A model as OpenAI shows it, with DeepInfra's `metadata`: prices in USD per million tokens (FACTS.md).
fn shown(app: &App, served: &ServedModel) -> Value {
    let model = &served.model;
    let usd = |price: TokenPrice| serde_json::from_str::<Value>(&price.to_string()).unwrap_or_default();
    let mut pricing = json!({ "input_tokens": usd(model.price.input) });
    if model.task == Task::Chat {
        pricing["output_tokens"] = usd(model.price.output);
        pricing["cache_read_tokens"] = usd(model.price.cached_input.unwrap_or(model.price.input));
    }
    json!({
        "id": model.id.as_str(),
        "object": "model",
        "created": app.started_at_ms / 1000,
        "owned_by": "farebox",
        "root": model.id.as_str(),
        "parent": null,
        "metadata": {
            "context_length": model.context_length,
            "max_tokens": model.max_output_tokens,
            "pricing": pricing,
            "tags": [model.task.as_str()],
        },
    })
}
