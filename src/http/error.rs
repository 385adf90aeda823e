//! Every refusal's status, headers and JSON. Status codes are decided here and nowhere else.
//!
//! OpenAI API: `{"error": {"message", "type", "param", "code"}}`, all four always. The SDKs retry 408, 409, 429
//! and 5xx unless `x-should-retry` says otherwise, and wait as `retry-after-ms` or `retry-after` says.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use farebox_domain::refusal::Refusal;
use std::time::Duration;

static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
static LIMIT_CONCURRENT: HeaderName = HeaderName::from_static("x-ratelimit-limit-concurrent");
static REMAINING_CONCURRENT: HeaderName = HeaderName::from_static("x-ratelimit-remaining-concurrent");
/// When a client over its cap may come back: a request of its own must end first, and nobody knows when.
const CAP_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The status of a refusal.
pub fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::InvalidRequest { .. } | Refusal::ContextLengthExceeded { .. } => StatusCode::BAD_REQUEST,
        Refusal::InvalidApiKey(_) => StatusCode::UNAUTHORIZED,
        Refusal::CeilingReached { .. } | Refusal::TokenSpent { .. } => StatusCode::PAYMENT_REQUIRED,
        Refusal::ScopeNotAllowed(_)
        | Refusal::ModelNotAllowed(_)
        | Refusal::IpNotAllowed(_)
        | Refusal::KeyNotAllowed(_) => StatusCode::FORBIDDEN,
        Refusal::ModelNotFound(_) | Refusal::NotFound(_) | Refusal::UnknownPath { .. } => {
            StatusCode::NOT_FOUND
        }
        Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::RequestTimeout(_) => StatusCode::REQUEST_TIMEOUT,
        Refusal::RequestTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::ConcurrencyLimit { .. } | Refusal::RateLimit(_) | Refusal::EngineOverloaded { .. } => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Refusal::EngineRefused { status, .. } => {
            StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST)
        }
        Refusal::EngineError(_) => StatusCode::BAD_GATEWAY,
        Refusal::NoEngineAvailable { .. } | Refusal::LedgerUnavailable { .. } | Refusal::ShuttingDown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Refusal::EngineTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The `type` of a refusal. `engine_overloaded` has DeepInfra's (FACTS.md); money that is out, OpenAI's.
fn type_of(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::EngineRefused { kind: Some(kind), .. } => kind,
        Refusal::ConcurrencyLimit { .. } | Refusal::RateLimit(_) => "rate_limit_error",
        Refusal::CeilingReached { .. } | Refusal::TokenSpent { .. } => "insufficient_quota",
        Refusal::EngineError(_)
        | Refusal::NoEngineAvailable { .. }
        | Refusal::LedgerUnavailable { .. }
        | Refusal::EngineTimeout(_)
        | Refusal::ShuttingDown
        | Refusal::Internal(_) => "api_error",
        Refusal::InvalidRequest { .. }
        | Refusal::ContextLengthExceeded { .. }
        | Refusal::InvalidApiKey(_)
        | Refusal::ScopeNotAllowed(_)
        | Refusal::ModelNotAllowed(_)
        | Refusal::IpNotAllowed(_)
        | Refusal::KeyNotAllowed(_)
        | Refusal::ModelNotFound(_)
        | Refusal::NotFound(_)
        | Refusal::UnknownPath { .. }
        | Refusal::MethodNotAllowed { .. }
        | Refusal::UnsupportedMediaType(_)
        | Refusal::RequestTooLarge { .. }
        | Refusal::RequestTimeout(_)
        | Refusal::EngineOverloaded { .. }
        | Refusal::EngineRefused { .. } => "invalid_request_error",
    }
}

fn param_of(refusal: &Refusal) -> Option<&str> {
    match refusal {
        Refusal::InvalidRequest { param, .. } => param.as_deref(),
        Refusal::ContextLengthExceeded { field, .. } => Some(field),
        Refusal::ModelNotFound(_) | Refusal::ModelNotAllowed(_) => Some("model"),
        Refusal::EngineRefused { param, .. } => param.as_deref(),
        _ => None,
    }
}

fn retry_after(refusal: &Refusal) -> Option<Duration> {
    match refusal {
        Refusal::ConcurrencyLimit { .. } => Some(CAP_RETRY_AFTER),
        Refusal::RateLimit(met) => Some(met.retry_after),
        Refusal::EngineOverloaded { retry_after }
        | Refusal::LedgerUnavailable { retry_after }
        | Refusal::NoEngineAvailable { retry_after, .. } => Some(*retry_after),
        Refusal::ShuttingDown => Some(CAP_RETRY_AFTER),
        _ => None,
    }
}

/// The code that the client is shown.
fn code_of(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::EngineRefused { code: Some(code), .. } => code,
        Refusal::EngineRefused { code: None, .. } => "invalid_request_error",
        _ => refusal.code(),
    }
}

/// The answer.
pub fn response_of(refusal: &Refusal) -> Response<Body> {
    let error = serde_json::json!({ "error": {
        "message": refusal.to_string(),
        "type": type_of(refusal),
        "param": param_of(refusal),
        "code": code_of(refusal),
    }});
    let mut response = Response::new(Body::from(error.to_string()));
    *response.status_mut() = status_of(refusal);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = retry_after(refusal) {
        let whole_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds));
        headers.insert(
            RETRY_AFTER_MS.clone(),
            HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(0)),
        );
    }
    match refusal {
        Refusal::ConcurrencyLimit { in_flight, limit, .. } => {
            headers.insert(LIMIT_CONCURRENT.clone(), HeaderValue::from(*limit));
            headers.insert(
                REMAINING_CONCURRENT.clone(),
                HeaderValue::from(limit.saturating_sub(*in_flight)),
            );
        }
        Refusal::CeilingReached { .. } | Refusal::TokenSpent { .. } => {
            headers.insert(SHOULD_RETRY.clone(), HeaderValue::from_static("false"));
        }
        Refusal::MethodNotAllowed { allowed, .. } => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        Refusal::InvalidApiKey(_) => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}
