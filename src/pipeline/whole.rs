//! An answer in one piece: read for its usage, and shown with its cost.

mod joined;

use crate::pipeline::edits::{Edit, pieces};
use crate::pipeline::event::Choice;
use crate::pipeline::meter::{Presentation, UsageJson};
use crate::pipeline::request::range_in;
use crate::pipeline::scan;
use base64::Engine as _;
use bytes::Bytes;
use farebox_domain::ledger::Endpoint;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// A whole answer that holds: JSON, with what its route promises.
#[derive(Debug)]
pub struct WholeAnswer {
    bytes: Bytes,
    usage: Option<Range<usize>>,
    service_tier: Option<Range<usize>>,
}

/// What farebox reads of an answer that was generated.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "null_too")]
    service_tier: Option<&'a RawValue>,
}

/// A field that is there, null or not.
fn null_too<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl WholeAnswer {
    /// Reads an engine's body; `None` if it is not an answer on this route.
    pub fn read(endpoint: Endpoint, bytes: Bytes) -> Option<Self> {
        let (usage, service_tier) = match endpoint {
            // Looked through for UTF-8 at once, and not text by text.
            Endpoint::ChatCompletions | Endpoint::Completions => {
                generated(std::str::from_utf8(&bytes).ok()?)?
            }
            Endpoint::Embeddings => embedded(&bytes)?,
        };
        let usage = usage.filter(|range| bytes[range.clone()].starts_with(b"{"));
        Some(Self {
            bytes,
            usage,
            service_tier,
        })
    }

    /// The engine's usage object.
    pub fn usage(&self) -> Option<Bytes> {
        self.usage.clone().map(|range| self.bytes.slice(range))
    }

    /// The bytes for the client: the engine's, with the cost in their usage, the catalog's name for the model,
    /// and embeddings in base64 where the client asked for them and the engine did not.
    pub fn present(&self, presentation: &Presentation, usage: &UsageJson, as_base64: bool) -> Vec<Bytes> {
        let mut edits: Vec<Edit<'_>> = presentation.renamed(&self.bytes).into_iter().collect();
        match &self.usage {
            Some(range) => {
                edits.push((
                    range.clone(),
                    Cow::Owned(usage.spliced_into(&self.bytes[range.clone()])),
                ));
            }
            None => edits.extend(usage_added(&self.bytes, usage)),
        }
        edits.extend(presentation.tier_told(&self.bytes, self.service_tier.clone()));
        if as_base64 {
            edits.extend(embeddings_in_base64(&self.bytes));
        }
        pieces(&self.bytes, edits)
    }
}

/// Where an answer's usage and service tier stand, if they are there.
type Places = (Option<Range<usize>>, Option<Range<usize>>);

/// Of an answer that has choices, none of which was given up.
fn generated(text: &str) -> Option<Places> {
    let shape: Shape<'_> = serde_json::from_str(text).ok()?;
    let choices = shape.choices?;
    let holds = !choices.is_empty() && !choices.iter().any(Choice::is_given_up);
    let place = |value| range_in(text, value);
    holds.then(|| (shape.usage.map(place), shape.service_tier.map(place)))
}

/// The same of one that has data.
fn embedded(text: &[u8]) -> Option<Places> {
    let members = scan::members(text)?;
    let find = |name: &str| {
        let mut each = members.iter();
        each.find(|(named, _)| &text[named.clone()] == name.as_bytes())
            .map(|(_, value)| value.clone())
    };
    let data = text[find("data")?].strip_prefix(b"[")?;
    let is_empty = data.trim_ascii_start().starts_with(b"]");
    (!is_empty).then(|| (find("usage"), find("service_tier")))
}

/// An answer without a usage gets the one that is in the ledger.
fn usage_added<'a>(bytes: &[u8], usage: &UsageJson) -> Option<Edit<'a>> {
    let brace = memchr::memrchr(b'}', bytes)?;
    let object = usage.made();
    Some((
        brace..brace,
        Cow::Owned([b",\"usage\":", object.as_bytes()].concat()),
    ))
}

/// OpenAI API: base64 of little-endian 32-bit floats. The SDKs decode it without looking (FACTS.md).
fn embeddings_in_base64<'a>(bytes: &[u8]) -> Vec<Edit<'a>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Vec<Item<'a>>,
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
    }
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(bytes) else {
        return Vec::new();
    };
    let edit = |item: &Item<'_>| {
        let floats: Vec<f32> = serde_json::from_str(item.embedding.get()).ok()?;
        let encoded = base64::engine::general_purpose::STANDARD.encode(
            floats
                .iter()
                .flat_map(|float| float.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
        Some((
            range_in(bytes, item.embedding),
            Cow::Owned(format!("\"{encoded}\"").into_bytes()),
        ))
    };
    answer.data.iter().filter_map(edit).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::pipeline::request::StreamOptions;

    fn usage() -> UsageJson {
        UsageJson {
            usage: farebox_domain::tokens::Usage::new(1, 0, 0),
            estimated_cost: "0.0000001".into(),
            engines_own: true,
        }
    }

    fn shown(endpoint: Endpoint, body: &'static str, as_base64: bool) -> String {
        let answer = WholeAnswer::read(endpoint, Bytes::from_static(body.as_bytes())).unwrap();
        let presentation = Presentation {
            options: StreamOptions::default(),
            service_tier: None,
            rename: Some((Bytes::from_static(b"served"), Bytes::from_static(b"sold"))),
        };
        String::from_utf8(answer.present(&presentation, &usage(), as_base64).concat()).unwrap()
    }

    #[test]
    fn the_cost_and_the_name_are_put_in_and_nothing_else() {
        let body = r#"{"id":"x", "model":"served","choices":[{}],"usage":{"prompt_tokens":1}, "timings":{}}"#;
        insta::assert_snapshot!(shown(Endpoint::ChatCompletions, body, false), @r#"{"id":"x", "model":"sold","choices":[{}],"usage":{"prompt_tokens":1,"estimated_cost":0.0000001}, "timings":{}}"#);
    }

    #[test]
    fn the_tier_that_is_billed_is_shown_to_a_client_that_named_one() {
        let shown = |body: &'static str| {
            let answer =
                WholeAnswer::read(Endpoint::Completions, Bytes::from_static(body.as_bytes())).unwrap();
            let presentation = Presentation {
                options: StreamOptions::default(),
                service_tier: Some(farebox_domain::units::ServiceTier::Flex),
                rename: None,
            };
            String::from_utf8(answer.present(&presentation, &usage(), false).concat()).unwrap()
        };
        for engines in ["null", "\"default\""] {
            let body = format!(r#"{{"service_tier": {engines},"choices":[{{}}],"usage":{{}}}}"#);
            let body: &'static str = body.leak();
            assert_eq!(
                shown(body),
                r#"{"service_tier": "flex","choices":[{}],"usage":{"estimated_cost":0.0000001}}"#
            );
        }
        insta::assert_snapshot!(shown(r#"{"choices":[{}]}"#), @r#"{"choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1,"prompt_tokens_details":{"cached_tokens":0},"estimated_cost":0.0000001},"service_tier":"flex"}"#);
    }

    #[test]
    fn an_answer_without_usage_gets_the_ledgers() {
        let body = r#"{"choices":[{}]}"#;
        insta::assert_snapshot!(shown(Endpoint::Completions, body, false), @r#"{"choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1,"prompt_tokens_details":{"cached_tokens":0},"estimated_cost":0.0000001}}"#);
    }

    #[test]
    fn floats_become_base64_where_the_engine_does_not_know_it() {
        let body = r#"{"data":[{"embedding":[1.0,-2.5]},{"embedding":"AACAPw=="}],"usage":{}}"#;
        insta::assert_snapshot!(shown(Endpoint::Embeddings, body, true), @r#"{"data":[{"embedding":"AACAPwAAIMA="},{"embedding":"AACAPw=="}],"usage":{"estimated_cost":0.0000001}}"#);
    }

    #[test]
    fn an_answer_that_is_long_is_shown_in_pieces_and_is_the_same() {
        let floats = vec!["-0.12345678"; 4000].join(",");
        let body = format!(
            r#"{{"model":"served","data":[{{"embedding":[{floats}]}}],"service_tier":null,"usage":{{"prompt_tokens":1}},"z":[]}}"#
        );
        let answer = WholeAnswer::read(Endpoint::Embeddings, body.clone().into()).unwrap();
        let presentation = Presentation {
            options: StreamOptions::default(),
            service_tier: None,
            rename: Some((Bytes::from_static(b"served"), Bytes::from_static(b"sold"))),
        };
        let pieces = answer.present(&presentation, &usage(), false);
        assert_eq!(pieces.len(), 5);
        let shown = String::from_utf8(pieces.concat()).unwrap();
        let expected = body
            .replace("served", "sold")
            .replace("_tokens\":1", "_tokens\":1,\"estimated_cost\":0.0000001");
        assert_eq!(shown, expected);
    }

    #[test]
    fn embeddings_are_no_answer_without_data() {
        for body in [
            r#"{"data":[]}"#,
            r#"{"data":{}}"#,
            r#"{"data":[ ]}"#,
            "{}",
            r#"{"data":[1}"#,
            "[]",
        ] {
            assert!(
                WholeAnswer::read(Endpoint::Embeddings, Bytes::from_static(body.as_bytes())).is_none(),
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for body in [
            "",
            "{}",
            "<html>",
            r#"{"choices":[]}"#,
            r#"{"choices":[{"finish_reason":"stop"},{"index":1,"finish_reason":"abort"}]}"#,
            r#"{"error":{}}"#,
            r#"{"data":[1]}"#,
        ] {
            assert!(
                WholeAnswer::read(Endpoint::ChatCompletions, Bytes::from_static(body.as_bytes())).is_none()
            );
        }
    }
}
