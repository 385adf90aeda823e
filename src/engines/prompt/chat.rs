//! A chat's request body as a template sees it. Engines agree on most of it; where they do not, a [`Convention`] says how.

use super::template::{ChatTemplate, Variables};
use farebox_domain::catalog::EngineKind;
use indexmap::IndexMap;
use minijinja::value::{Value, ValueKind};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Variables that a request's `chat_template_kwargs` may not set: what an engine does with one that does is its own
/// affair.
const RESERVED: [&str; 9] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "tokenize",
    "bos_token",
    "eos_token",
];

/// An object, in the client's order.
type Fields = IndexMap<String, Value>;

/// How an engine reads a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Convention {
    /// As transformers' `apply_chat_template` does: vLLM, SGLang and whoever calls it.
    Transformers,
    /// As `llama-server` does.
    LlamaCpp,
}

impl Convention {
    pub(super) const fn of(kind: EngineKind) -> Self {
        match kind {
            EngineKind::LlamaCpp => Self::LlamaCpp,
            EngineKind::Vllm
            | EngineKind::Sglang
            | EngineKind::Trtllm
            | EngineKind::Ollama
            | EngineKind::Tei
            | EngineKind::Openai => Self::Transformers,
        }
    }
}

/// What of a chat's body a prompt is made of. A field that is there twice is nobody's to choose from: no count.
#[derive(Debug, Deserialize)]
pub(super) struct ChatBody {
    messages: Vec<Value>,
    tools: Option<Vec<Value>>,
    documents: Option<Value>,
    chat_template_kwargs: Option<BTreeMap<String, Value>>,
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
    add_special_tokens: Option<bool>,
    reasoning_effort: Option<Value>,
    /// A template of the client's own.
    chat_template: Option<Value>,
}

impl ChatBody {
    /// A template writes the special tokens itself.
    pub(super) fn adds_special_tokens(&self) -> bool {
        self.add_special_tokens.unwrap_or(false)
    }

    /// The template's variables, or nothing where they cannot be known.
    pub(super) fn variables(&self, convention: Convention, template: &ChatTemplate) -> Option<Variables> {
        if self.chat_template.is_some() || self.continue_final_message == Some(true) {
            return None;
        }
        let is_up_to_the_engine = match convention {
            Convention::Transformers => template.adds_to_safe,
            Convention::LlamaCpp => self.is_up_to_llama_cpp(template),
        };
        if is_up_to_the_engine {
            return None;
        }
        let messages = self
            .messages
            .iter()
            .map(|one| message(one, convention, template.takes_parts));
        let messages = messages.collect::<Option<Vec<Value>>>()?;
        let mut variables = Variables::new();
        variables.insert("messages".into(), Value::from(messages));
        let asks_for_answer = self.add_generation_prompt.unwrap_or(true);
        variables.insert("add_generation_prompt".into(), Value::from(asks_for_answer));
        let tools = self.tools(convention, template)?;
        match convention {
            Convention::LlamaCpp => {
                variables.extend(tools.map(|tools| ("tools".to_owned(), tools)));
                variables.insert("enable_thinking".into(), Value::from(true));
            }
            Convention::Transformers => {
                let or_none = |value: Option<Value>| value.unwrap_or(Value::from(()));
                variables.insert("tools".into(), or_none(tools));
                variables.insert("documents".into(), or_none(self.documents.clone()));
                let effort = self.reasoning_effort.clone();
                variables.extend(effort.map(|effort| ("reasoning_effort".to_owned(), effort)));
            }
        }
        for (name, value) in self.chat_template_kwargs.iter().flatten() {
            if RESERVED.contains(&name.as_str()) {
                return None;
            }
            variables.insert(name.clone(), value.clone());
        }
        Some(variables)
    }

    /// Where llama.cpp has rules for each family of models: an answer that the client began, an end without one, how
    /// hard to think, and all that it rewrites.
    fn is_up_to_llama_cpp(&self, template: &ChatTemplate) -> bool {
        let kwargs = self.chat_template_kwargs.as_ref();
        let sets = |name| kwargs.is_some_and(|kwargs| kwargs.contains_key(name));
        let last_role = self.messages.last().and_then(|last| last.get_attr("role").ok());
        template.llama_cpp_rewrites
            || last_role.is_some_and(|role| role.as_str() == Some("assistant"))
            || self.add_generation_prompt == Some(false)
            || self.reasoning_effort.is_some()
            || sets("reasoning_effort")
            || sets("preserve_reasoning")
    }

    /// The tools, if there are any.
    fn tools(&self, convention: Convention, template: &ChatTemplate) -> Option<Option<Value>> {
        let tools = self.tools.as_deref().unwrap_or_default();
        if tools.is_empty() {
            return Some(None);
        }
        if convention == Convention::LlamaCpp && !template.names("tools") {
            // It then describes them in words of its own.
            return None;
        }
        let tools = tools.iter().map(|one| tool(one, convention));
        let tools = tools.collect::<Option<Vec<Value>>>()?;
        Some(Some(Value::from(tools)))
    }
}

/// An object as a template's value.
pub(super) fn object(fields: Fields) -> Value {
    let entries = fields.into_iter().map(|(name, value)| (Value::from(name), value));
    Value::from(entries.collect::<IndexMap<Value, Value>>())
}

/// The entries of an object.
fn fields(value: &Value) -> Option<Fields> {
    if value.kind() != ValueKind::Map {
        return None;
    }
    let keys = value.try_iter().ok()?;
    keys.map(|key| Some((key.as_str()?.to_owned(), value.get_item(&key).ok()?)))
        .collect()
}

/// A message as templates expect it: a content always, null nowhere, and calls whose arguments are objects.
fn message(given: &Value, convention: Convention, takes_parts: bool) -> Option<Value> {
    let mut shown = Fields::new();
    for (name, value) in fields(given)? {
        let value = match name.as_str() {
            "role" => role(&value, convention)?,
            "content" => content(&value, convention, takes_parts)?,
            _ if value.is_none() => continue,
            // An answer that was spoken.
            "audio" => return None,
            "tool_calls" if value.len() == Some(0) => continue,
            "tool_calls" => calls(&value)?,
            _ => value,
        };
        shown.insert(name, value);
    }
    if !shown.contains_key("role") {
        return None;
    }
    shown.entry("content".into()).or_insert_with(|| Value::from(""));
    Some(object(shown))
}

fn role(role: &Value, convention: Convention) -> Option<Value> {
    match (role.as_str()?, convention) {
        ("developer", Convention::LlamaCpp) => Some(Value::from("system")),
        _ => Some(role.clone()),
    }
}

fn content(content: &Value, convention: Convention, takes_parts: bool) -> Option<Value> {
    match content.kind() {
        ValueKind::None => Some(Value::from("")),
        ValueKind::String => Some(content.clone()),
        ValueKind::Seq => {
            let texts = content.try_iter().ok()?.map(|part| text_of(&part));
            let texts = texts.collect::<Option<Vec<Value>>>()?;
            match (takes_parts, convention) {
                // Of templates that take both, llama.cpp joins some and not others.
                (true, Convention::LlamaCpp) if texts.len() > 1 => None,
                (true, _) => Some(parts(texts)),
                (false, _) => Some(joined(&texts)),
            }
        }
        _ => None,
    }
}

/// The text of a part; nothing for an image, a sound and what else there is.
fn text_of(part: &Value) -> Option<Value> {
    let kind = part.get_attr("type").ok()?;
    let text = match kind.as_str()? {
        "text" => part.get_attr("text").ok()?,
        "refusal" => part.get_attr("refusal").ok()?,
        _ => return None,
    };
    (text.kind() == ValueKind::String).then_some(text)
}

/// A part with a text in it.
pub(super) fn text_part(text: Value) -> Value {
    object(Fields::from([
        ("type".to_owned(), Value::from("text")),
        ("text".to_owned(), text),
    ]))
}

fn parts(texts: Vec<Value>) -> Value {
    texts.into_iter().map(text_part).collect()
}

fn joined(texts: &[Value]) -> Value {
    let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
    Value::from(texts.join("\n"))
}

/// Tool calls, with their arguments read: OpenAI's wire has them as text, templates take objects.
fn calls(calls: &Value) -> Option<Value> {
    let read = calls.try_iter().ok()?.map(|call| {
        let mut call = fields(&call)?;
        let mut function = fields(call.get("function")?)?;
        let arguments = match function.get("arguments") {
            Some(arguments) if !arguments.is_none() => match arguments.as_str() {
                Some("") => object(Fields::new()),
                Some(text) => serde_json::from_str(text).ok()?,
                None => arguments.clone(),
            },
            _ => object(Fields::new()),
        };
        function.insert("arguments".into(), arguments);
        call.insert("function".into(), object(function));
        Some(object(call))
    });
    read.collect::<Option<Vec<Value>>>().map(Value::from)
}

/// A tool in the order and with the fields that the engine's own types give it, whatever order the client chose.
fn tool(given: &Value, convention: Convention) -> Option<Value> {
    let given = fields(given)?;
    if given
        .get("type")
        .is_some_and(|kind| kind.as_str() != Some("function"))
    {
        return None;
    }
    let function = fields(given.get("function")?)?;
    let (no_description, no_parameters) = match convention {
        Convention::Transformers => (Value::from(()), Value::from(())),
        Convention::LlamaCpp => (Value::from(""), object(Fields::new())),
    };
    let field = |name: &str, otherwise: Value| function.get(name).cloned().unwrap_or(otherwise);
    let mut described = Fields::new();
    described.insert("name".into(), function.get("name")?.clone());
    described.insert("description".into(), field("description", no_description));
    described.insert("parameters".into(), field("parameters", no_parameters));
    let mut shown = Fields::new();
    shown.insert("type".into(), Value::from("function"));
    if convention == Convention::Transformers {
        described.extend(unknown(&function, &["name", "description", "parameters"]));
    }
    shown.insert("function".into(), object(described));
    if convention == Convention::Transformers {
        shown.extend(unknown(&given, &["type", "function"]));
    }
    Some(object(shown))
}

fn unknown(fields: &Fields, known: &[&str]) -> Vec<(String, Value)> {
    let unknown = fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    unknown
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
