//! HTTP in: the only code that knows axum and status codes.
//!
//! - [`listener`]: connections, with their timeouts; [`front`]: what is asked first; [`openai`]: the developer's routes; [`owner`]: those of who pays;
//!   [`admin`]: the operator's;
//! - [`dashboard`]: the pages for both, and `session`, who is signed in to them;
//! - [`peer`]: from where a request comes; `body`: a request's body, bounded and unpacked; [`error`]: every refusal's status, headers and JSON; `download`:
//!   answers that are no JSON.

pub mod listener;
pub mod front;
pub mod openai;
pub mod owner;
pub mod admin;
pub mod dashboard;
pub mod peer;
mod session;
mod caller;
mod body;
mod download;
pub mod error;

use crate::app::App;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

/// The routes of the public listener.
pub fn public_router(app: &Arc<App>) -> Router {
    let router = openai::router().fallback(openai::unknown_path);
    router
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(cors())
        .with_state(Arc::clone(app))
}

/// The routes of the admin listener: the dashboard's, and behind them the admin API's.
pub fn admin_router(app: &Arc<App>) -> Router {
    dashboard::router(Arc::clone(app)).fallback_service(admin::router(Arc::clone(app)))
}

/// Browsers may call from anywhere: a key is what lets a request in, and no cookie is read.
fn cors() -> CorsLayer {
    const EXPOSED: [&str; 8] = [
        "x-request-id",
        "openai-processing-ms",
        "retry-after",
        "retry-after-ms",
        "x-farebox-request-id",
        "x-farebox-next-page",
        "x-ratelimit-limit-concurrent",
        "x-ratelimit-remaining-concurrent",
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(Duration::from_secs(86_400))
}

/// A fault of farebox's own: what is said of it is a line in the log, and nothing to the client.
fn after_panic(_: Box<dyn std::any::Any + Send>) -> Response<axum::body::Body> {
    crate::telemetry::log::panicked("a request");
    let body =
        r#"{"error":{"message":"internal error","type":"api_error","param":null,"code":"internal_error"}}"#;
    let mut response = Response::new(axum::body::Body::from(body));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
