//! What farebox itself writes into an answer: the usage with its cost, and the event that ends a broken stream.

use crate::pipeline::meter::{StreamFault, UsageJson};
use crate::pipeline::settle::Receipt;
use crate::pipeline::usage::read_usage;
use bytes::Bytes;

/// The usage that is in the ledger, for the client. Where the engine's own object says the same, it is shown.
pub(in crate::pipeline) fn usage_json(receipt: &Receipt, engines: Option<&[u8]>) -> UsageJson {
    UsageJson {
        usage: receipt.usage,
        estimated_cost: receipt.cost.to_string(),
        engines_own: engines.and_then(read_usage) == Some(receipt.usage),
    }
}

/// The last event of a stream that broke. No `[DONE]` follows it. OpenAI's SDKs raise it as an `APIError`.
pub(in crate::pipeline) fn error_event(fault: StreamFault) -> Bytes {
    let (code, message) = match fault {
        StreamFault::Stalled | StreamFault::Overtime => (
            "engine_timeout",
            "the model stopped answering; what came before is incomplete",
        ),
        StreamFault::Shutdown => (
            "shutting_down",
            "this server is shutting down; the answer is incomplete",
        ),
        StreamFault::Broken
        | StreamFault::Incomplete
        | StreamFault::EngineError
        | StreamFault::Malformed
        | StreamFault::Oversized => ("engine_error", "the model failed before its answer was complete"),
    };
    event("api_error", code, message)
}

/// The last event of a stream whose entry could not be written.
pub(in crate::pipeline) fn ledger_error_event() -> Bytes {
    event(
        "api_error",
        "internal_error",
        "the answer could not be recorded; take it as incomplete",
    )
}

fn event(kind: &str, code: &str, message: &str) -> Bytes {
    let error = serde_json::json!({ "message": message, "type": kind, "param": null, "code": code });
    format!("data: {}\n\n", serde_json::json!({ "error": error })).into()
}
