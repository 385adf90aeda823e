//! Walks a tree: each step gives the value, or records a fault with its path and gives nothing.
//!
//! Nothing stops at a fault. Who asks for a value and gets nothing goes on with its neighbours: the fault is
//! recorded, so whatever is made of the rest is thrown away at the end.

use super::fault::{Collector, Position, quoted};
use super::suggest::did_you_mean;
use super::yaml::{Node, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A path and where it stands: what a fault needs, kept for faults that are found later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// For example `models[2].price.input`.
    pub(super) path: String,
    /// Where it stands.
    pub(super) at: Position,
}

impl Place {
    /// Records that what stands here does not hold.
    pub(super) fn refuse(&self, message: impl Into<String>, faults: &mut Collector) {
        faults.push(self.at, &self.path, message);
    }

    /// The path of a key under it.
    fn child_path(&self, name: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let shown = if !name.is_empty() && name.len() <= 60 && name.bytes().all(plain) {
            name.to_owned()
        } else {
            quoted(name)
        };
        if self.path.is_empty() {
            shown
        } else {
            format!("{}.{shown}", self.path)
        }
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    /// Where it stands.
    pub(super) place: Place,
    value: &'a Value,
}

/// A mapping whose keys are all known.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// Where it stands.
    pub(super) place: Place,
    fields: BTreeMap<&'a str, Item<'a>>,
}

impl<'a> Item<'a> {
    /// The document.
    pub(super) fn root(node: &'a Node) -> Self {
        let path = String::new();
        Self {
            place: Place { path, at: node.at },
            value: &node.value,
        }
    }

    /// Whether nothing or `null` is written.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Records that it does not hold.
    pub(super) fn refuse(&self, message: impl Into<String>, faults: &mut Collector) {
        self.place.refuse(message, faults);
    }

    /// Records that it is not what is expected.
    fn refuse_type(&self, expected: &str, advice: &str, faults: &mut Collector) {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Boolean => "a truth value",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        };
        self.refuse(format!("expected {expected}, found {found}{advice}"), faults);
    }

    /// A text.
    pub(super) fn text(&self, faults: &mut Collector) -> Option<&'a str> {
        let advice = match self.value {
            Value::Text(text) => return Some(text),
            Value::Integer(_) | Value::Float(_) | Value::Boolean => "; put it in quotes",
            Value::Null | Value::List(_) | Value::Mapping(_) => "",
        };
        self.refuse_type("a text", advice, faults);
        None
    }

    /// A text that the rule accepts; `Err` is the rule's message.
    pub(super) fn checked<T>(
        &self,
        rule: impl FnOnce(&'a str) -> Result<T, String>,
        faults: &mut Collector,
    ) -> Option<T> {
        rule(self.text(faults)?)
            .map_err(|message| self.refuse(message, faults))
            .ok()
    }

    /// A price. Only a text is one.
    pub(super) fn price_text(&self, faults: &mut Collector) -> Option<&'a str> {
        match self.value {
            Value::Integer(number) | Value::Float(number) => {
                let advice = format!(
                    "; write \"{number}\" in quotes, as YAML's numbers are rounded when they are read"
                );
                self.refuse_type("a text", &advice, faults);
                None
            }
            _ => self.text(faults),
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, bounds: RangeInclusive<u64>, faults: &mut Collector) -> Option<u64> {
        let (least, most) = (bounds.start(), bounds.end());
        let expected = format!("a whole number from {least} to {most}");
        match self.value {
            Value::Integer(text) => {
                let number = whole_number(text).filter(|number| bounds.contains(number));
                if number.is_none() {
                    self.refuse(format!("expected {expected}, found {}", quoted(text)), faults);
                }
                number
            }
            Value::Float(text) => {
                self.refuse(format!("expected {expected}, found {}", quoted(text)), faults);
                None
            }
            Value::Text(text) if whole_number(text).is_some() => {
                self.refuse_type(&expected, "; leave out the quotes", faults);
                None
            }
            _ => {
                self.refuse_type(&expected, "", faults);
                None
            }
        }
    }

    /// The same as 32 bits.
    pub(super) fn integer_u32(&self, bounds: RangeInclusive<u32>, faults: &mut Collector) -> Option<u32> {
        let (least, most) = (u64::from(*bounds.start()), u64::from(*bounds.end()));
        u32::try_from(self.integer(least..=most, faults)?).ok()
    }

    /// A span of time: `"500ms"`, `"30s"`, `"10m"`, `"2h"`, or seconds as a whole number.
    ///
    /// Read by hand: the crates for it also take months, years and sums, which nobody should wait for here.
    pub(super) fn duration(
        &self,
        bounds: RangeInclusive<Duration>,
        faults: &mut Collector,
    ) -> Option<Duration> {
        const EXPECTED: &str =
            "a time such as \"500ms\", \"30s\", \"10m\" or \"2h\", or seconds as a whole number";
        let text = match self.value {
            Value::Integer(text) | Value::Float(text) | Value::Text(text) => text,
            _ => {
                self.refuse_type(EXPECTED, "", faults);
                return None;
            }
        };
        let Some(duration) = duration(text) else {
            self.refuse(format!("expected {EXPECTED}; found {}", quoted(text)), faults);
            return None;
        };
        if !bounds.contains(&duration) {
            let (least, most) = (bounds.start(), bounds.end());
            let message = format!(
                "expected a time from {} to {}, found {}",
                time(*least),
                time(*most),
                quoted(text)
            );
            self.refuse(message, faults);
            return None;
        }
        Some(duration)
    }

    /// A list of at most so many.
    pub(super) fn list(&self, at_most: usize, faults: &mut Collector) -> Option<Vec<Self>> {
        let Value::List(nodes) = self.value else {
            let advice = match self.value {
                Value::Text(_) | Value::Mapping(_) => ": begin each item with `- `, or put it in `[ ]`",
                _ => "",
            };
            self.refuse_type("a list", advice, faults);
            return None;
        };
        if nodes.len() > at_most {
            let message = format!("at most {at_most} items are read here, found {}", nodes.len());
            self.refuse(message, faults);
            return None;
        }
        let item = |(index, node): (usize, &'a Node)| Self {
            place: Place {
                path: format!("{}[{index}]", self.place.path),
                at: node.at,
            },
            value: &node.value,
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// A mapping. Keys that are not known, or are there twice, are refused; the others can be read on.
    pub(super) fn mapping(&self, known: &[&str], faults: &mut Collector) -> Option<Fields<'a>> {
        let Value::Mapping(pairs) = self.value else {
            let expected = format!("a mapping with the keys {}", known.join(", "));
            self.refuse_type(&expected, "", faults);
            return None;
        };
        let mut seen: BTreeMap<&str, Position> = BTreeMap::new();
        let mut fields = BTreeMap::new();
        for (key, node) in pairs {
            let Value::Text(name) = &key.value else {
                faults.push(key.at, &self.place.path, "a key is a text");
                continue;
            };
            let path = self.place.child_path(name);
            if let Some(first) = seen.insert(name, key.at) {
                let message = format!("this key is here twice; first on line {}", first.line);
                faults.push(key.at, &path, message);
            } else if !known.contains(&name.as_str()) {
                faults.push(key.at, &path, unknown_key(name, known));
            } else {
                // An empty value stands nowhere: the parser's place for it may be the next line.
                let at = if matches!(node.value, Value::Null) {
                    key.at
                } else {
                    node.at
                };
                let value = &node.value;
                let place = Place { path, at };
                fields.insert(name.as_str(), Self { place, value });
            }
        }
        let place = self.place.clone();
        Some(Fields { place, fields })
    }
}

fn unknown_key(name: &str, known: &[&str]) -> String {
    let guess = did_you_mean(name, known.iter().copied());
    if guess.is_empty() {
        format!("there is no such key here; the keys are {}", known.join(", "))
    } else {
        format!("there is no such key{guess}")
    }
}

impl<'a> Fields<'a> {
    /// The value of a key, if the key is there and is not `null`.
    pub(super) fn optional(&self, key: &str) -> Option<&Item<'a>> {
        self.fields.get(key).filter(|item| !item.is_null())
    }

    /// The value of a key, `null` among the values.
    pub(super) fn written(&self, key: &str) -> Option<&Item<'a>> {
        self.fields.get(key)
    }

    /// The value of a key that has to be there. `null` is a value: it is refused by what reads it.
    pub(super) fn required(&self, key: &str, what: &str, faults: &mut Collector) -> Option<&Item<'a>> {
        let item = self.fields.get(key);
        if item.is_none() {
            let path = self.place.child_path(key);
            faults.push(self.place.at, &path, format!("missing: {what}"));
        }
        item
    }
}

fn whole_number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).ok()
    } else if let Some(octal) = text.strip_prefix("0o") {
        u64::from_str_radix(octal, 8).ok()
    } else {
        text.parse().ok()
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit_at = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let number: u64 = digits.parse().ok()?;
    match unit.trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// A bound as it would be written.
fn time(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        _ => format!("{duration:?}"),
    }
}
