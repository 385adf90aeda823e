//! From a request's messages or input to prompts in tokens.

use serde_json::Value;

use super::args::Settings;
use super::refusal::Refusal;
use super::tokens::{Prompt, hash_text};

/// Where prompts are read from.
pub(super) struct Prompts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) body: &'a Value,
}

impl Prompts<'_> {
    /// The one prompt of a chat: the tools, then every message's role and content.
    pub(super) fn of_messages(&self) -> Result<Prompt, Refusal> {
        let messages = self.body.get("messages").and_then(Value::as_array);
        let messages = messages
            .filter(|messages| !messages.is_empty())
            .ok_or_else(|| Refusal::bad("messages", "messages must be a list of at least one message"))?;
        let mut text = String::new();
        if let Some(tools) = self.body.get("tools").filter(|tools| !tools.is_null()) {
            text.push_str(&tools.to_string());
        }
        for message in messages {
            let role = message.get("role").and_then(Value::as_str);
            let role = role.ok_or_else(|| Refusal::bad("messages", "every message needs a role"))?;
            text.push('<');
            text.push_str(role);
            text.push('>');
            append(&mut text, message.get("content").unwrap_or(&Value::Null));
            for field in ["tool_calls", "tool_call_id"] {
                append(&mut text, message.get(field).unwrap_or(&Value::Null));
            }
        }
        text.push_str("<assistant>");
        Ok(self.of_text(&text))
    }

    /// The prompts of a text, a list of texts, a list of tokens or a list of such lists.
    pub(super) fn of_input(&self, field: &'static str) -> Result<Vec<Prompt>, Refusal> {
        let bad = || {
            Refusal::bad(
                field,
                format!("{field} must be a text, a list of texts, or token ids"),
            )
        };
        let prompts = match self.body.get(field) {
            Some(Value::String(text)) => vec![self.of_text(text)],
            Some(Value::Array(items)) if items.first().is_some_and(Value::is_u64) => {
                vec![self.of_tokens(items).ok_or_else(bad)?]
            }
            Some(Value::Array(items)) => {
                let prompts = items.iter().map(|item| match item {
                    Value::String(text) => Some(self.of_text(text)),
                    Value::Array(tokens) => self.of_tokens(tokens),
                    _ => None,
                });
                prompts.collect::<Option<Vec<Prompt>>>().ok_or_else(bad)?
            }
            _ => return Err(bad()),
        };
        if prompts.is_empty() || prompts.iter().any(|prompt| prompt.tokens == 0) {
            return Err(Refusal::bad(field, format!("{field} must not be empty")));
        }
        Ok(prompts)
    }

    fn of_text(&self, text: &str) -> Prompt {
        Prompt::from_text(text, self.root(), self.settings.block_size)
    }

    fn of_tokens(&self, tokens: &[Value]) -> Option<Prompt> {
        let ids = tokens.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()?;
        Some(Prompt::from_tokens(
            ids.into_iter(),
            self.root(),
            self.settings.block_size,
        ))
    }

    /// Models and cache salts share no block of the prefix cache.
    fn root(&self) -> u64 {
        let text = |field| self.body.get(field).and_then(Value::as_str).unwrap_or_default();
        let model = text("model");
        let base = model.split_once('!').map_or(model, |(base, _)| base);
        hash_text(base) ^ hash_text(text("cache_salt")).rotate_left(1)
    }
}

/// Adds a content of any shape: a text as it is, the texts of a list's parts, anything else as its JSON.
fn append(text: &mut String, content: &Value) {
    match content {
        Value::Null => {}
        Value::String(content) => text.push_str(content),
        Value::Array(parts) => {
            for part in parts {
                append(text, part.get("text").unwrap_or(part));
            }
        }
        other => text.push_str(&other.to_string()),
    }
}

/// The output tokens that the context has room for; those that were asked for must fit.
pub(super) fn room(prompt: &Prompt, asked: Option<u64>, settings: &Settings) -> Result<u64, Refusal> {
    let most = match settings.max_model_len {
        0 => return Ok(u64::MAX),
        most => most,
    };
    let needed = prompt.tokens.saturating_add(asked.unwrap_or(1));
    if needed > most {
        let message = format!(
            "This model's maximum context length is {most} tokens. However, you requested {} output tokens and \
             your prompt contains {} input tokens, for a total of {needed} tokens.",
            asked.unwrap_or(1),
            prompt.tokens,
        );
        return Err(Refusal::bad("input_tokens", message));
    }
    Ok(most - prompt.tokens)
}
