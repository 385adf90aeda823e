//! A completion's or an embedding's request body: its texts, or the tokens that the client made of them.

use minijinja::value::Value;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What of a body a prompt is made of. vLLM's `add_special_tokens: false` is not looked at: with it a count is one or
/// two tokens too high, and an engine that does not know it would have them.
#[derive(Debug, Deserialize)]
pub(super) struct TextBody<'a> {
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    /// What comes after the gap that is to be filled: each model has tokens of its own around it.
    suffix: Option<Value>,
    /// Vectors in place of a text.
    prompt_embeds: Option<Value>,
}

/// The texts of a body, or the tokens that a client made of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    Text(String),
    Tokens(Vec<u32>),
    List(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

impl TextBody<'_> {
    /// What the field says.
    pub(super) fn texts(&self, field: &str) -> Option<Texts> {
        if self.suffix.is_some() || self.prompt_embeds.is_some() {
            return None;
        }
        let value = match field {
            "prompt" => self.prompt,
            "input" => self.input,
            _ => None,
        };
        serde_json::from_str(value?.get()).ok()
    }
}
