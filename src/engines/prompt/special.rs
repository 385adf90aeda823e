//! The special tokens that a template may write by name, such as `bos_token`.
//!
//! A tokenizer.json says which tokens are special, and not which of them begins a text. That is in the
//! tokenizer_config.json which every model's folder has beside it, so it is read from there; keys of our own in
//! models.yaml would say the same a second time, and could be wrong.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The file's name, beside tokenizer.json.
pub(super) const CONFIG: &str = "tokenizer_config.json";

/// What a template cannot guess.
pub(super) const NEEDED: [&str; 2] = ["bos_token", "eos_token"];

/// Each token by the name that templates know it by. One that is null there is a token that the model has not.
pub(super) fn read(config: &[u8]) -> Result<BTreeMap<String, String>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Token {
        Text(String),
        Added { content: String },
    }
    let fields: BTreeMap<String, Value> = serde_json::from_slice(config)?;
    let named = fields.into_iter().filter(|(name, _)| name.ends_with("_token"));
    Ok(named
        .filter_map(|(name, value)| match serde_json::from_value(value).ok()? {
            Token::Text(content) | Token::Added { content } => Some((name, content)),
        })
        .collect())
}
