//! `GET /v1/models` and `GET /v1/models/{id}`, ids with slashes and aliases too.

use crate::app::App;
use crate::engines::registry::ServedModel;
use crate::http::openai::edge;
use crate::http::peer::Sender;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use farebox_domain::catalog::Task;
use farebox_domain::price::{Price, TokenPrice};
use farebox_domain::refusal::Refusal;
use serde_json::{Value, json};
use std::sync::Arc;

/// All models that the key may use.
pub async fn list(State(app): State<Arc<App>>, sender: Sender) -> Response<Body> {
    edge::answer(&app, &sender, |caller| {
        let models: Vec<Value> = app
            .registry()
            .models()
            .iter()
            .filter(|served| caller.may_use(&served.model))
            .map(|served| shown(&app, served))
            .collect();
        Ok(json!({ "object": "list", "data": models }))
    })
}

/// One model.
pub async fn retrieve(State(app): State<Arc<App>>, Path(id): Path<String>, sender: Sender) -> Response<Body> {
    edge::answer(&app, &sender, |caller| match app.registry().find(&id) {
        Some(served) if !caller.may_use(&served.model) => {
            Err(Refusal::ModelNotAllowed(served.model.id.clone()))
        }
        Some(served) => Ok(shown(&app, served)),
        None => Err(Refusal::no_such_model(&id)),
    })
}

/// A model as OpenAI shows it, with DeepInfra's `metadata` (FACTS.md).
fn shown(app: &App, served: &ServedModel) -> Value {
    let model = &served.model;
    let price = served.prices.at(app.clock.unix_ms());
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
            "pricing": pricing(&price.price, model.task),
            "tags": [model.task.as_str()],
        },
    })
}

/// What a model costs now. Tokens by DeepInfra's names, in USD per million; what it has no name for by ours, in USD. What
/// a model is not sold by is left out.
fn pricing(price: &Price, task: Task) -> Value {
    let tokens = |input: TokenPrice, cached: Option<TokenPrice>, output: TokenPrice| {
        let mut shown = serde_json::Map::new();
        shown.insert("input_tokens".into(), number(input));
        if task == Task::Chat {
            shown.insert("output_tokens".into(), number(output));
            shown.insert("cache_read_tokens".into(), number(cached.unwrap_or(input)));
        }
        shown
    };
    let mut shown = tokens(price.input, price.cached_input, price.output);
    let tiers = price.context_tiers.iter().map(|tier| {
        let mut of_tier = tokens(tier.input, tier.cached_input, tier.output);
        of_tier.insert("above_prompt_tokens".into(), tier.above_prompt_tokens.into());
        Value::Object(of_tier)
    });
    let tiers: Vec<Value> = tiers.collect();
    if !tiers.is_empty() {
        shown.insert("context_tiers".into(), tiers.into());
    }
    let others = [
        ("per_request", price.per_request.map(number)),
        ("per_engine_second", price.per_engine_second.map(number)),
        ("per_image", price.per_image.map(number)),
        ("per_million_characters", price.per_million_characters.map(number)),
        ("per_audio_second", price.per_audio_second.map(number)),
        ("priority_multiplier", price.priority.map(number)),
        ("flex_multiplier", price.flex.map(number)),
    ];
    for (name, other) in others {
        shown.extend(other.map(|other| (name.into(), other)));
    }
    Value::Object(shown)
}

/// A decimal as a JSON number, as SDKs expect it.
fn number(decimal: impl ToString) -> Value {
    serde_json::from_str(&decimal.to_string()).unwrap_or_default()
}
