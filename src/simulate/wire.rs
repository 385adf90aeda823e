//! The bytes of stream events. What all chunks of a request have in common is written once, at its start; a token
//! is then three copies and no formatting.

use std::fmt::Write;

use bytes::BytesMut;

use super::refusal::Refusal;
use super::request::Kind;
use super::text::escape;

/// Token counts as the engine reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    /// Left out of the JSON when zero, as vLLM does.
    pub(super) cached: u64,
}

impl Usage {
    pub(super) fn write(&self, out: &mut BytesMut) {
        let Usage {
            prompt,
            completion,
            cached,
        } = *self;
        let total = prompt + completion;
        put(
            out,
            format_args!(
                "{{\"prompt_tokens\":{prompt},\"total_tokens\":{total},\"completion_tokens\":{completion}"
            ),
        );
        if cached > 0 {
            put(
                out,
                format_args!(",\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}}"),
            );
        }
        out.extend_from_slice(b"}");
    }
}

/// Formats into the buffer, which grows and so cannot fail.
pub(super) fn put(out: &mut BytesMut, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

/// The name that an answer goes by: its id as JSON text, its moment, its model.
#[derive(Debug)]
pub(super) struct Heading {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

impl Heading {
    /// Opens the object, up to the first choice.
    pub(super) fn open(&self, object: &str) -> String {
        let prefix = match self.kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        let (id, model, created) = (escape(&self.id), escape(&self.model), self.created);
        format!(
            "{{\"id\":\"{prefix}-{id}\",\"object\":\"{object}\",\"created\":{created},\"model\":\"{model}\",\
             \"choices\":["
        )
    }
}

/// Writes the events of one stream.
#[derive(Debug)]
pub(super) struct Wire {
    kind: Kind,
    /// `data: {...,"choices":[`
    head: String,
    /// For each choice, an event up to the token's text.
    leads: Vec<String>,
    /// The end of an event.
    end: &'static str,
}

impl Wire {
    pub(super) fn new(heading: &Heading, choices: usize, crlf: bool) -> Wire {
        let object = match heading.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        let head = format!("data: {}", heading.open(object));
        let field = match heading.kind {
            Kind::Chat => "\"delta\":{\"content\":\"",
            Kind::Completion => "\"text\":\"",
        };
        let leads = (0..choices)
            .map(|index| format!("{head}{{\"index\":{index},{field}"))
            .collect();
        Wire {
            kind: heading.kind,
            head,
            leads,
            end: if crlf { "\r\n\r\n" } else { "\n\n" },
        }
    }

    /// The delta that opens a chat's choice.
    pub(super) fn role(&self, out: &mut BytesMut, index: usize) {
        out.extend_from_slice(self.head.as_bytes());
        put(
            out,
            format_args!(
                "{{\"index\":{index},\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"logprobs\":null,\
                 \"finish_reason\":null}}"
            ),
        );
    }

    /// Opens the event of a token, whose JSON text follows.
    pub(super) fn open_text(&self, out: &mut BytesMut, index: usize) {
        if let Some(lead) = self.leads.get(index) {
            out.extend_from_slice(lead.as_bytes());
        }
    }

    /// Ends the text that [`Wire::open_text`] began.
    pub(super) fn close_text(&self, out: &mut BytesMut, logprobs: Option<&str>) {
        let (before, after): (&[u8], &[u8]) = match self.kind {
            Kind::Chat => (b"\"},\"logprobs\":", b",\"finish_reason\":null}"),
            Kind::Completion => (
                b"\",\"logprobs\":",
                b",\"finish_reason\":null,\"stop_reason\":null}",
            ),
        };
        out.extend_from_slice(before);
        out.extend_from_slice(logprobs.unwrap_or("null").as_bytes());
        out.extend_from_slice(after);
    }

    /// The delta that names the tool.
    pub(super) fn tool_name(&self, out: &mut BytesMut, index: usize, id: &str, name: &str) {
        out.extend_from_slice(self.head.as_bytes());
        let (id, name) = (escape(id), escape(name));
        put(
            out,
            format_args!(
                "{{\"index\":{index},\"delta\":{{\"tool_calls\":[{{\"id\":\"chatcmpl-tool-{id}\",\
                 \"type\":\"function\",\"index\":0,\"function\":{{\"name\":\"{name}\",\"arguments\":\"\"}}}}]}},\
                 \"logprobs\":null,\"finish_reason\":null}}"
            ),
        );
    }

    /// Opens a delta of a tool's arguments, whose JSON text follows.
    pub(super) fn open_arguments(&self, out: &mut BytesMut, index: usize) {
        out.extend_from_slice(self.head.as_bytes());
        let rest = "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"";
        put(out, format_args!("{{\"index\":{index},{rest}"));
    }

    /// Ends what [`Wire::open_arguments`] began.
    pub(super) fn close_arguments(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"\"}}]},\"logprobs\":null,\"finish_reason\":null}");
    }

    /// The chunk that says why a choice ended.
    pub(super) fn finish(&self, out: &mut BytesMut, index: usize, reason: &str) {
        self.open_text(out, index);
        let close = match self.kind {
            Kind::Chat => "\"}",
            Kind::Completion => "\"",
        };
        put(
            out,
            format_args!("{close},\"logprobs\":null,\"finish_reason\":\"{reason}\",\"stop_reason\":null}}"),
        );
    }

    /// Ends a chunk. The line, which begins at byte `start`, is filled up to `line_bytes`.
    pub(super) fn end_chunk(
        &self,
        out: &mut BytesMut,
        usage: Option<Usage>,
        start: usize,
        line_bytes: usize,
    ) {
        out.extend_from_slice(b"]");
        if let Some(usage) = usage {
            out.extend_from_slice(b",\"usage\":");
            usage.write(out);
        }
        let around = ",\"padding\":\"\"}".len();
        let length = out.len() - start;
        if line_bytes > length + around {
            out.extend_from_slice(b",\"padding\":\"");
            out.resize(start + line_bytes - 2, b'x');
            out.extend_from_slice(b"\"");
        }
        out.extend_from_slice(b"}");
        out.extend_from_slice(self.end.as_bytes());
    }

    /// The chunk without choices that carries the usage.
    pub(super) fn usage(&self, out: &mut BytesMut, usage: Usage) {
        let start = out.len();
        out.extend_from_slice(self.head.as_bytes());
        self.end_chunk(out, Some(usage), start, 0);
    }

    pub(super) fn done(&self, out: &mut BytesMut) {
        self.event(out, "data: [DONE]");
    }

    pub(super) fn comment(&self, out: &mut BytesMut) {
        self.event(out, ": ping");
    }

    /// A chunk that is no JSON.
    pub(super) fn malformed(&self, out: &mut BytesMut) {
        self.event(out, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":");
    }

    /// An error inside the stream.
    pub(super) fn error(&self, out: &mut BytesMut, refusal: &Refusal) {
        self.event(out, &format!("data: {}", refusal.body()));
    }

    fn event(&self, out: &mut BytesMut, line: &str) {
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(self.end.as_bytes());
    }
}
