//! The developer's routes: OpenAI's, under `/v1` and under `/v1/openai` (DeepInfra's base), and a few of DeepInfra's; the
//! account owner's are put beside them.

pub(in crate::http) mod inference;
mod models;
mod me;
pub(in crate::http) mod edge;

use crate::app::App;
use crate::http::owner;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use axum::routing::{MethodRouter, get, post};
use farebox_domain::ledger::Endpoint;
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

/// OpenAI's base, and DeepInfra's. Routes are written out under each: a nest would cost every request a new URI.
const BASES: [&str; 2] = ["/v1", "/v1/openai"];

/// What is served by POST under each base.
const INFERENCE: [(&str, Endpoint); 3] = [
    ("/chat/completions", Endpoint::ChatCompletions),
    ("/completions", Endpoint::Completions),
    ("/embeddings", Endpoint::Embeddings),
];

/// The endpoint whose route this path is.
pub(in crate::http) fn inference_at(path: &str) -> Option<Endpoint> {
    let under = BASES.iter().rev().find_map(|base| path.strip_prefix(base))?;
    let (_, endpoint) = INFERENCE.iter().find(|(route, _)| *route == under)?;
    Some(*endpoint)
}

/// Every route of the public listener.
pub fn router() -> Router<Arc<App>> {
    let health = Router::new()
        .route("/health", only("GET", get(health)))
        .route("/ready", only("GET", get(ready)));
    BASES.into_iter().fold(health, with_base)
}

/// The same routes under one base.
pub(in crate::http) fn with_base(router: Router<Arc<App>>, base: &str) -> Router<Arc<App>> {
    let inference = |endpoint: Endpoint| {
        let handler = move |State(app): State<Arc<App>>, request: Request<Body>| async move {
            inference::serve(&app, endpoint, request).await
        };
        only("POST", post(handler))
    };
    let at = |path: &str| format!("{base}{path}");
    let router = owner::routes()
        .into_iter()
        .fold(router, |router, (method, path, handler)| {
            router.route(&at(path), only(method, handler))
        });
    INFERENCE
        .into_iter()
        .fold(router, |router, (path, endpoint)| {
            router.route(&at(path), inference(endpoint))
        })
        .route(&at("/models"), only("GET", get(models::list)))
        .route(&at("/models/{*id}"), only("GET", get(models::retrieve)))
        .route(&at("/me/rate_limit"), only("GET", get(me::rate_limit)))
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

fn shown_path(request: &Request<Body>) -> String {
    request.uri().path().chars().take(200).collect()
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
