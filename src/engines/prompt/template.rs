//! A chat template, in the dialect of Jinja that Hugging Face's `apply_chat_template` speaks.
//!
//! Fuel, and not a clock, ends a template that does not end: it is the same on a busy machine and an idle one, and
//! it bounds the memory as well.

use super::chat::{object, text_part};
use super::fault::Cause;
use super::json::tojson;
use crate::clock::Clock;
use indexmap::IndexMap;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use std::collections::{BTreeMap, HashSet};

/// What a render may cost: steps, and 64 bytes made are one of them. A template spends some fifty on a message, so
/// this is some ten thousand messages; a loop without end is over in about a tenth of a second.
const FUEL: u64 = 2_000_000;
const NAME: &str = "chat_template";

/// The variables of a render.
pub(super) type Variables = IndexMap<String, Value>;

/// A template that has been tried.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// The variables that it may look up.
    names: HashSet<String>,
    /// Whether llama.cpp knows its family, and rewrites a chat before it renders it.
    pub(super) llama_cpp_rewrites: bool,
    /// Whether it adds to a text that it marks as safe. In Python what is added is then escaped for HTML; not here.
    pub(super) adds_to_safe: bool,
    /// Whether it takes a content that is a list of parts, and not only a text.
    pub(super) takes_parts: bool,
}

impl ChatTemplate {
    /// Reads a template, and tries it on one message.
    pub(super) fn new(
        source: &str,
        special_tokens: BTreeMap<String, String>,
        clock: &Clock,
    ) -> Result<Self, Cause> {
        let mut environment = dialect(clock).map_err(not_a_template)?;
        for (name, token) in special_tokens {
            environment.add_global(name, token);
        }
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(not_a_template)?;
        let names = environment
            .get_template(NAME)
            .map_err(not_a_template)?
            .undeclared_variables(false);
        let mut template = Self {
            environment,
            names,
            llama_cpp_rewrites: llama_cpp_rewrites(source),
            adds_to_safe: adds_to_safe(source),
            takes_parts: false,
        };
        template
            .render(one_message(Value::from("Hello")))
            .map_err(|fault| Cause::Fails(told(&fault)))?;
        template.takes_parts = template.try_parts();
        Ok(template)
    }

    /// Whether it may look a variable up.
    pub(super) fn names(&self, variable: &str) -> bool {
        self.names.contains(variable)
    }

    /// The prompt.
    pub(super) fn render(&self, variables: Variables) -> Result<String, Error> {
        self.environment.get_template(NAME)?.render(object(variables))
    }

    /// A template that takes parts writes the text of one, and nothing of how it was wrapped.
    fn try_parts(&self) -> bool {
        const TEXT: &str = "Hello, parts";
        let content = Value::from(vec![text_part(Value::from(TEXT))]);
        self.render(one_message(content)).is_ok_and(|prompt| {
            prompt.contains(TEXT) && !prompt.contains("'text'") && !prompt.contains("\"text\"")
        })
    }
}

/// What `apply_chat_template` gives its templates: the whitespace rules, and the functions.
fn dialect(clock: &Clock) -> Result<Environment<'static>, Error> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_test("iterable", is_iterable);
    environment.add_function("raise_exception", raise_exception);
    let clock = clock.clone();
    environment.add_function("strftime_now", move |format: &str| strftime(&clock, format));
    Ok(environment)
}

fn one_message(content: Value) -> Variables {
    let role = Value::from("user");
    let message = Variables::from([("role".to_owned(), role), ("content".to_owned(), content)]);
    Variables::from([
        ("messages".to_owned(), Value::from(vec![object(message)])),
        ("tools".to_owned(), Value::from(())),
        ("documents".to_owned(), Value::from(())),
        ("add_generation_prompt".to_owned(), Value::from(true)),
    ])
}

fn not_a_template(fault: Error) -> Cause {
    Cause::NotATemplate(told(&fault))
}

/// The fault with its line; the name of the template is ours, and says nothing.
fn told(fault: &Error) -> String {
    let what = fault
        .detail()
        .map_or_else(|| fault.kind().to_string(), str::to_owned);
    match fault.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

/// Marks by which llama.cpp (11434) tells the families whose chats it rewrites: Harmony, Gemma 4, DeepSeek V3.2 and
/// later, StepFun, Ministral 3.
fn llama_cpp_rewrites(source: &str) -> bool {
    const MARKS: [&str; 4] = [
        "<|channel|>",
        "'<|tool_call>call:'",
        "DSML",
        "You have access to the following functions in JSONSchema format",
    ];
    let is_ministral = source.contains("[ARGS]") && !source.contains("[CALL_ID]");
    is_ministral || MARKS.iter().any(|mark| source.contains(mark))
}

fn adds_to_safe(source: &str) -> bool {
    source
        .split(char::is_whitespace)
        .collect::<String>()
        .contains("|safe+")
}

/// transformers' own tag around what an assistant says, which marks tokens for training and writes nothing. A
/// condition that holds stands in for it, so that the spaces around it are treated alike.
fn without_generation_tags(source: &str) -> String {
    let mut rewritten = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, inside)) = rest.split_once("{%") {
        let (tag, after) = inside.split_once("%}").unwrap_or((inside, ""));
        let name = tag.trim_matches(|edge: char| edge.is_whitespace() || matches!(edge, '-' | '+'));
        rewritten.push_str(before);
        rewritten.push_str("{%");
        match name {
            "generation" => rewritten.push_str(&tag.replace(name, "if true")),
            "endgeneration" => rewritten.push_str(&tag.replace(name, "endif")),
            _ => rewritten.push_str(tag),
        }
        if tag.len() < inside.len() {
            rewritten.push_str("%}");
        }
        rest = after;
    }
    rewritten.push_str(rest);
    rewritten
}

/// As in Python, where `none` is not iterable; minijinja iterates over nothing.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// What templates refuse a conversation with.
fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The date as engines write it. They take the local one; here it is UTC.
fn strftime(clock: &Clock, format: &str) -> Result<String, Error> {
    let unwritable = |fault: jiff::Error| Error::new(ErrorKind::InvalidOperation, fault.to_string());
    let now = i64::try_from(clock.unix_ms()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_millisecond(now).map_err(unwritable)?;
    jiff::fmt::strtime::format(format, &now.to_zoned(jiff::tz::TimeZone::UTC)).map_err(unwritable)
}
