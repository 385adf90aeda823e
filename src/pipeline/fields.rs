//! The fields of a request that farebox reads, and what each must be.

use crate::pipeline::request::StreamOptions;
use farebox_domain::ledger::Endpoint;
use farebox_domain::refusal::Refusal;
use farebox_domain::units::ServiceTier;
use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// OpenAI API: `n` is at most 128.
const MAX_CHOICES: usize = 128;
/// OpenAI API: `input` has at most 2048 entries.
const MAX_INPUTS: usize = 2048;

/// JSON's types, as the first byte of a value tells them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    Bool,
    List,
    Object,
}

impl Type {
    /// `None` for null.
    fn of(value: &RawValue) -> Option<Self> {
        match value.get().as_bytes().first() {
            Some(b'"') => Some(Self::Text),
            Some(b'[') => Some(Self::List),
            Some(b'{') => Some(Self::Object),
            Some(b't' | b'f') => Some(Self::Bool),
            Some(b'n') | None => None,
            Some(_) => Some(Self::Number),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// What OpenAI's fields are, null aside. What is not here is passed on unread.
const fn types_of(endpoint: Endpoint, field: &str) -> &'static [Type] {
    use Type::{Bool, List, Number, Object, Text};
    let chat = matches!(endpoint, Endpoint::ChatCompletions);
    match field.as_bytes() {
        b"model" | b"user" | b"encoding_format" | b"service_tier" | b"reasoning_effort" => &[Text],
        b"messages" | b"tools" => &[List],
        b"prompt" | b"input" | b"stop" => &[Text, List],
        b"stream" | b"fail_fast" | b"parallel_tool_calls" | b"store" | b"echo" => &[Bool],
        b"stream_options" | b"response_format" | b"logit_bias" | b"metadata" => &[Object],
        b"tool_choice" => &[Text, Object],
        b"logprobs" if chat => &[Bool],
        b"logprobs"
        | b"n"
        | b"max_tokens"
        | b"max_completion_tokens"
        | b"top_logprobs"
        | b"seed"
        | b"temperature"
        | b"top_p"
        | b"presence_penalty"
        | b"frequency_penalty"
        | b"dimensions"
        | b"best_of"
        | b"top_k"
        | b"min_p"
        | b"repetition_penalty" => &[Number],
        _ => &[],
    }
}

/// Refuses a known field of another type.
pub(in crate::pipeline) fn check_type(
    endpoint: Endpoint,
    field: &str,
    value: &RawValue,
) -> Result<(), Refusal> {
    let types = types_of(endpoint, field);
    let Some(found) = Type::of(value).filter(|_| !types.is_empty()) else {
        return Ok(());
    };
    if types.contains(&found) {
        return Ok(());
    }
    let expected: Vec<&str> = types.iter().map(|expected| expected.name()).collect();
    let message = format!(
        "`{field}` must be {}, not {}",
        expected.join(" or "),
        found.name()
    );
    Err(Refusal::invalid(message, Some(Cow::Owned(field.to_owned()))))
}

fn invalid(field: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::invalid(message, Some(Cow::Borrowed(field)))
}

/// A text that is not empty.
pub(in crate::pipeline) fn text(field: &'static str, value: &RawValue) -> Result<String, Refusal> {
    let text: String =
        serde_json::from_str(value.get()).map_err(|_| invalid(field, format!("`{field}` must be a text")))?;
    if text.is_empty() {
        return Err(invalid(field, format!("`{field}` is empty")));
    }
    Ok(text)
}

fn whole_number(field: &'static str, value: &RawValue, least: u64) -> Result<Option<u64>, Refusal> {
    if value.get() == "null" {
        return Ok(None);
    }
    let number: Option<u64> = serde_json::from_str(value.get()).ok();
    let shown: String = value.get().chars().take(24).collect();
    number.filter(|&number| number >= least).map(Some).ok_or_else(|| {
        invalid(
            field,
            format!("`{field}` must be a whole number of at least {least}, not {shown}"),
        )
    })
}

/// `max_tokens` and its successor. A plain completion may ask for none, to have its prompt echoed or scored.
pub(in crate::pipeline) fn max_tokens(
    field: &'static str,
    endpoint: Endpoint,
    value: &RawValue,
) -> Result<Option<u64>, Refusal> {
    whole_number(field, value, u64::from(endpoint == Endpoint::ChatCompletions))
}

/// `n`.
pub(in crate::pipeline) fn choices(value: &RawValue) -> Result<usize, Refusal> {
    let n = whole_number("n", value, 1)?.unwrap_or(1);
    usize::try_from(n)
        .ok()
        .filter(|&n| n <= MAX_CHOICES)
        .ok_or_else(|| invalid("n", format!("`n` is {n}, and may be at most {MAX_CHOICES}")))
}

/// `encoding_format`: whether it is base64.
pub(in crate::pipeline) fn encoding_format(value: &RawValue) -> Result<bool, Refusal> {
    match value.get() {
        "\"base64\"" => Ok(true),
        "\"float\"" | "null" => Ok(false),
        _ => Err(invalid(
            "encoding_format",
            "`encoding_format` must be \"float\" or \"base64\"",
        )),
    }
}

/// `service_tier`; `None` where it is null. OpenAI API: `auto` is what the project says, which here is `default`.
pub(in crate::pipeline) fn service_tier(value: &RawValue) -> Result<Option<ServiceTier>, Refusal> {
    let name: Option<Cow<'_, str>> = serde_json::from_str(value.get())
        .map_err(|_| invalid("service_tier", "`service_tier` must be a text"))?;
    let Some(name) = name else { return Ok(None) };
    let tier = match &*name {
        "auto" => Some(ServiceTier::Default),
        name => ServiceTier::parse(name),
    };
    tier.map(Some).ok_or_else(|| {
        let shown: String = name.chars().take(24).collect();
        let message = format!(
            "`service_tier` must be \"auto\", \"default\", \"priority\" or \"flex\", not {}",
            serde_json::Value::from(shown)
        );
        invalid("service_tier", message)
    })
}

/// `stream_options`.
pub(in crate::pipeline) fn stream_options(value: &RawValue) -> Result<StreamOptions, Refusal> {
    #[derive(Deserialize)]
    struct Options {
        include_usage: Option<bool>,
        continuous_usage_stats: Option<bool>,
    }
    let options: Option<Options> = serde_json::from_str(value.get()).map_err(|fault| {
        invalid(
            "stream_options",
            format!("`stream_options` does not hold: {fault}"),
        )
    })?;
    let flag = |read: fn(&Options) -> Option<bool>| options.as_ref().and_then(read).unwrap_or(false);
    Ok(StreamOptions {
        include_usage: flag(|options| options.include_usage),
        continuous_usage: flag(|options| options.continuous_usage_stats),
    })
}

/// What there is to know of a chat's messages.
pub(in crate::pipeline) struct MessagesRead {
    /// How many there are.
    pub(in crate::pipeline) count: usize,
    /// Whether all of their parts are text.
    pub(in crate::pipeline) are_text: bool,
}

/// Whether a content, which is a text or a list of parts, is text alone. What cannot be read is taken for something else.
fn is_text(content: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    if Type::of(content) != Some(Type::List) {
        return true;
    }
    let parts: Result<Vec<Part<'_>>, _> = serde_json::from_str(content.get());
    parts.is_ok_and(|parts| {
        parts
            .iter()
            .all(|part| matches!(&*part.kind, "text" | "input_text" | "output_text" | "refusal"))
    })
}

/// `messages`: at least one, and each an object with a role and no field of those read here twice.
pub(in crate::pipeline) fn messages(value: &RawValue) -> Result<MessagesRead, Refusal> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }

    /// What was read, and the fault of the first that does not hold.
    struct Messages;

    impl<'de> Visitor<'de> for Messages {
        type Value = MessagesRead;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of messages")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<MessagesRead, A::Error> {
            let (mut count, mut are_text) = (0, true);
            loop {
                let message: Option<Message<'de>> = list
                    .next_element()
                    .map_err(|fault| de::Error::custom(format_args!("messages[{count}]: {fault}")))?;
                let Some(message) = message else {
                    return Ok(MessagesRead { count, are_text });
                };
                if message.role.is_empty() {
                    return Err(de::Error::custom(format_args!(
                        "messages[{count}]: `role` is empty"
                    )));
                }
                if message
                    .content
                    .and_then(Type::of)
                    .is_some_and(|kind| !matches!(kind, Type::Text | Type::List))
                {
                    return Err(de::Error::custom(format_args!(
                        "messages[{count}]: `content` must be a text or a list of parts"
                    )));
                }
                are_text &= message.content.is_none_or(is_text);
                count += 1;
            }
        }
    }

    let mut reader = serde_json::Deserializer::from_str(value.get());
    let read = de::Deserializer::deserialize_seq(&mut reader, Messages).map_err(|fault| {
        let text = fault.to_string();
        // The position is within the list, and would mislead.
        let text = text.split(" at line ").next().unwrap_or(&text);
        let path = text
            .split(':')
            .next()
            .filter(|path| path.starts_with("messages["))
            .unwrap_or("messages");
        Refusal::invalid(text.to_owned(), Some(Cow::Owned(path.to_owned())))
    })?;
    if read.count == 0 {
        return Err(invalid(
            "messages",
            "`messages` is empty: send at least one message",
        ));
    }
    Ok(read)
}

/// `prompt` and `input`: a text, a list of texts, a list of tokens, or a list of such lists. Returns how many
/// prompts that is.
pub(in crate::pipeline) fn inputs(field: &'static str, value: &RawValue) -> Result<usize, Refusal> {
    let wrong = || {
        let kinds = "a text, a list of texts, a list of tokens or a list of such lists";
        invalid(field, format!("`{field}` must be {kinds}"))
    };
    let empty = || invalid(field, format!("`{field}` is empty, or has an empty entry"));
    // An empty prompt is one that a completion may have; an empty text has no embedding.
    let is_void = |text: &RawValue| field == "input" && text.get() == "\"\"";
    if Type::of(value) == Some(Type::Text) {
        return if is_void(value) { Err(empty()) } else { Ok(1) };
    }
    let entries: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| wrong())?;
    let kind = entries.first().and_then(|first| Type::of(first));
    if entries.iter().any(|entry| Type::of(entry) != kind) {
        return Err(wrong());
    }
    let are_tokens = |list: &RawValue| serde_json::from_str::<Vec<u32>>(list.get()).map_err(|_| wrong());
    let count = match kind {
        Some(Type::Text) if entries.iter().any(|entry| is_void(entry)) => return Err(empty()),
        Some(Type::Number) => usize::from(!are_tokens(value)?.is_empty()),
        Some(Type::List) => {
            for list in &entries {
                if are_tokens(list)?.is_empty() {
                    return Err(empty());
                }
            }
            entries.len()
        }
        Some(Type::Text | Type::Object) => entries.len(),
        Some(Type::Bool) => return Err(wrong()),
        None => 0,
    };
    match count {
        0 => Err(empty()),
        1..=MAX_INPUTS => Ok(count),
        _ => Err(invalid(
            field,
            format!("`{field}` has {count} entries, and may have at most {MAX_INPUTS}"),
        )),
    }
}
