//! JSON that is long, looked through for its outline: where the members of an object stand.
//!
//! An answer of embeddings is half a megabyte of numbers, of which farebox needs none. Lists of numbers and texts are jumped over: it is
//! seen that they end, and that nothing but numbers is in a list that begins with one, but not what each of them is. What is looked
//! through is UTF-8: texts are, and nothing else has room for what is not ASCII.

use crate::pipeline::request::string_end;
use std::ops::Range;

/// What is looked at at once of a list of numbers.
const PIECE_BYTES: usize = 256;
/// Lists and objects inside each other.
const MAX_DEPTH: usize = 64;

/// Where a member's name stands, without its quotes, and its value.
pub(in crate::pipeline) type Member = (Range<usize>, Range<usize>);

/// The members of an object, in their order; `None` where the text is anything else, or broken off.
pub(in crate::pipeline) fn members(text: &[u8]) -> Option<Vec<Member>> {
    let mut scan = Scan { text, at: 0 };
    let mut members = Vec::with_capacity(8);
    scan.space();
    scan.object(MAX_DEPTH, |name, value| members.push((name, value)))?;
    scan.space();
    (scan.at == text.len()).then_some(members)
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// What is between these two, separated by commas.
    fn list(&mut self, (open, close): (u8, u8), mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open)?;
        self.space();
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            self.space();
            each(self)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(close);
            }
        }
    }

    fn object(&mut self, depth: usize, mut member: impl FnMut(Range<usize>, Range<usize>)) -> Option<()> {
        self.list((b'{', b'}'), |scan| {
            let name = scan.string()?;
            scan.space();
            scan.take(b':')?;
            scan.space();
            let from = scan.at;
            scan.value(depth)?;
            member(name, from..scan.at);
            Some(())
        })
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(depth.checked_sub(1)?, |_, _| {}),
            b'[' => self.numbers().or_else(|| {
                let depth = depth.checked_sub(1)?;
                self.list((b'[', b']'), |scan| scan.value(depth))
            }),
            b'-' | b'0'..=b'9' => {
                while self.peek().is_some_and(is_of_numbers) {
                    self.at += 1;
                }
                Some(())
            }
            _ => {
                let rest = self.text.get(self.at..)?;
                let literals: [&[u8]; 3] = [b"null", b"true", b"false"];
                let literal = literals.into_iter().find(|literal| rest.starts_with(literal))?;
                self.at += literal.len();
                Some(())
            }
        }
    }

    fn string(&mut self) -> Option<Range<usize>> {
        self.take(b'"')?;
        let from = self.at;
        let end = string_end(self.text, from);
        // It ends with the text where it does not end.
        let is_closed = end > from && self.text.get(end - 1) == Some(&b'"');
        self.at = end;
        let text = self.text.get(from..end.checked_sub(1)?)?;
        (is_closed && std::str::from_utf8(text).is_ok()).then(|| from..end - 1)
    }

    /// All of a list of numbers; `None`, and nothing is passed, where it is a list of anything else.
    fn numbers(&mut self) -> Option<()> {
        let inner = self.text.get(self.at + 1..)?;
        if !matches!(inner.first(), Some(b'-' | b'0'..=b'9')) {
            return None;
        }
        // A piece is looked at to its end, so that many bytes are looked at at once.
        let is_numbers = |piece: &&[u8]| {
            piece
                .iter()
                .fold(true, |all, byte| all & may_be_in_numbers(*byte))
        };
        let whole = inner.chunks(PIECE_BYTES).take_while(is_numbers).count() * PIECE_BYTES;
        let last = inner.get(whole..)?;
        let end = last.iter().position(|byte| !may_be_in_numbers(*byte))?;
        (last[end] == b']').then(|| self.at += whole + end + 2)
    }
}

const fn is_of_numbers(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// The same, and what is between numbers: from `+` to `9`, white space, `e`. (So `/` too, which no engine writes.)
const fn may_be_in_numbers(byte: u8) -> bool {
    byte.wrapping_sub(b'+') <= b'9' - b'+' || byte <= b' ' || byte | 0x20 == b'e'
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    fn shown(text: &str) -> Option<Vec<(&str, &str)>> {
        let members = members(text.as_bytes())?;
        Some(
            members
                .into_iter()
                .map(|(name, value)| (&text[name], &text[value]))
                .collect(),
        )
    }

    #[test]
    fn members_are_found_whatever_is_in_them() {
        let text = r#" { "data" : [ {"embedding":[0.1, -2e-3],"x":"]\"}"} ] ,"usage":{"a":1},"n":null } "#;
        assert_eq!(
            shown(text).unwrap(),
            [
                ("data", r#"[ {"embedding":[0.1, -2e-3],"x":"]\"}"} ]"#),
                ("usage", r#"{"a":1}"#),
                ("n", "null"),
            ]
        );
        assert_eq!(shown("{}"), Some(Vec::new()));
    }

    #[test]
    fn what_is_broken_is_no_object() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"a"}"#,
            r#"{"a":1"#,
            r#"{"a":"x}"#,
            r#"{"a":[1,2}"#,
            r#"{"a":[1,nope]}"#,
            r#"{"a":NaN}"#,
            r#"{"a":[1,NaN]}"#,
            r#"{"a":1}x"#,
            r#"{"a":1,}"#,
            "<html>",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
        assert_eq!(shown(&deep), None, "as deep as that is no answer");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(any::<f32>().prop_map(Value::from), 0..9).prop_map(Value::from),
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_a_parser_finds(members in prop::collection::btree_map("[a-z]{1,6}", value(), 0..6), pretty: bool, cut: prop::sample::Index) {
            let object = Value::Object(members.into_iter().collect());
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let parsed: BTreeMap<&str, &RawValue> = serde_json::from_str(&text).unwrap();
            let found: BTreeMap<&str, &str> = shown(&text).unwrap().into_iter().collect();
            prop_assert_eq!(parsed.len(), found.len());
            for (name, value) in parsed {
                prop_assert_eq!(value.get(), found[name]);
            }
            prop_assert_eq!(super::members(&text.as_bytes()[..cut.index(text.len())]), None);
        }

        #[test]
        fn what_it_takes_is_utf_8(value in value(), at: prop::sample::Index, byte in 0x80_u8..) {
            let mut text = serde_json::to_vec(&serde_json::json!({ "a": value, "é": 1 })).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            prop_assert!(super::members(&text).is_none() || std::str::from_utf8(&text).is_ok());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = super::members(&bytes);
        }
    }
}
