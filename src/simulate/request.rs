//! A generation request, read from its JSON: what is to be produced, and in which form.

use std::sync::Arc;

use serde_json::Value;

use super::args::Settings;
use super::choice::{Choice, Reason};
use super::prompt::{self, Prompts};
use super::refusal::Refusal;
use super::schema;
use super::text::{Fixed, Source};
use super::tokens::{Prompt, scatter};

const MAX_CHOICES: u64 = 128;
const MAX_TOP_LOGPROBS: u64 = 20;

/// Which of the two generation endpoints was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

impl Kind {
    pub(super) fn path(self) -> &'static str {
        match self {
            Kind::Chat => "/v1/chat/completions",
            Kind::Completion => "/v1/completions",
        }
    }
}

/// A valid generation request.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) kind: Kind,
    pub(super) prompts: Vec<Prompt>,
    /// Those of the first prompt, then those of the second.
    pub(super) choices: Vec<Choice>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
    /// Alternatives a token; `None` without logprobs.
    pub(super) top_logprobs: Option<u64>,
}

impl Generation {
    pub(super) fn prompt_tokens(&self) -> u64 {
        self.prompts.iter().map(|prompt| prompt.tokens).sum()
    }

    /// Reads the request's fields.
    pub(super) fn parse(kind: Kind, body: &Value, settings: &Settings) -> Result<Generation, Refusal> {
        let prompts = Prompts { settings, body };
        let prompts = match kind {
            Kind::Chat => vec![prompts.of_messages()?],
            Kind::Completion => prompts.of_input("prompt")?,
        };
        let stream = flag(body, "stream")?;
        let options = body.get("stream_options").filter(|options| !options.is_null());
        if options.is_some() && !stream {
            let message = "Stream options can only be defined when `stream=True`.";
            return Err(Refusal::bad("stream_options", message));
        }
        let include_usage = options.is_some_and(|options| is_true(options, "include_usage"));
        let continuous = options.is_some_and(|options| is_true(options, "continuous_usage_stats"));
        let choices = choices(kind, body, &prompts, settings)?;
        let top_logprobs = top_logprobs(kind, body)?;
        let continuous_usage = include_usage && continuous;
        Ok(Generation {
            kind,
            prompts,
            choices,
            stream,
            include_usage,
            continuous_usage,
            top_logprobs,
        })
    }
}

fn choices(
    kind: Kind,
    body: &Value,
    prompts: &[Prompt],
    settings: &Settings,
) -> Result<Vec<Choice>, Refusal> {
    let n = count(body, "n")?.unwrap_or(1);
    if n > MAX_CHOICES {
        return Err(Refusal::bad("n", format!("n must be at most {MAX_CHOICES}")));
    }
    let asked = match count(body, "max_completion_tokens")? {
        Some(most) => Some(most),
        None => count(body, "max_tokens")?,
    };
    let spoken = fixed_text(kind, body)?;
    let mut choices = Vec::new();
    for prompt in prompts {
        let room = prompt::room(prompt, asked, settings)?;
        for number in 0..n {
            let state = scatter(settings.seed ^ scatter(prompt.digest ^ number));
            choices.push(match &spoken {
                Some(spoken) => spoken.choice(prompt.tokens, asked.unwrap_or(room)),
                None => Choice {
                    prompt_tokens: prompt.tokens,
                    source: Source::Words { state },
                    tool: None,
                    produced: 0,
                    limit: asked.unwrap_or(room.min(settings.default_output_tokens)),
                    reason: if asked.is_some() {
                        Reason::Length
                    } else {
                        Reason::Stop
                    },
                },
            });
        }
    }
    Ok(choices)
}

/// A text that the request prescribes: the arguments of a tool, or JSON after a schema.
struct Spoken {
    text: Arc<Fixed>,
    tool: Option<String>,
}

impl Spoken {
    fn new(value: &Value, tool: Option<&str>) -> Spoken {
        Spoken {
            text: Arc::new(Fixed::new(&value.to_string())),
            tool: tool.map(str::to_owned),
        }
    }

    fn choice(&self, prompt_tokens: u64, most: u64) -> Choice {
        // A tool's name is a token of its own.
        let whole = self.text.len() + u64::from(self.tool.is_some());
        let reason = match self.tool {
            _ if most < whole => Reason::Length,
            Some(_) => Reason::ToolCalls,
            None => Reason::Stop,
        };
        Choice {
            prompt_tokens,
            source: Source::Fixed {
                text: Arc::clone(&self.text),
                next: 0,
            },
            tool: self.tool.clone(),
            produced: 0,
            limit: whole.min(most),
            reason,
        }
    }
}

fn fixed_text(kind: Kind, body: &Value) -> Result<Option<Spoken>, Refusal> {
    if kind == Kind::Chat
        && let Some(name) = forced_tool(body)
    {
        let tools = body.get("tools").and_then(Value::as_array);
        let functions = tools
            .into_iter()
            .flatten()
            .filter_map(|tool| tool.get("function"));
        let mut named = functions.filter_map(|function| Some((function.get("name")?.as_str()?, function)));
        let (name, function) = named
            .find(|(candidate, _)| name.is_none_or(|name| name == *candidate))
            .ok_or_else(|| Refusal::bad("tool_choice", "the chosen tool is not in `tools`"))?;
        let arguments = match function.get("parameters") {
            Some(parameters) => schema::satisfy(parameters),
            None => Value::Object(serde_json::Map::new()),
        };
        return Ok(Some(Spoken::new(&arguments, Some(name))));
    }
    let Some(format) = body.get("response_format") else {
        return Ok(None);
    };
    match format.get("type").and_then(Value::as_str) {
        Some("json_object") => Ok(Some(Spoken::new(
            &serde_json::json!({"answer": "größe 世界", "ok": true}),
            None,
        ))),
        Some("json_schema") => {
            let schema = format
                .pointer("/json_schema/schema")
                .ok_or_else(|| Refusal::bad("response_format", "json_schema needs a schema"))?;
            Ok(Some(Spoken::new(&schema::satisfy(schema), None)))
        }
        _ => Ok(None),
    }
}

/// `Some(None)`: any tool; `Some(Some(name))`: that one; `None`: the text is free.
fn forced_tool(body: &Value) -> Option<Option<&str>> {
    let choice = body.get("tool_choice")?;
    if choice.as_str() == Some("required") {
        return Some(None);
    }
    choice.pointer("/function/name").and_then(Value::as_str).map(Some)
}

fn top_logprobs(kind: Kind, body: &Value) -> Result<Option<u64>, Refusal> {
    let top = match kind {
        Kind::Completion => match body.get("logprobs") {
            None | Some(Value::Null) => return Ok(None),
            Some(top) => top.as_u64(),
        },
        Kind::Chat if !flag(body, "logprobs")? => return Ok(None),
        Kind::Chat => match body.get("top_logprobs") {
            None | Some(Value::Null) => Some(0),
            Some(top) => top.as_u64(),
        },
    };
    let top = top.filter(|top| *top <= MAX_TOP_LOGPROBS);
    let message = format!("logprobs must be a whole number of at most {MAX_TOP_LOGPROBS}");
    top.map(Some).ok_or_else(|| Refusal::bad("logprobs", message))
}

/// A whole number of at least one, if the field is there.
fn count(body: &Value, field: &'static str) -> Result<Option<u64>, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(Refusal::bad(
                field,
                format!("{field} must be at least 1, got {value}."),
            )),
        },
    }
}

fn flag(body: &Value, field: &'static str) -> Result<bool, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::bad(field, format!("{field} must be true or false"))),
    }
}

fn is_true(options: &Value, field: &str) -> bool {
    options.get(field).and_then(Value::as_bool).unwrap_or(false)
}
