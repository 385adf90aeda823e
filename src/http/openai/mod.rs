//! The developer's routes: OpenAI's, under `/v1` and under `/v1/openai` (DeepInfra's base), and a few of DeepInfra's.

mod inference;
mod models;
mod me;
mod edge;

use crate::app::App;
use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::http::{Request, Response, StatusCode};
use axum::routing::{MethodRouter, get, post};
use farebox_domain::ledger::Endpoint;
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

/// Every route of the public listener.
pub fn router() -> Router<Arc<App>> {
    Router::new()
        .nest("/v1", openai())
        .nest("/v1/openai", openai())
        .route("/health", only("GET", get(health)))
        .route("/ready", only("GET", get(ready)))
}

fn openai() -> Router<Arc<App>> {
    let inference = |endpoint: Endpoint| {
        let handler = move |State(app): State<Arc<App>>, request: Request<Body>| async move {
            inference::serve(&app, endpoint, request).await
        };
        only("POST", post(handler))
    };
    Router::new()
        .route("/chat/completions", inference(Endpoint::ChatCompletions))
        .route("/completions", inference(Endpoint::Completions))
        .route("/embeddings", inference(Endpoint::Embeddings))
        .route("/me/rate_limit", only("GET", get(me::rate_limit)))
        .route("/models", only("GET", get(models::list)))
        .route("/models/{*id}", only("GET", get(models::retrieve)))
}

/// Another method gets a 405 in OpenAI's shape.
fn only(allowed: &'static str, route: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    route.fallback(
        move |State(app): State<Arc<App>>, request: Request<Body>| async move {
            let refusal = Refusal::MethodNotAllowed {
                method: request.method().to_string(),
                path: shown_path(&request),
                allowed,
            };
            edge::refuse_unread(&app, request, &refusal).await
        },
    )
}

/// Nothing is there.
pub async fn unknown_path(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let refusal = Refusal::UnknownPath {
        method: request.method().to_string(),
        path: shown_path(&request),
    };
    edge::refuse_unread(&app, request, &refusal).await
}

/// The path as the client wrote it: within a nest, axum strips the prefix.
fn shown_path(request: &Request<Body>) -> String {
    let whole = request.extensions().get::<OriginalUri>().map(|uri| uri.0.path());
    whole.unwrap_or(request.uri().path()).chars().take(200).collect()
}

/// Alive: the process answers.
async fn health() -> StatusCode {
    StatusCode::OK
}

/// Ready: requests should be sent here.
async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    match (app.is_ready(), app.draining.is_cancelled()) {
        (true, _) => (StatusCode::OK, "ready\n"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "no engine is up\n"),
    }
}
