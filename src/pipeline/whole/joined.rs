//! The answers to the parts of one embeddings request, as one: items in the order of the inputs, one usage.

use super::{WholeAnswer, null_too};
use crate::pipeline::edits::{Edit, apply};
use crate::pipeline::event;
use crate::pipeline::request::range_in;
use crate::pipeline::usage::read_usage;
use farebox_domain::ledger::Endpoint;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// OpenAI API: `Embedding`.
#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(default, borrow, deserialize_with = "null_too")]
    index: Option<&'a RawValue>,
    #[serde(borrow, rename = "embedding")]
    _embedding: &'a RawValue,
}

/// An item of `data`, and where in it its index stands.
#[derive(Clone)]
struct Item<'a> {
    text: &'a str,
    index: Option<Range<usize>>,
}

impl WholeAnswer {
    /// Whether there is one embedding for each of so many inputs.
    pub(in crate::pipeline) fn has_embeddings(&self, inputs: usize) -> bool {
        self.items().is_some_and(|items| items.len() == inputs)
    }

    /// The first answer with the items of all in it, numbered on, and with the sum of their usages. Where one of them has no
    /// usage there is none: part of a usage is no usage. `None` where they are no embeddings.
    pub(in crate::pipeline) fn joined(answers: &[Self]) -> Option<Self> {
        let first = answers.first()?;
        let listed: Listed<'_> = serde_json::from_slice(&first.bytes).ok()?;
        let mut edits: Vec<Edit<'_>> = vec![(
            range_in(&first.bytes, listed.data),
            Cow::Owned(all_items(answers)?),
        )];
        if let Some(own) = &first.usage {
            match summed_usage(answers) {
                Some(sum) => edits.push((own.clone(), Cow::Owned(sum.into_bytes()))),
                None => edits.push((event::with_key_and_comma(&first.bytes, own)?, Cow::Borrowed(b""))),
            }
        }
        Self::read(Endpoint::Embeddings, apply(&first.bytes, edits))
    }

    /// The items by their index; `None` where one is twice there, is missing or is no embedding.
    fn items(&self) -> Option<Vec<Item<'_>>> {
        let listed: Listed<'_> = serde_json::from_slice(&self.bytes).ok()?;
        let texts: Vec<&RawValue> = serde_json::from_str(listed.data.get()).ok()?;
        let mut items = vec![None; texts.len()];
        for (place, text) in texts.into_iter().enumerate() {
            let text = text.get();
            let Embedding { index, .. } = serde_json::from_str(text).ok()?;
            let number = match index {
                Some(index) => index.get().parse().ok()?,
                None => place,
            };
            let item = Item {
                text,
                index: index.map(|index| range_in(text, index)),
            };
            if items.get_mut(number)?.replace(item).is_some() {
                return None;
            }
        }
        items.into_iter().collect()
    }
}

fn all_items(answers: &[WholeAnswer]) -> Option<Vec<u8>> {
    let mut list = Vec::with_capacity(answers.iter().map(|answer| answer.bytes.len()).sum());
    let mut number = 0usize;
    for answer in answers {
        for Item { text, index } in answer.items()? {
            list.push(if number == 0 { b'[' } else { b',' });
            let (before, after) = match index {
                Some(index) => (&text[..index.start], &text[index.end..]),
                None => ("", &text[1..]),
            };
            let numbered = match before {
                "" => format!("{{\"index\":{number},"),
                before => format!("{before}{number}"),
            };
            list.extend_from_slice(numbered.as_bytes());
            list.extend_from_slice(after.as_bytes());
            number += 1;
        }
    }
    list.push(b']');
    Some(list)
}

/// Each number of the usages summed; `None` where an answer has no usage.
fn summed_usage(answers: &[WholeAnswer]) -> Option<String> {
    let usages = answers.iter().map(|answer| {
        let text = &answer.bytes[answer.usage.clone()?];
        read_usage(text)?;
        serde_json::from_slice(text).ok()
    });
    let usages: Vec<Value> = usages.collect::<Option<_>>()?;
    Some(sum(&usages.iter().collect::<Vec<_>>()).to_string())
}

/// The sum, field by field. What is not a whole number everywhere that it is known, or is beyond 64 bits, is null.
fn sum(values: &[&Value]) -> Value {
    let known: Vec<_> = values.iter().filter(|value| !value.is_null()).collect();
    let objects: Vec<_> = known.iter().filter_map(|value| value.as_object()).collect();
    if objects.is_empty() || objects.len() < known.len() {
        let mut numbers = known.iter().map(|value| value.as_u64());
        let total = numbers.try_fold(0u64, |total, number| total.checked_add(number?));
        return total
            .filter(|_| !known.is_empty())
            .map_or(Value::Null, Value::from);
    }
    let names: BTreeSet<_> = objects.iter().flat_map(|object| object.keys()).collect();
    let field = |name: &String| {
        let values: Vec<_> = objects.iter().filter_map(|object| object.get(name)).collect();
        (name.clone(), sum(&values))
    };
    Value::Object(names.into_iter().map(field).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn answer(body: &str) -> WholeAnswer {
        WholeAnswer::read(Endpoint::Embeddings, Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn joined(bodies: &[&str]) -> String {
        let answers: Vec<_> = bodies.iter().map(|body| answer(body)).collect();
        let joined = WholeAnswer::joined(&answers).unwrap();
        String::from_utf8(joined.bytes.to_vec()).unwrap()
    }

    #[test]
    fn items_are_numbered_on_in_the_order_of_their_inputs_and_usages_are_summed() {
        let one = r#"{"id":"x","data":[{"embedding":[2], "index" : 1 },{"index":0 ,"embedding":[1]}],"model":"s","usage":{"prompt_tokens":3,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}}"#;
        let two = r#"{"data":[{"embedding":"AA==","object":"embedding"}],"usage":{"prompt_tokens":4,"total_tokens":4,"prompt_tokens_details":null,"seconds":0.5}}"#;
        insta::assert_snapshot!(joined(&[one, two]), @r#"{"id":"x","data":[{"index":0 ,"embedding":[1]},{"embedding":[2], "index" : 1 },{"index":2,"embedding":"AA==","object":"embedding"}],"model":"s","usage":{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":1},"seconds":null,"total_tokens":7}}"#);
    }

    #[test]
    fn part_of_a_usage_is_none() {
        let counted = r#"{"data":[{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":3},"model":"s"}"#;
        for other in ["", r#","usage":null"#, r#","usage":{}"#] {
            let other = format!(r#"{{"data":[{{"index":0,"embedding":[2]}}]{other}}}"#);
            assert!(!joined(&[counted, &other]).contains("prompt_tokens"));
            assert!(!joined(&[&other, counted]).contains("prompt_tokens"));
        }
    }

    #[test]
    fn a_sum_is_of_whole_numbers_or_unknown() {
        let of = |texts: [&str; 3]| {
            let values = texts.map(|text| serde_json::from_str::<Value>(text).unwrap());
            sum(&values.iter().collect::<Vec<_>>()).to_string()
        };
        assert_eq!(of(["1", "null", "2"]), "3");
        assert_eq!(of(["0.5", "0.5", "1"]), "null");
        assert_eq!(of(["18446744073709551615", "1", "1"]), "null");
        assert_eq!(
            of([r#"{"a":1}"#, r#"{"b":{"c":2}}"#, r#"{"b":{"c":3}}"#]),
            r#"{"a":1,"b":{"c":5}}"#
        );
        assert_eq!(of(["{}", "1", "null"]), "null");
    }

    #[test]
    fn an_answer_without_an_embedding_for_each_input_is_none() {
        let holds = |data: &str| answer(&format!(r#"{{"data":{data}}}"#)).has_embeddings(2);
        assert!(holds(
            r#"[{"index":1,"embedding":[]},{"index":0,"embedding":[]}]"#
        ));
        assert!(holds(r#"[{"embedding":[]},{"embedding":[]}]"#));
        for data in [
            r#"[{"index":0,"embedding":[]}]"#,
            r#"[{"index":0,"embedding":[]},{"index":0,"embedding":[]}]"#,
            r#"[{"index":1,"embedding":[]},{"index":2,"embedding":[]}]"#,
            r#"[{"index":null,"embedding":[]},{"index":1,"embedding":[]}]"#,
            r#"[{"index":0},{"index":1}]"#,
            "[1,2]",
        ] {
            assert!(!holds(data), "{data}");
        }
    }
}
