//! What an account may do, as DeepInfra shows it (FACTS.md).

use crate::app::App;
use crate::http::openai::edge;
use crate::http::peer::Sender;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::json;
use std::sync::Arc;

/// `GET /v1/me/rate_limit`: `rate_limit` is requests in flight at once; `tpm_rate_limit` and `rpm_rate_limit`
/// are tokens and requests a minute, `null` where they are not limited.
pub async fn rate_limit(State(app): State<Arc<App>>, sender: Sender) -> Response<Body> {
    edge::answer(&app, &sender, |caller| {
        let reading = caller
            .key
            .account
            .gate
            .read(app.pipeline.limits.concurrent_requests);
        Ok(json!({
            "rate_limit": reading.limit,
            "tpm_rate_limit": app.pipeline.limits.tokens_per_minute,
            "rpm_rate_limit": app.pipeline.limits.requests_per_minute,
            "in_flight": reading.in_flight,
            "models": reading.models,
        }))
    })
}
