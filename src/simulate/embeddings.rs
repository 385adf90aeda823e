//! Embeddings: unit vectors that follow from the tokens alone, as numbers or as base64 of little-endian f32.

use std::future::pending;

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::args::Settings;
use super::body::Ending;
use super::clock;
use super::prompt::Prompts;
use super::refusal::Refusal;
use super::script::{Ended, engine_died};
use super::ticket::Ticket;
use super::tokens::{Prompt, scatter};
use super::trouble::{FaultKind, Trouble, UsageQuirk};
use super::whole;

pub(super) const PATH: &str = "/v1/embeddings";

const MAX_DIMENSIONS: u64 = 4096;

/// A valid embeddings request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) prompts: Vec<Prompt>,
    dimensions: u64,
    base64: bool,
}

impl Request {
    pub(super) fn parse(body: &Value, settings: &Settings) -> Result<Request, Refusal> {
        let prompts = Prompts { settings, body }.of_input("input")?;
        let (size, most) = (prompts.len(), settings.max_batch_inputs);
        if most > 0 && size > most {
            return Err(Refusal::batch_too_large(size, most));
        }
        let dimensions = match body.get("dimensions") {
            None | Some(Value::Null) => settings.dimensions,
            Some(asked) => {
                let asked = asked
                    .as_u64()
                    .filter(|asked| (1..=MAX_DIMENSIONS).contains(asked));
                let message = format!("dimensions must be between 1 and {MAX_DIMENSIONS}");
                asked.ok_or_else(|| Refusal::bad("dimensions", message))?
            }
        };
        let base64 = match body.get("encoding_format").and_then(Value::as_str) {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                return Err(Refusal::bad(
                    "encoding_format",
                    "encoding_format must be float or base64",
                ));
            }
        };
        Ok(Request {
            prompts,
            dimensions,
            base64,
        })
    }

    pub(super) fn prompt_tokens(&self) -> u64 {
        self.prompts.iter().map(|prompt| prompt.tokens).sum()
    }
}

/// The answer. Faults of a stream strike an embedding whatever their number of tokens, as it has none.
pub(super) async fn answer(
    mut ticket: Ticket,
    request: &Request,
    id: &str,
    model: &str,
    trouble: &Trouble,
) -> Response {
    let data = request.prompts.iter().enumerate().map(|(index, prompt)| {
        let vector = unit_vector(prompt.digest, request.dimensions);
        let embedding = if request.base64 {
            json!(base64_of(&vector))
        } else {
            json!(vector)
        };
        json!({"index": index, "object": "embedding", "embedding": embedding})
    });
    let mut whole = json!({
        "id": format!("embd-{id}"),
        "object": "list",
        "created": clock::unix_seconds(),
        "model": model,
        "data": data.collect::<Vec<Value>>(),
    });
    if trouble.usage != UsageQuirk::Missing {
        let tokens = request.prompt_tokens();
        whole["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    }
    let mut text = whole.to_string();
    let length = HeaderValue::from(text.len());
    let mut ending = Ending::Clean(Ended::Sound);
    match trouble.fault.map(|fault| fault.kind) {
        None => {}
        Some(FaultKind::Stall) => return pending().await,
        Some(FaultKind::ErrorEvent { .. }) => {
            ticket.set_status(500);
            ticket.end(Ended::Broken);
            return engine_died().into_response();
        }
        Some(FaultKind::Malformed) => text = text.replace(':', ";"),
        Some(FaultKind::Cut) => {
            text.truncate(text.len() / 2);
            ending = Ending::Break;
        }
    }
    whole::respond(ticket, text.into(), length, trouble, ending)
}

fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

/// A vector of length one. Each value is exact in f32 before it is scaled, so the result is the same everywhere.
#[expect(
    clippy::float_arithmetic,
    reason = "an embedding is made of floats; no money comes near it"
)]
fn unit_vector(digest: u64, dimensions: u64) -> Vec<f32> {
    let raw: Vec<f32> = (0..dimensions)
        .map(|dimension| {
            let [low, high, ..] = scatter(digest ^ scatter(dimension)).to_le_bytes();
            f32::from(i16::from_le_bytes([low, high])) + 0.5
        })
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_follow_from_the_prompt() {
        for dimensions in [1, 7, 1024] {
            let vector = unit_vector(42, dimensions);
            let length: f32 = vector.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-4, "{length}");
            assert_eq!(vector, unit_vector(42, dimensions));
        }
        assert_ne!(unit_vector(42, 7), unit_vector(43, 7));
    }
}
