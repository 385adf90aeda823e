//! Log probabilities, made up from the tokens: the shape is real, the numbers are not.

use serde_json::{Map, Value, json};

use super::request::Kind;
use super::text::word;
use super::tokens::hash_text;

/// Falling, as those of the best candidates do.
const LOGPROBS: [f64; 8] = [-0.0078125, -0.125, -0.5, -1.25, -2.5, -4.0, -6.75, -9.5];

/// The logprobs of `tokens`, which begin at the byte `offset` of the choice's text.
pub(super) fn render(kind: Kind, tokens: &[String], top: u64, offset: usize) -> Value {
    match kind {
        Kind::Chat => {
            let entries: Vec<Value> = tokens.iter().map(|token| chat_entry(token, top)).collect();
            json!({ "content": entries })
        }
        Kind::Completion => {
            let mut offsets = Vec::new();
            let mut next = offset;
            for token in tokens {
                offsets.push(next);
                next += token.len();
            }
            let numbers: Vec<f64> = tokens.iter().map(|token| logprob(token, 0)).collect();
            let alternatives: Vec<Value> = tokens.iter().map(|token| by_token(token, top)).collect();
            json!({
                "text_offset": offsets,
                "token_logprobs": numbers,
                "tokens": tokens,
                "top_logprobs": alternatives,
            })
        }
    }
}

fn chat_entry(token: &str, top: u64) -> Value {
    let alternatives = candidates(token, top).map(|(text, rank)| entry(text, logprob(token, rank)));
    let mut whole = entry(token, logprob(token, 0));
    whole["top_logprobs"] = alternatives.collect();
    whole
}

fn by_token(token: &str, top: u64) -> Value {
    let pairs = candidates(token, top).map(|(text, rank)| (text.to_owned(), json!(logprob(token, rank))));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

/// The token itself, then words that it might have been, with their ranks.
fn candidates(token: &str, top: u64) -> impl Iterator<Item = (&str, u64)> {
    let others = (1..top).map(|rank| (word(hash_text(token).wrapping_add(rank)).text, rank));
    std::iter::once((token, 0)).filter(move |_| top > 0).chain(others)
}

fn entry(text: &str, logprob: f64) -> Value {
    json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()})
}

fn logprob(token: &str, rank: u64) -> f64 {
    let index = (hash_text(token) % 3).saturating_add(rank).min(7);
    LOGPROBS[usize::try_from(index).unwrap_or(7)]
}
