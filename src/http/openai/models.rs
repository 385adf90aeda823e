//! `GET /v1/models` and `GET /v1/models/{id}`, ids with slashes and aliases too.

use crate::app::App;
use crate::engines::registry::ServedModel;
use crate::http::openai::edge;
use crate::pipeline::authenticate::authenticate;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use farebox_domain::catalog::Task;
use farebox_domain::price::TokenPrice;
use farebox_domain::refusal::Refusal;
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;

/// All models.
pub async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Response<Body> {
    answer(&app, &headers, || {
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
    answer(&app, &headers, || match app.registry.find(&id) {
        Some(served) => Ok(shown(&app, served)),
        None => {
            let id: String = id
                .chars()
                .filter(|letter| !letter.is_control())
                .take(100)
                .collect();
            Err(Refusal::ModelNotFound(format!(
                "the model `{id}` does not exist; GET /v1/models lists those that do"
            )))
        }
    })
}

/// Answers a caller whose key holds with JSON.
pub fn answer(
    app: &App,
    headers: &HeaderMap,
    read: impl FnOnce() -> Result<Value, Refusal>,
) -> Response<Body> {
    let (arrival, holds) = edge::arrival(app, headers);
    let client = arrival.client_request_id.as_deref();
    let answered = holds
        .and_then(|()| authenticate(&app.directory, headers, app.clock.unix_ms()))
        .and_then(|_| read());
    match answered {
        Ok(value) => {
            let mut response = Response::new(Body::from(value.to_string()));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            edge::put_ids(headers, arrival.id, client);
            response
        }
        Err(refusal) => edge::refuse(app, arrival.id, client, "read", &refusal),
    }
}

/// A model as OpenAI shows it, with DeepInfra's `metadata`: prices in USD per million tokens (FACTS.md).
fn shown(app: &App, served: &ServedModel) -> Value {
    let model = &served.model;
    let usd = |price: TokenPrice| -> Value {
        // An exact decimal, where a float would be rounded.
        RawValue::from_string(price.to_string())
            .ok()
            .and_then(|raw| serde_json::to_value(raw).ok())
            .unwrap_or_default()
    };
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
