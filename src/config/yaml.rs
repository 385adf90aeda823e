//! YAML text -> a tree whose every node knows where it stands.
//!
//! Built from the parser's events rather than by its ready-made loader, for three reasons: the loader stops at the
//! first duplicate key where we list them all; it recurses, so that a file of a million `- ` overflows the stack;
//! and it makes a float of an unquoted price before we can say what was written.
//!
//! Refused, each with its place: anchors, aliases, tags and second documents. A price list is better read as it
//! stands.

use super::fault::Position;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

/// The format has six levels.
const DEPTH_AT_MOST: usize = 32;
/// Ten thousand models with everything that can be said of them.
const NODES_AT_MOST: usize = 500_000;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) at: Position,
    /// What it is.
    pub(super) value: Value,
}

/// What a node can be.
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing written, `null` or `~`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A whole number, as it was written.
    Integer(String),
    /// Any other number, as it was written: nothing here is read from a float.
    Float(String),
    /// Anything else.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in their order, duplicates among them.
    Mapping(Vec<(Node, Node)>),
}

/// Why a text has no tree.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// Where it was noticed.
    pub(super) at: Position,
    /// What is wrong.
    pub(super) message: String,
}

impl Unreadable {
    fn new(mark: Marker, message: impl Into<String>) -> Self {
        Self {
            at: position(mark),
            message: message.into(),
        }
    }
}

impl From<ScanError> for Unreadable {
    fn from(error: ScanError) -> Self {
        Self::new(*error.marker(), format!("not YAML: {}", error.info()))
    }
}

fn position(mark: Marker) -> Position {
    Position {
        line: mark.line().max(1),
        column: mark.col() + 1,
    }
}

/// Reads one document; `None` for a text without one.
pub(super) fn read(text: &str) -> Result<Option<Node>, Unreadable> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        tree.take(event, span)?;
    }
    Ok(tree.root)
}

/// A tree that is being built: the collections that are open, and the root once it is whole.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

/// A collection whose end has not come.
struct Open {
    at: Position,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    /// The pairs, and the key whose value has not come.
    Mapping(Vec<(Node, Node)>, Option<Node>),
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let at = position(span.start);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(_) => Err(no_anchors(span)),
            Event::Scalar(text, style, anchor, tag) => {
                self.begin(span, anchor, tag.is_some())?;
                let value = scalar(&text, style);
                self.put(Node { at, value });
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(span, anchor, tag.is_some())?;
                let kind = OpenKind::List(Vec::new());
                self.open.push(Open { at, kind });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(span, anchor, tag.is_some())?;
                let kind = OpenKind::Mapping(Vec::new(), None);
                self.open.push(Open { at, kind });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { at, kind }) = self.open.pop() {
                    let value = match kind {
                        OpenKind::List(items) => Value::List(items),
                        OpenKind::Mapping(pairs, _) => Value::Mapping(pairs),
                    };
                    self.put(Node { at, value });
                }
                Ok(())
            }
        }
    }

    /// Refuses a node for what it carries, for its depth, or for being one too many.
    fn begin(&mut self, span: Span, anchor: usize, tagged: bool) -> Result<(), Unreadable> {
        self.nodes += 1;
        let second = self.root.is_some() && self.open.is_empty();
        let message = if anchor > 0 {
            return Err(no_anchors(span));
        } else if tagged {
            "YAML tags (`!...`) are not read here; leave it out, and quote what is a text"
        } else if second {
            "a second document begins here; a file is one document, without another `---`"
        } else if self.open.len() >= DEPTH_AT_MOST {
            "nested deeper than anything that is read here"
        } else if self.nodes > NODES_AT_MOST {
            "the file has more values than are read here (500000)"
        } else {
            return Ok(());
        };
        Err(Unreadable::new(span.start, message))
    }

    /// Puts a whole node where it belongs.
    fn put(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Mapping(pairs, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
        }
    }
}

fn no_anchors(span: Span) -> Unreadable {
    Unreadable::new(
        span.start,
        "YAML anchors and aliases (`&name`, `*name`) are not read here; write the value out",
    )
}

/// What a scalar is by YAML's core schema; quoted it is always a text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Value::Boolean,
        _ if is_integer(text) => Value::Integer(text.to_owned()),
        _ if is_float(text) => Value::Float(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_integer(text: &str) -> bool {
    let all = |digits: &str, is: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|byte| is(&byte));
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    all(unsigned, u8::is_ascii_digit)
        || text
            .strip_prefix("0x")
            .is_some_and(|hex| all(hex, u8::is_ascii_hexdigit))
        || text
            .strip_prefix("0o")
            .is_some_and(|octal| all(octal, u8::is_ascii_digit))
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let infinite_or_not_a_number = matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    let begins_as_one = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    infinite_or_not_a_number || (begins_as_one && unsigned.parse::<f64>().is_ok())
}
