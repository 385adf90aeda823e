//! What an account may do, as DeepInfra shows it (FACTS.md).

use crate::app::App;
use crate::http::openai::edge;
use crate::http::peer::Sender;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::json;
use std::sync::Arc;

/// `GET /v1/me/rate_limit`: `rate_limit` is requests in flight at once; tokens a minute are not limited.
pub async fn rate_limit(State(app): State<Arc<App>>, sender: Sender) -> Response<Body> {
    edge::answer(&app, &sender, |caller| {
        let reading = caller
            .key
            .account
            .gate
            .read(app.pipeline.limits.concurrent_requests);
        Ok(json!({
            "rate_limit": reading.limit,
            "tpm_rate_limit": null,
            "in_flight": reading.in_flight,
            "models": reading.models,
        }))
    })
}
