//! What an account may do, as DeepInfra shows it (FACTS.md).

use crate::app::App;
use crate::http::openai::edge;
use crate::http::peer::Sender;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/me/rate_limit`: `rate_limit` is requests in flight at once; `tpm_rate_limit` and `rpm_rate_limit`
/// are tokens and requests a minute, `null` where they are not limited. `model_rates` has those of each model that has
/// any, which hold besides.
pub async fn rate_limit(State(app): State<Arc<App>>, sender: Sender) -> Response<Body> {
    edge::answer(&app, &sender, |caller| {
        let (account, limits) = (&caller.key.account, app.registry().limits());
        let reading = account.gate.read(limits.concurrent_requests);
        let rates = account.rates.own().or(limits.rates);
        let registry = app.registry();
        let models = registry.models().iter().map(|served| &served.model);
        let model_rates: Vec<Value> = models
            .filter(|model| !model.limits.is_empty() && caller.may_use(model))
            .map(|model| {
                json!({
                    "model": model.id.as_str(),
                    "tpm_rate_limit": model.limits.tokens,
                    "rpm_rate_limit": model.limits.requests,
                })
            })
            .collect();
        Ok(json!({
            "rate_limit": reading.limit,
            "tpm_rate_limit": rates.tokens,
            "rpm_rate_limit": rates.requests,
            "in_flight": reading.in_flight,
            "models": reading.models,
            "model_rates": model_rates,
        }))
    })
}
