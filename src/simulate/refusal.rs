//! What the engine says no with, in vLLM's shape: `{"error":{"message","type","param","code":400}}`.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A request that is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<&'static str>,
}

impl Refusal {
    /// The request is at fault, in the field `param`.
    pub(super) fn bad(param: &'static str, message: impl Into<String>) -> Refusal {
        let (status, kind) = (StatusCode::BAD_REQUEST, "BadRequestError");
        Refusal {
            status,
            message: message.into(),
            kind,
            param: Some(param),
        }
    }

    /// The body is no JSON object.
    pub(super) fn not_json(message: impl Into<String>) -> Refusal {
        Refusal {
            param: None,
            ..Refusal::bad("", message)
        }
    }

    /// Text Embeddings Inference's words, and its status.
    pub(super) fn batch_too_large(size: usize, most: usize) -> Refusal {
        let message = format!("batch size {size} > maximum allowed batch size {most}");
        Refusal::with_status(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(super) fn unknown_model(model: &str) -> Refusal {
        let message = format!("The model `{model}` does not exist.");
        Refusal {
            status: StatusCode::NOT_FOUND,
            message,
            kind: "NotFoundError",
            param: Some("model"),
        }
    }

    pub(super) fn queue_full() -> Refusal {
        let message = "The engine's queue is full.".to_owned();
        Refusal::with_status(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// A failure of the engine's own.
    pub(super) fn with_status(status: StatusCode, message: String) -> Refusal {
        let kind = match status.as_u16() {
            429 => "TooManyRequestsError",
            503 => "ServiceUnavailableError",
            500.. => "InternalServerError",
            _ => "BadRequestError",
        };
        Refusal {
            status,
            message,
            kind,
            param: None,
        }
    }

    pub(super) fn body(&self) -> String {
        let code = self.status.as_u16();
        let error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": code});
        json!({ "error": error }).to_string()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, [(CONTENT_TYPE, "application/json")], self.body()).into_response()
    }
}
