//! An engine's own error about the request, read from whatever shape it has (FACTS.md, "Engines": error body).

use farebox_domain::refusal::Refusal;
use serde::Deserialize;
use serde_json::Value;

/// Bytes of an error that are read.
pub const LIMIT_BYTES: usize = 256 << 10;

#[derive(Deserialize, Default)]
struct Fields {
    message: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    param: Option<String>,
    code: Option<Value>,
}

/// `{"error": {...}}`, `{"error": "..."}`, flat, or FastAPI's `{"detail": ...}`.
#[derive(Deserialize)]
struct Body {
    error: Option<Value>,
    detail: Option<Value>,
    #[serde(flatten)]
    flat: Fields,
}

/// What the engine said, as a refusal.
pub fn refusal_of(status: u16, body: &[u8]) -> Refusal {
    let read: Option<Body> = serde_json::from_slice(body).ok();
    let fields = read.map(fields_of).unwrap_or_default();
    let own_code = fields
        .code
        .as_ref()
        .and_then(|code| code.as_str().map(str::to_owned));
    let code = own_code.or_else(|| is_about_length(&fields).then(|| "context_length_exceeded".to_owned()));
    Refusal::EngineRefused {
        status,
        code,
        message: fields
            .message
            .unwrap_or_else(|| "the model refused the request".to_owned()),
        kind: fields.kind,
        param: fields.param,
    }
}

/// Whether the prompt was too long. Engines say it in their own words (llama.cpp: `exceed_context_size_error`;
/// vLLM and SGLang: "maximum context length"), and OpenAI's clients look for OpenAI's code.
fn is_about_length(fields: &Fields) -> bool {
    let message = fields.message.as_deref().unwrap_or_default();
    fields.kind.as_deref() == Some("exceed_context_size_error")
        || message.contains("context length")
        || message.contains("context size")
}

fn fields_of(body: Body) -> Fields {
    match (body.error, body.detail) {
        (Some(Value::String(message)), _) | (None, Some(Value::String(message))) => Fields {
            message: Some(message),
            ..body.flat
        },
        (Some(error), _) => serde_json::from_value(error).unwrap_or_default(),
        (None, Some(Value::Array(faults))) => from_fastapi(&faults),
        (None, _) => body.flat,
    }
}

/// `[{"loc": ["body", "messages"], "msg": "..."}]`
fn from_fastapi(faults: &[Value]) -> Fields {
    let Some(first) = faults.first() else {
        return Fields::default();
    };
    let place = first["loc"].as_array().map(|loc| {
        let parts = loc
            .iter()
            .skip(1)
            .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
        parts.collect::<Vec<_>>().join(".")
    });
    Fields {
        message: first["msg"].as_str().map(str::to_owned),
        param: place,
        ..Fields::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> String {
        match refusal_of(400, body.as_bytes()) {
            Refusal::EngineRefused {
                message, param, code, ..
            } => format!("{message}|{param:?}|{code:?}"),
            other => other.to_string(),
        }
    }

    #[test]
    fn every_shape_of_an_engines_error_is_read() {
        assert_eq!(
            read(r#"{"error":{"message":"m","param":"p","code":400}}"#),
            r#"m|Some("p")|None"#
        );
        assert_eq!(
            read(r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#),
            r#"m|None|Some("context_length_exceeded")"#
        );
        assert_eq!(read(r#"{"error":"m"}"#), "m|None|None");
        assert_eq!(
            read(r#"{"message":"m","type":"BadRequest","code":400}"#),
            "m|None|None"
        );
        assert_eq!(read(r#"{"detail":"m"}"#), "m|None|None");
        assert_eq!(
            read(r#"{"detail":[{"loc":["body","messages"],"msg":"m"}]}"#),
            r#"m|Some("messages")|None"#
        );
        let long = r#"{"error":{"message":"maximum context length is 4096 tokens","code":400}}"#;
        assert!(read(long).ends_with(r#"Some("context_length_exceeded")"#));
        assert_eq!(read("<html>"), "the model refused the request|None|None");
    }
}
