//! Reading a request: one pass over its top level, and only as deep as farebox needs to know.
//!
//! What does not hold is refused here, before anything is spent, and names its field. What holds keeps its bytes:
//! an engine is sent the client's own, with the edits of `edits.rs`.

use bytes::Bytes;
use farebox_domain::ledger::Endpoint;
use farebox_domain::refusal::Refusal;
use farebox_domain::units::ServiceTier;
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::pipeline::edits;
use crate::pipeline::fields::{self, check_type};

/// Arrays and objects inside each other. Tool schemas nest; nothing honest nests this deep.
const MAX_DEPTH: usize = 128;
/// Fields at the top level. OpenAI's chat request has about forty.
const MAX_FIELDS: usize = 256;

/// A request that holds.
#[derive(Debug, Clone)]
pub struct InferenceRequest {
    /// By which route it came.
    pub endpoint: Endpoint,
    /// The client's bytes.
    pub body: Bytes,
    /// The model that it names.
    pub model: String,
    /// Whether it asks for a stream.
    pub stream: bool,
    /// Choices that the answer will have: `n` for each prompt.
    pub choices: usize,
    /// `max_completion_tokens` or `max_tokens`, and which of them.
    pub max_tokens: Option<(&'static str, u64)>,
    /// Prompts: one for a chat, as many as there are texts or lists of tokens elsewhere.
    pub prompts: usize,
    /// Messages of a chat.
    pub messages: usize,
    /// Whether all of a chat's parts are text.
    pub is_text: bool,
    /// Whether a chat brings tools.
    pub has_tools: bool,
    /// Tokens that each choice may have, where an engine must be told and the client does not say it.
    pub output_cap: Option<u64>,
    /// What the client asks of a stream's usage.
    pub stream_options: StreamOptions,
    /// The tier that it asks for; once it is admitted, the one that it is billed in.
    pub service_tier: ServiceTier,
    /// Whether the client named a tier, and so is shown the one that it is billed in.
    pub shows_service_tier: bool,
    /// `fail_fast`: not to wait where every engine is full.
    pub fail_fast: bool,
    /// `encoding_format: base64`, for embeddings.
    pub wants_base64: bool,
    /// The salt that an engine is to keep this prompt apart by in its cache, where farebox keeps accounts apart.
    pub cache_salt: Option<String>,
    /// Where the prompt stands: `messages`, `prompt` or `input`.
    pub(in crate::pipeline) prompt_range: Range<usize>,
    /// What is part of the prompt besides: tools, and what its template is given.
    pub(in crate::pipeline) head_ranges: Vec<Range<usize>>,
    /// Where `cache_salt`'s value stands, if it is there.
    pub(in crate::pipeline) cache_salt_range: Option<Range<usize>>,
    /// Where `prompt_cache_key`'s value stands, if it is there.
    pub(in crate::pipeline) cache_key_range: Option<Range<usize>>,
    /// Where `model`'s value stands in the body.
    pub(in crate::pipeline) model_range: Range<usize>,
    /// Where `max_tokens`' value stands, if it is there and null.
    pub(in crate::pipeline) null_max_tokens_range: Option<Range<usize>>,
    /// Where `service_tier`'s value stands, if it is there.
    pub(in crate::pipeline) service_tier_range: Option<Range<usize>>,
    /// Where `stream_options`' value stands, if it is there.
    pub(in crate::pipeline) stream_options_range: Option<Range<usize>>,
}

/// `stream_options`, as the client gave it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// `include_usage`. False, absent and null are the same: the stream is metered all the same.
    pub include_usage: bool,
    /// vLLM's `continuous_usage_stats`.
    pub continuous_usage: bool,
}

/// A field of the top level: its name and its value's text, borrowed from the body.
type Field<'a> = (Cow<'a, str>, &'a RawValue);

impl InferenceRequest {
    /// How long its prompt is, as it came.
    pub(in crate::pipeline) fn prompt_bytes(&self) -> u64 {
        let ranges = self.head_ranges.iter().chain([&self.prompt_range]);
        u64::try_from(ranges.map(ExactSizeIterator::len).sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// Reads a body, or says which field does not hold.
    pub fn read(endpoint: Endpoint, body: Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(&body).map_err(|fault| {
            Refusal::invalid(
                format!("the body is not UTF-8 at byte {}", fault.valid_up_to()),
                None,
            )
        })?;
        check_depth(text)?;
        let Fields(found) = serde_json::from_str(text).map_err(|fault| not_json(&fault))?;
        let mut read = Self {
            endpoint,
            body: Bytes::new(),
            model: String::new(),
            stream: false,
            choices: 1,
            max_tokens: None,
            prompts: 1,
            messages: 0,
            is_text: true,
            has_tools: false,
            output_cap: None,
            null_max_tokens_range: None,
            stream_options: StreamOptions::default(),
            service_tier: ServiceTier::Default,
            shows_service_tier: false,
            service_tier_range: None,
            fail_fast: false,
            wants_base64: false,
            cache_salt: None,
            prompt_range: 0..0,
            head_ranges: Vec::new(),
            cache_salt_range: None,
            cache_key_range: None,
            model_range: 0..0,
            stream_options_range: None,
        };
        let mut n = 1;
        let (mut prompts, mut fail_fast) = (None, None);
        for (name, value) in &found {
            check_type(endpoint, name, value)?;
            match (&**name, endpoint) {
                ("model", _) => {
                    read.model = fields::text("model", value)?;
                    read.model_range = range_in(text, value);
                }
                ("stream", Endpoint::ChatCompletions | Endpoint::Completions) => {
                    read.stream = value.get() == "true";
                }
                ("stream_options", Endpoint::ChatCompletions | Endpoint::Completions) => {
                    read.stream_options = fields::stream_options(value)?;
                    read.stream_options_range = Some(range_in(text, value));
                }
                ("n", Endpoint::ChatCompletions | Endpoint::Completions) => n = fields::choices(value)?,
                ("max_tokens", Endpoint::ChatCompletions | Endpoint::Completions) => {
                    let asked = fields::max_tokens("max_tokens", endpoint, value)?;
                    read.null_max_tokens_range = asked.is_none().then(|| range_in(text, value));
                    // The newer field wins, as at OpenAI.
                    read.max_tokens = read.max_tokens.or(asked.map(|asked| ("max_tokens", asked)));
                }
                ("max_completion_tokens", Endpoint::ChatCompletions) => {
                    let asked = fields::max_tokens("max_completion_tokens", endpoint, value)?;
                    read.max_tokens = asked
                        .map(|asked| ("max_completion_tokens", asked))
                        .or(read.max_tokens);
                }
                ("messages", Endpoint::ChatCompletions) => {
                    let messages = fields::messages(value)?;
                    (read.messages, read.is_text) = (messages.count, messages.are_text);
                    read.prompt_range = range_in(text, value);
                    prompts = Some(1);
                }
                ("tools" | "functions", Endpoint::ChatCompletions) => {
                    read.has_tools = value.get() != "null";
                    read.head_ranges.push(range_in(text, value));
                }
                ("chat_template_kwargs" | "documents", Endpoint::ChatCompletions) => {
                    read.head_ranges.push(range_in(text, value));
                }
                ("cache_salt", _) => read.cache_salt_range = Some(range_in(text, value)),
                ("prompt_cache_key", _) => read.cache_key_range = Some(range_in(text, value)),
                ("service_tier", _) => {
                    let asked = fields::service_tier(value)?;
                    read.service_tier = asked.unwrap_or_default();
                    read.shows_service_tier = asked.is_some();
                    read.service_tier_range = Some(range_in(text, value));
                }
                ("fail_fast", _) => fail_fast = Some((value.get() == "true", range_in(text, value))),
                ("prompt", Endpoint::Completions) => {
                    prompts = Some(fields::inputs("prompt", value)?);
                    read.prompt_range = range_in(text, value);
                }
                ("input", Endpoint::Embeddings) => {
                    prompts = Some(fields::inputs("input", value)?);
                    read.prompt_range = range_in(text, value);
                }
                ("encoding_format", Endpoint::Embeddings) => {
                    read.wants_base64 = fields::encoding_format(value)?;
                }
                _ => {}
            }
        }
        if let Some((fail_fast, range)) = fail_fast {
            // It is farebox's alone, and no engine sees it: the rest is what was asked.
            let body = edits::without_field(&body, &range);
            return Ok(Self {
                fail_fast,
                ..Self::read(endpoint, body)?
            });
        }
        if read.model_range.is_empty() {
            return Err(missing(
                "model",
                "the name of a model, as GET /v1/models lists them",
            ));
        }
        let Some(prompts) = prompts else {
            return Err(missing_prompt(endpoint));
        };
        read.choices = n.saturating_mul(prompts);
        read.prompts = prompts;
        read.body = body;
        Ok(read)
    }
}

fn missing(field: &'static str, what: &str) -> Refusal {
    Refusal::invalid(format!("`{field}` is missing: send {what}"), Some(field.into()))
}

fn missing_prompt(endpoint: Endpoint) -> Refusal {
    match endpoint {
        Endpoint::ChatCompletions => missing("messages", "a list with at least one message"),
        Endpoint::Completions => missing("prompt", "a text, a list of texts or a list of tokens"),
        Endpoint::Embeddings => missing("input", "a text, a list of texts or a list of tokens"),
    }
}

/// Where a value that was borrowed from `text` stands in it.
pub(in crate::pipeline) fn range_in(text: impl AsRef<[u8]>, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - text.as_ref().as_ptr() as usize;
    start..start + value.get().len()
}

fn not_json(fault: &serde_json::Error) -> Refusal {
    let message = match fault.classify() {
        serde_json::error::Category::Data => fault.to_string(),
        _ => format!("the body is not valid JSON: {fault}"),
    };
    let param = message
        .strip_prefix("the field `")
        .and_then(|rest| rest.split('`').next());
    let param = param.map(|name| Cow::Owned(name.to_owned()));
    Refusal::invalid(message, param)
}

/// Every top-level field, once.
struct Fields<'a>(Vec<Field<'a>>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopLevel;

        impl<'de> Visitor<'de> for TopLevel {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<Field<'de>> = Vec::with_capacity(8);
                while let Some(Name(name)) = map.next_key()? {
                    if fields.iter().any(|(earlier, _)| *earlier == name) {
                        let name: String = name.chars().take(64).collect();
                        return Err(de::Error::custom(format_args!(
                            "the field `{name}` is there twice: send it once"
                        )));
                    }
                    if fields.len() == MAX_FIELDS {
                        return Err(de::Error::custom(format_args!(
                            "the body has more than {MAX_FIELDS} fields"
                        )));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(TopLevel)
    }
}

/// Refuses a body whose arrays and objects nest too deep, without recursion. Strings are jumped over.
fn check_depth(text: &str) -> Result<(), Refusal> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let message = format!("the body nests deeper than {MAX_DEPTH} arrays and objects");
                    return Err(Refusal::invalid(message, None));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(bytes, at),
            _ => {}
        }
    }
    Ok(())
}

/// The position after the string whose opening quote is before `at`.
pub(in crate::pipeline) fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(offset) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += offset + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use farebox_domain::catalog::EngineKind;
    use proptest::prelude::*;

    fn read(endpoint: Endpoint, body: &str) -> Result<InferenceRequest, String> {
        InferenceRequest::read(endpoint, Bytes::copy_from_slice(body.as_bytes()))
            .map_err(|refusal| refusal.to_string())
    }

    fn sent(body: &str, serves: &str, kind: EngineKind) -> String {
        let request = read(Endpoint::ChatCompletions, body).unwrap();
        String::from_utf8(request.body_for(serves, kind).into()).unwrap()
    }

    #[test]
    fn an_engine_is_sent_the_clients_bytes_with_two_edits_at_most() {
        let body = r#"{ "messages":[{"role":"user","content":"x"}], "model" : "a/b", "extra":[1, 2]}"#;
        assert_eq!(sent(body, "a/b", EngineKind::Vllm), body);
        assert_eq!(
            sent(body, "q\"", EngineKind::Vllm),
            body.replace(r#""a/b""#, r#""q\"""#)
        );
        let stream = body.replace("\"extra\"", "\"stream\":true,\"extra\"");
        assert_eq!(
            sent(&stream, "a/b", EngineKind::LlamaCpp),
            stream.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1)
        );
        let asked = stream.replace(
            "\"extra\":[1, 2]",
            r#""stream_options":{"include_usage":false,"x":1}"#,
        );
        assert!(
            sent(&asked, "a/b", EngineKind::Vllm)
                .contains(r#"{"continuous_usage_stats":true,"include_usage":true,"x":1}"#)
        );
        let enough = stream.replace("\"extra\":[1, 2]", r#""stream_options":{"include_usage":true}"#);
        assert_eq!(sent(&enough, "a/b", EngineKind::Openai), enough);
    }

    #[test]
    fn a_service_tier_is_read_and_told_to_engines_that_would_mind() {
        let body = |more: &str| format!(r#"{{{more}"model":"a","messages":[{{"role":"user"}}]}}"#);
        let asked = |more: &str| {
            read(Endpoint::ChatCompletions, &body(more))
                .map(|request| (request.service_tier, request.shows_service_tier))
        };
        assert_eq!(asked(""), Ok((ServiceTier::Default, false)));
        assert_eq!(
            asked(r#""service_tier":null,"#),
            Ok((ServiceTier::Default, false))
        );
        assert_eq!(
            asked(r#""service_tier":"auto","#),
            Ok((ServiceTier::Default, true))
        );
        assert_eq!(asked(r#""service_tier":"flex","#), Ok((ServiceTier::Flex, true)));
        insta::assert_snapshot!(asked(r#""service_tier":"scale","#).unwrap_err(), @r#"`service_tier` must be "auto", "default", "priority" or "flex", not "scale""#);

        let tier = r#""service_tier": "priority","#;
        let told = |billed: ServiceTier, more: &str, kind: EngineKind| {
            let mut request = read(Endpoint::ChatCompletions, &body(more)).unwrap();
            request.service_tier = billed;
            request.output_cap = Some(5);
            String::from_utf8(request.body_for("a", kind).into()).unwrap()
        };
        let capped = |more: &str| body(&format!("\"max_tokens\":5,{more}"));
        let (priority, default) = (ServiceTier::Priority, ServiceTier::Default);
        assert_eq!(
            told(default, tier, EngineKind::Vllm),
            capped(tier),
            "it ignores the field"
        );
        assert_eq!(
            told(priority, tier, EngineKind::Trtllm),
            capped(""),
            "it refuses what it does not know"
        );
        assert_eq!(
            told(default, r#""service_tier":null,"#, EngineKind::Trtllm),
            capped("")
        );
        assert_eq!(told(priority, tier, EngineKind::Openai), capped(tier));
        assert_eq!(
            told(default, tier, EngineKind::Openai),
            capped(r#""service_tier": "default","#),
            "what is not billed is not bought"
        );
        let auto = r#""service_tier":"auto","#;
        assert_eq!(told(default, auto, EngineKind::Openai), capped(auto));
    }

    #[test]
    fn a_field_that_is_written_with_escapes_is_the_same_field() {
        let twice = r#"{"model":"a","mod\u0065l":"b","messages":[{"role":"user"}]}"#;
        assert!(
            read(Endpoint::ChatCompletions, twice)
                .unwrap_err()
                .contains("there twice")
        );
        let escaped = r#"{"mod\u0065l":"a","messages":[{"role":"user"}]}"#;
        assert_eq!(read(Endpoint::ChatCompletions, escaped).unwrap().model, "a");
    }

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(
                r#"{{"model":"a","messages":[{{"role":"user","content":"[[{{{{\"[["}}],"x":{open}{close}}}"#
            )
        };
        assert!(read(Endpoint::ChatCompletions, &nested(MAX_DEPTH - 1)).is_ok());
        assert!(
            read(Endpoint::ChatCompletions, &nested(MAX_DEPTH))
                .unwrap_err()
                .contains("deeper")
        );
    }

    /// Something like a request: fields that are known and values that may be wrong.
    fn body() -> impl Strategy<Value = String> {
        let names = [
            "model",
            "messages",
            "prompt",
            "input",
            "stream",
            "stream_options",
            "n",
            "max_tokens",
            "service_tier",
            "x",
        ];
        let values = [
            "\"m\"",
            "\"\"",
            "null",
            "true",
            "-1",
            "1e400",
            "99999999999999999999",
            "[]",
            "{}",
            r#"[{"role":"user","content":"é漢🎉"}]"#,
            r#"[{"role":1}]"#,
            r#"["a","b"]"#,
            "[1,2]",
            "[[1],[2]]",
            r#"{"include_usage":false,"include_usage":true}"#,
            r#"{"include_usage":true}"#,
            r#""\ud800""#,
            "\"flex\"",
            "\"auto\"",
        ];
        let field = (
            prop::sample::select(names.to_vec()),
            prop::sample::select(values.to_vec()),
        );
        prop::collection::vec(
            field.prop_map(|(name, value)| format!("\"{name}\":{value}")),
            0..8,
        )
        .prop_map(|fields| format!("{{{}}}", fields.join(",")))
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for endpoint in Endpoint::ALL {
                let _ = InferenceRequest::read(endpoint, Bytes::copy_from_slice(&bytes));
            }
        }

        /// What is let in is JSON, and what an engine is sent is too; whatever is cut out of it is refused or holds.
        #[test]
        fn what_is_let_in_stays_json(body in body(), cut in any::<prop::sample::Index>(), kind in 0..7usize) {
            // Fields are left as they are: a number past any float and half a surrogate pair are JSON, and pass as they came.
            type Fields = std::collections::HashMap<String, Box<serde_json::value::RawValue>>;
            for endpoint in Endpoint::ALL {
                if let Ok(request) = read(endpoint, &body) {
                    let sent = request.body_for("another \"name\"", EngineKind::ALL[kind]);
                    let sent: Fields = serde_json::from_slice(&sent).unwrap();
                    prop_assert_eq!(sent["model"].get(), r#""another \"name\"""#);
                    if request.stream {
                        let options: serde_json::Value = serde_json::from_str(sent["stream_options"].get()).unwrap();
                        prop_assert_eq!(&options["include_usage"], true);
                    }
                }
                let mut broken = body.clone().into_bytes();
                broken.remove(cut.index(broken.len()));
                let _ = InferenceRequest::read(endpoint, broken.into());
            }
        }
    }
}
