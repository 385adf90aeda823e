//! One event of a stream: what it says, read from its bytes without parsing what need not be parsed.
//!
//! Keys are found by their text, `"usage":` and the like. In JSON a quote inside a string is escaped, so such a
//! text can only be a key, whatever the model wrote.

use crate::pipeline::request::string_end;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ops::Range;
use std::sync::LazyLock;

macro_rules! key {
    ($name:ident, $text:literal) => {
        static $name: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(concat!("\"", $text, "\":")));
    };
}
key!(USAGE, "usage");
key!(FINISH_REASON, "finish_reason");
key!(CHOICES, "choices");
key!(CONTENT, "content");
key!(REASONING_CONTENT, "reasoning_content");
key!(REASONING, "reasoning");
key!(ARGUMENTS, "arguments");
key!(TEXT, "text");
key!(MODEL, "model");
key!(SERVICE_TIER, "service_tier");

/// What an event's data is, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// `[DONE]`
    Done,
    /// An object that begins with `error`, in OpenAI's shape or flat.
    Error,
    /// Another object.
    Chunk,
    /// Not an object.
    Rubbish,
}

/// Looks at an event's data.
pub fn kind_of(data: &[u8]) -> DataKind {
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return DataKind::Done;
    }
    let (Some(b'{'), Some(b'}')) = (data.first(), data.last()) else {
        return DataKind::Rubbish;
    };
    let first_key = data[1..].trim_ascii_start();
    let flat =
        || first_key.starts_with(b"\"object\"") && memchr::memmem::find(first_key, b"\"error\"").is_some();
    if first_key.starts_with(b"\"error\"") || (flat() && find(&CHOICES, data).is_none()) {
        DataKind::Error
    } else {
        DataKind::Chunk
    }
}

/// Where a key's value begins.
fn find(key: &Finder<'static>, data: &[u8]) -> Option<usize> {
    find_from(key, data, 0)
}

fn find_from(key: &Finder<'static>, data: &[u8], from: usize) -> Option<usize> {
    let found = key.find(data.get(from..)?)?;
    let value = from + found + key.needle().len();
    let spaces = data[value..]
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    Some(value + spaces)
}

/// A chunk's `usage`: where its value stands, and whether it is more than null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageField {
    /// The value.
    pub value: Range<usize>,
    /// Not null.
    pub is_object: bool,
}

/// Finds a chunk's usage.
pub fn usage_field(data: &[u8]) -> Option<UsageField> {
    let start = find(&USAGE, data)?;
    match data.get(start)? {
        b'{' => Some(UsageField {
            value: start..object_end(data, start)?,
            is_object: true,
        }),
        _ => Some(UsageField {
            value: null_at(data, start)?,
            is_object: false,
        }),
    }
}

/// The `null` that begins at `start`; a value that only begins like one is none.
fn null_at(data: &[u8], start: usize) -> Option<Range<usize>> {
    data[start..].starts_with(b"null").then_some(start..start + 4)
}

/// The field with its key and one comma: what must go so that the object still holds.
pub fn with_key_and_comma(data: &[u8], value: &Range<usize>) -> Option<Range<usize>> {
    let key_end = memchr::memrchr(b'"', &data[..value.start])?;
    let key_start = memchr::memrchr(b'"', &data[..key_end])?;
    let before = data[..key_start].trim_ascii_end();
    if before.last() == Some(&b',') {
        return Some(before.len() - 1..value.end);
    }
    let after = data[value.end..].trim_ascii_start();
    let comma = usize::from(after.first() == Some(&b','));
    Some(key_start..data.len() - after.len() + comma)
}

/// The position after the object that begins at `start`.
fn object_end(data: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(&byte) = data.get(at) {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            b'"' => at = string_end(data, at),
            _ => {}
        }
    }
    None
}

/// Whether a chunk has no choices: then it is there for its usage alone.
pub fn has_no_choices(data: &[u8]) -> bool {
    find(&CHOICES, data)
        .and_then(|start| data[start..].strip_prefix(b"["))
        .is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b']'))
}

/// A choice, in a chunk or in a whole answer.
#[derive(Deserialize)]
pub struct Choice<'a> {
    #[serde(default)]
    index: usize,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

impl Choice<'_> {
    /// Whether the engine gave it up, as vLLM says of what it has open when it shuts down: that is an answer cut short.
    pub fn is_given_up(&self) -> bool {
        self.finish_reason
            .is_some_and(|reason| reason.get() == "\"abort\"")
    }
}

/// What a chunk says of the ends of its choices.
#[derive(Debug, PartialEq, Eq)]
pub enum Finishes {
    /// The indexes of those that it finishes.
    Choices(Vec<usize>),
    /// The engine gave one up.
    GivenUp,
    /// It says that it finishes some, and cannot be read.
    Malformed,
}

/// Reads which choices a chunk finishes.
pub fn finishes(data: &[u8]) -> Finishes {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        choices: Vec<Choice<'a>>,
    }
    let mut from = 0;
    loop {
        let Some(value) = find_from(&FINISH_REASON, data, from) else {
            return Finishes::Choices(Vec::new());
        };
        if data.get(value) != Some(&b'n') {
            break;
        }
        from = value;
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
        return Finishes::Malformed;
    };
    if chunk.choices.iter().any(Choice::is_given_up) {
        return Finishes::GivenUp;
    }
    let finished = chunk
        .choices
        .iter()
        .filter(|choice| choice.finish_reason.is_some());
    Finishes::Choices(finished.map(|choice| choice.index).collect())
}

/// Whether a chunk brings a token: some text that is not empty.
pub fn brings_token(data: &[u8]) -> bool {
    [&CONTENT, &TEXT, &REASONING_CONTENT, &REASONING, &ARGUMENTS]
        .iter()
        .any(|key| {
            let value = find(key, data).map(|start| &data[start..]);
            value.is_some_and(|value| value.first() == Some(&b'"') && value.get(1) != Some(&b'"'))
        })
}

/// Where a chunk's `service_tier` stands: a text or null.
pub fn service_tier_value(data: &[u8]) -> Option<Range<usize>> {
    let start = find(&SERVICE_TIER, data)?;
    match data.get(start)? {
        b'"' => Some(start..string_end(data, start + 1)),
        _ => null_at(data, start),
    }
}

/// Where a chunk's `model` says `name`: the range of the name, without its quotes.
pub fn model_named(data: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let start = find(&MODEL, data)? + 1;
    let end = start + name.len();
    let is_it = data.get(start - 1) == Some(&b'"')
        && data.get(start..end) == Some(name)
        && data.get(end) == Some(&b'"');
    is_it.then_some(start..end)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kinds_of_data() {
        assert_eq!(kind_of(b"[DONE]"), DataKind::Done);
        assert_eq!(kind_of(br#"{"error":{"message":"x"}}"#), DataKind::Error);
        assert_eq!(kind_of(br#"{ "error" : "x"}"#), DataKind::Error);
        assert_eq!(kind_of(br#"{"object":"error","message":"x"}"#), DataKind::Error);
        assert_eq!(
            kind_of(br#"{"choices":[{"delta":{"content":"{\"error\":1}"}}]}"#),
            DataKind::Chunk
        );
        assert_eq!(
            kind_of(br#"{"object":"chunk","choices":[{"delta":{"content":"error"}}]}"#),
            DataKind::Chunk
        );
        assert_eq!(kind_of(b"<html>"), DataKind::Rubbish);
        assert_eq!(kind_of(br#"{"choices":["#), DataKind::Rubbish);
    }

    #[test]
    fn a_usage_goes_with_its_comma_wherever_it_stands() {
        let without = |text: &str| {
            let field = usage_field(text.as_bytes()).unwrap();
            let range = with_key_and_comma(text.as_bytes(), &field.value).unwrap();
            format!("{}{}", &text[..range.start], &text[range.end..])
        };
        assert_eq!(without(r#"{"a":1,"usage":{"b":{"c":2}}}"#), r#"{"a":1}"#);
        assert_eq!(without(r#"{"usage": null , "a":1}"#), r#"{ "a":1}"#);
        assert_eq!(without(r#"{"a":1, "usage":{"x":"}"},"b":2}"#), r#"{"a":1,"b":2}"#);
        assert_eq!(without(r#"{"usage":{}}"#), "{}");
    }

    #[test]
    fn what_a_model_writes_is_never_taken_for_a_key() {
        let text = serde_json::json!({"choices":[{"index":0,"delta":{"content":"\"usage\":{\"finish_reason\":\"stop\"}"},
            "finish_reason":null}]})
        .to_string();
        assert_eq!(usage_field(text.as_bytes()), None);
        assert_eq!(finishes(text.as_bytes()), Finishes::Choices(vec![]));
        assert!(brings_token(text.as_bytes()));
    }

    #[test]
    fn finished_choices_are_read_by_index() {
        for (chunk, finished) in [
            (
                r#"{"choices":[{"index":1,"finish_reason":null},{"index":4,"finish_reason":"stop"}]}"#,
                Finishes::Choices(vec![4]),
            ),
            (
                r#"{"choices":[{"finish_reason":"stop"}]}"#,
                Finishes::Choices(vec![0]),
            ),
            (
                r#"{"choices":[{"finish_reason":"abort"},{"index":1,"finish_reason":"length"}]}"#,
                Finishes::GivenUp,
            ),
            (r#"{"finish_reason":"stop"}"#, Finishes::Malformed),
        ] {
            assert_eq!(finishes(chunk.as_bytes()), finished, "{chunk}");
        }
    }

    #[test]
    fn a_model_is_found_only_if_it_is_the_one() {
        let data = br#"{"id":"x","model": "served","choices":[]}"#;
        assert_eq!(&data[model_named(data, b"served").unwrap()], b"served");
        assert_eq!(model_named(data, b"serve"), None);
        assert_eq!(model_named(br#"{"model":null}"#, b"served"), None);
    }

    #[test]
    fn a_value_that_only_begins_like_null_is_none() {
        for cut in [r#"{"usage":n}"#, r#"{"usage":nul"#, r#"{"usage":never}"#] {
            assert_eq!(usage_field(cut.as_bytes()), None, "{cut}");
        }
        assert_eq!(service_tier_value(br#"{"service_tier":n}"#), None);
    }

    const KEYS: [&str; 10] = [
        "usage",
        "finish_reason",
        "choices",
        "content",
        "text",
        "model",
        "service_tier",
        "error",
        "object",
        "x",
    ];

    /// Any bytes, or bytes of which JSON is made: the second finds what stands at the edge of a value.
    fn after_a_key() -> impl Strategy<Value = Vec<u8>> {
        let of_json = prop::sample::select(br#"{}[]",:\nul 1"#.to_vec());
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            prop::collection::vec(of_json, 0..12),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn no_bytes_make_it_panic(data in after_a_key(), key in prop::sample::select(KEYS.to_vec())) {
            let mut text = format!("{{\"{key}\":").into_bytes();
            text.extend_from_slice(&data);
            let _ = kind_of(&text);
            let _ = finishes(&text);
            let _ = brings_token(&text);
            let _ = has_no_choices(&text);
            let _ = model_named(&text, b"m");
            let _ = service_tier_value(&text).map(|range| text[range].len());
            if let Some(field) = usage_field(&text) {
                let _ = with_key_and_comma(&text, &field.value);
            }
        }
    }
}
