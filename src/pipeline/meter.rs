//! Upstream -> (the same bytes, Usage): one pass over a stream, without a socket or a clock.
//!
//! Content passes at once. What is held back is the end: the usage chunk and `[DONE]` wait for the commit, and
//! an event that has not ended is not shown. docs/API.md lists every byte that differs from the engine's.

use crate::engines::sse::{Event, SseReader};
use crate::pipeline::edits::{self, Edit, apply, edited_bytes};
use crate::pipeline::event::{self, DataKind, Finishes};
use crate::pipeline::request::StreamOptions;
use crate::pipeline::usage::read_usage;
use bytes::{Bytes, BytesMut};
use farebox_domain::ledger::Endpoint;
use farebox_domain::tokens::Usage;
use farebox_domain::units::ServiceTier;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

/// Bytes of one event that are held while it has not ended. A chunk with twenty logprobs has a few thousand.
pub const EVENT_LIMIT_BYTES: usize = 8 << 20;

/// How a stream that had begun ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFault {
    /// The connection broke.
    Broken,
    /// It ended, and not every choice had its finish_reason.
    Incomplete,
    /// The engine sent an error event, or gave a choice up.
    EngineError,
    /// An event that is not JSON.
    Malformed,
    /// An event over [`EVENT_LIMIT_BYTES`].
    Oversized,
    /// Nothing came for too long.
    Stalled,
    /// It took longer than a request may.
    Overtime,
    /// farebox reached its drain deadline.
    Shutdown,
}

impl StreamFault {
    /// Its name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Incomplete => "incomplete",
            Self::EngineError => "engine_error",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::Stalled => "stalled",
            Self::Overtime => "overtime",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What came of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More is to come.
    More,
    /// `[DONE]`, or the end: every choice is finished.
    Complete,
    /// The next token is one that the hold does not pay for. It is not shown.
    Ceiling,
    /// It will not be complete.
    Fault(StreamFault),
}

/// What an answer is to look like.
#[derive(Debug, Clone)]
pub struct Presentation {
    /// What the client asked of the usage.
    pub options: StreamOptions,
    /// The tier that is billed, where the client named one.
    pub service_tier: Option<ServiceTier>,
    /// The engine's name for the model, and the one to show, as JSON text without quotes; `None` where they are
    /// the same.
    pub rename: Option<(Bytes, Bytes)>,
}

impl Presentation {
    /// The engine's name for the model, replaced by the one to show.
    pub(in crate::pipeline) fn renamed(&self, data: &[u8]) -> Option<Edit<'_>> {
        let (from, to) = self.rename.as_ref()?;
        event::model_named(data, from).map(|range| (range, Cow::Borrowed(&to[..])))
    }

    /// The tier that is billed, in the place of the one that the engine says.
    fn tier_shown(&self, data: &[u8]) -> Option<Edit<'static>> {
        let tier = self.service_tier?;
        event::service_tier_value(data).map(|range| (range, quoted(tier)))
    }

    /// The same, at `standing`, which is where the engine has it in this object; at its end where it is not there.
    pub(in crate::pipeline) fn tier_told(
        &self,
        object: &[u8],
        standing: Option<Range<usize>>,
    ) -> Option<Edit<'static>> {
        let tier = self.service_tier?;
        if let Some(range) = standing {
            return Some((range, quoted(tier)));
        }
        let brace = memchr::memrchr(b'}', object)?;
        let field = [b",\"service_tier\":", &quoted(tier)[..]].concat();
        Some((brace..brace, Cow::Owned(field)))
    }
}

fn quoted(tier: ServiceTier) -> Cow<'static, [u8]> {
    Cow::Owned(format!("\"{}\"", tier.as_str()).into_bytes())
}

/// Reads a stream as it passes.
#[derive(Debug)]
pub struct StreamMeter {
    reader: SseReader,
    presentation: Presentation,
    finished: Vec<bool>,
    unfinished: usize,
    /// Choices that have finished and said how many tokens they have.
    pub counted_choices: u64,
    /// How many those are together.
    pub counted_tokens: u64,
    /// The last usage, a JSON object's text. A copy, as is the last chunk: a slice would keep the buffer that the engine's bytes
    /// are read into, and each read would need a new one.
    pub usage: Option<Vec<u8>>,
    /// Whether it came on a chunk of its own, which is the engine's last word.
    pub usage_is_final: bool,
    /// Deltas with a token in them, among chunks without a usage.
    pub deltas: u64,
    /// Tokens of completion that may be shown; `None` is without a ceiling.
    pub ceiling: Option<u64>,
    /// The last chunk that had choices: a usage chunk that must be made takes its id from it.
    last_chunk: Vec<u8>,
    usage_chunk: Option<Bytes>,
}

impl StreamMeter {
    /// A meter for a stream of this many choices.
    pub fn new(choices: usize, presentation: Presentation) -> Self {
        Self {
            reader: SseReader::new(EVENT_LIMIT_BYTES),
            presentation,
            finished: vec![false; choices],
            unfinished: choices,
            counted_choices: 0,
            counted_tokens: 0,
            usage: None,
            usage_is_final: false,
            deltas: 0,
            ceiling: None,
            last_chunk: Vec::new(),
            usage_chunk: None,
        }
    }

    /// Takes the next segment and puts what may be shown of it into `out`.
    pub fn push(&mut self, segment: Bytes, out: &mut Output) -> Step {
        out.begin(&segment);
        self.reader.push(segment);
        loop {
            match self.reader.next_event() {
                Ok(Some(event)) => match self.take(event, out) {
                    Step::More => {}
                    ended => return ended,
                },
                Ok(None) => return Step::More,
                Err(_) => return Step::Fault(StreamFault::Oversized),
            }
        }
    }

    /// The body ended cleanly.
    pub fn end(&mut self, out: &mut Output) -> Step {
        if let Some(event) = self.reader.finish() {
            // An engine may leave out the empty line after its last event.
            let closed = [&event.raw[..], b"\n\n"].concat();
            match self.push(closed.into(), out) {
                Step::More => {}
                ended => return ended,
            }
        }
        self.verdict()
    }

    fn verdict(&self) -> Step {
        if self.unfinished == 0 {
            Step::Complete
        } else {
            Step::Fault(StreamFault::Incomplete)
        }
    }

    fn take(&mut self, event: Event, out: &mut Output) -> Step {
        let Some(data) = event.data else {
            out.pass(&event.raw);
            return Step::More;
        };
        match event::kind_of(&data) {
            DataKind::Done => self.verdict(),
            DataKind::Error => Step::Fault(StreamFault::EngineError),
            DataKind::Rubbish => Step::Fault(StreamFault::Malformed),
            DataKind::Chunk => self.take_chunk(event.raw, data, out),
        }
    }

    fn take_chunk(&mut self, raw: Bytes, data: Bytes, out: &mut Output) -> Step {
        let finished = match event::finishes(&data) {
            Finishes::Choices(finished) => finished,
            Finishes::GivenUp => return Step::Fault(StreamFault::EngineError),
            Finishes::Malformed => return Step::Fault(StreamFault::Malformed),
        };
        let usage = event::usage_field(&data);
        if self.is_beyond_ceiling(&data, usage.as_ref()) {
            return Step::Ceiling;
        }
        for index in finished {
            // An index that was not asked for finishes nothing that is waited for.
            if let Some(seen @ false) = self.finished.get_mut(index) {
                *seen = true;
                self.unfinished -= 1;
                self.note_finished(&data, usage.as_ref());
            }
        }
        match &usage {
            Some(field) if field.is_object => {
                copy_into(self.usage.get_or_insert_default(), &data[field.value.clone()]);
                if event::has_no_choices(&data) {
                    self.usage_is_final = true;
                    self.usage_chunk = Some(data);
                    return Step::More;
                }
                self.usage_is_final = false;
            }
            _ => {}
        }
        // vLLM's running usage counts the chunk's own choice alone, so several are counted here.
        if self.finished.len() > 1 || !usage.as_ref().is_some_and(|field| field.is_object) {
            self.deltas += u64::from(event::brings_token(&data));
        }
        match self.edits(&data, usage.as_ref()) {
            edits if edits.is_empty() => out.pass(&raw),
            mut edits => out.write_edited(&raw, &data, &mut edits),
        }
        copy_into(&mut self.last_chunk, &data);
        Step::More
    }

    /// Whether this chunk brings more than the ceiling allows. An engine that was told to stop there never sends one.
    fn is_beyond_ceiling(&self, data: &Bytes, usage: Option<&event::UsageField>) -> bool {
        let Some(ceiling) = self.ceiling else { return false };
        let running = usage
            .filter(|field| field.is_object && self.finished.len() == 1)
            .and_then(|field| read_usage(&data[field.value.clone()]));
        let tokens = match running {
            Some(usage) => usage.completion_tokens,
            None => self.deltas + u64::from(event::brings_token(data)),
        };
        tokens > ceiling && event::brings_token(data)
    }

    /// Where a ceiling makes it matter, what a choice that has finished came to. A running usage counts the chunk's own
    /// choice, or all of them: then the number is too high, and nothing is lost by it.
    fn note_finished(&mut self, data: &Bytes, usage: Option<&event::UsageField>) {
        let field = usage.filter(|field| self.ceiling.is_some() && field.is_object);
        if let Some(read) = field.and_then(|field| read_usage(&data[field.value.clone()])) {
            self.counted_choices += 1;
            self.counted_tokens = self.counted_tokens.saturating_add(read.completion_tokens);
        }
    }

    /// The end of a stream that has reached its ceiling: each choice that is open finishes with `length`, and then
    /// what every complete stream ends with.
    pub fn ceiling_end(&self, endpoint: Endpoint, usage: &UsageJson) -> Bytes {
        let open = self
            .finished
            .iter()
            .enumerate()
            .filter(|(_, finished)| !**finished);
        let mut end = BytesMut::new();
        for (index, _) in open {
            let choice = match endpoint {
                Endpoint::Completions => {
                    format!(r#"{{"index":{index},"text":"","logprobs":null,"finish_reason":"length"}}"#)
                }
                Endpoint::ChatCompletions | Endpoint::Embeddings => {
                    format!(r#"{{"index":{index},"delta":{{}},"finish_reason":"length"}}"#)
                }
            };
            let chunk = made_chunk(
                &self.last_chunk,
                &format!(r#""choices":[{choice}]"#),
                &self.presentation,
            );
            end.extend_from_slice(&[b"data: ", &chunk[..], b"\n\n"].concat());
        }
        end.extend_from_slice(&self.terminal(usage));
        end.freeze()
    }

    /// What must differ from the engine's chunk.
    fn edits<'a>(&'a self, data: &[u8], usage: Option<&event::UsageField>) -> SmallVec<[Edit<'a>; 3]> {
        let mut edits: SmallVec<[Edit<'a>; 3]> = self.presentation.renamed(data).into_iter().collect();
        edits.extend(self.presentation.tier_shown(data));
        let options = self.presentation.options;
        if let Some(field) = usage.filter(|_| !(options.include_usage && options.continuous_usage)) {
            if !options.include_usage {
                let whole = event::with_key_and_comma(data, &field.value);
                edits.extend(whole.map(|range| (range, Cow::Borrowed(&b""[..]))));
            } else if field.is_object {
                edits.push((field.value.clone(), Cow::Borrowed(&b"null"[..])));
            }
        }
        edits
    }

    /// The end of a complete stream: the usage chunk, if the client asked for one, and `[DONE]`. `usage` is what
    /// the ledger holds, with its cost.
    pub fn terminal(&self, usage: &UsageJson) -> Bytes {
        let mut end = BytesMut::with_capacity(512);
        if self.presentation.options.include_usage {
            end.extend_from_slice(b"data: ");
            end.extend_from_slice(&self.usage_chunk(usage));
            end.extend_from_slice(b"\n\n");
        }
        end.extend_from_slice(b"data: [DONE]\n\n");
        end.freeze()
    }

    fn usage_chunk(&self, usage: &UsageJson) -> Bytes {
        // The engine may have put its usage elsewhere, or given none: then the chunk is made of the last one's head.
        let Some(chunk) = &self.usage_chunk else {
            return made_usage_chunk(&self.last_chunk, usage, &self.presentation);
        };
        let mut edits: Vec<Edit<'_>> = self.presentation.renamed(chunk).into_iter().collect();
        if let Some(field) = event::usage_field(chunk) {
            let shown = usage.spliced_into(&chunk[field.value.clone()]);
            edits.push((field.value, Cow::Owned(shown)));
        }
        edits.extend(
            self.presentation
                .tier_told(chunk, event::service_tier_value(chunk)),
        );
        apply(chunk, edits)
    }
}

fn copy_into(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.clear();
    kept.extend_from_slice(bytes);
}

/// A usage as a client is shown it.
#[derive(Debug, Clone)]
pub struct UsageJson {
    /// What is in the ledger.
    pub usage: Usage,
    /// USD, exact: `0.0000123`.
    pub estimated_cost: String,
    /// Whether the ledger's numbers are the engine's: then its object is shown, details and all.
    pub engines_own: bool,
}

impl UsageJson {
    /// The ledger's usage as an object of OpenAI's.
    pub fn made(&self) -> String {
        let usage = &self.usage;
        format!(
            r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}},"estimated_cost":{}}}"#,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens(),
            usage.cached_tokens,
            self.estimated_cost
        )
    }

    /// The engine's usage object with `estimated_cost` in it, if it says what the ledger says; else the ledger's.
    pub fn spliced_into(&self, engines: &[u8]) -> Vec<u8> {
        let Some(inner) = engines.strip_suffix(b"}").filter(|_| self.engines_own) else {
            return self.made().into_bytes();
        };
        let comma = if inner.trim_ascii_end().last() == Some(&b'{') {
            ""
        } else {
            ","
        };
        [
            inner,
            comma.as_bytes(),
            b"\"estimated_cost\":",
            self.estimated_cost.as_bytes(),
            b"}",
        ]
        .concat()
    }
}

fn made_usage_chunk(last: &[u8], usage: &UsageJson, presentation: &Presentation) -> Bytes {
    let fields = format!(r#""choices":[],"usage":{}"#, usage.made());
    made_chunk(last, &fields, presentation)
}

/// A chunk of farebox's own: the head of the engine's last one, with these fields.
fn made_chunk(last: &[u8], fields: &str, presentation: &Presentation) -> Bytes {
    let mut chunk: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(last).unwrap_or_default();
    chunk.retain(|field, _| {
        matches!(
            field.as_str(),
            "id" | "object" | "created" | "model" | "system_fingerprint"
        )
    });
    let head = serde_json::Value::Object(chunk).to_string();
    let comma: &[u8] = if head == "{}" { b"" } else { b"," };
    let inner = head.strip_suffix('}').unwrap_or("{").as_bytes();
    let made = Bytes::from([inner, comma, fields.as_bytes(), b"}"].concat());
    let mut edits: Vec<Edit<'_>> = presentation.renamed(&made).into_iter().collect();
    edits.extend(presentation.tier_told(&made, None));
    apply(&made, edits)
}

/// What may be shown of a segment: the engine's own bytes, uncopied until the first of its events is edited.
#[derive(Debug, Default)]
pub struct Output {
    segment: Bytes,
    /// The run of the segment that is to be shown and stands nowhere else yet.
    run: Range<usize>,
    /// What comes before that run.
    written: Vec<u8>,
}

impl Output {
    fn begin(&mut self, segment: &Bytes) {
        if !self.run.is_empty() {
            self.write_run(0);
        }
        self.segment = segment.clone();
    }

    /// Puts the engine's own bytes in.
    fn pass(&mut self, raw: &[u8]) {
        let Some(offset) = offset_in(&self.segment, raw) else {
            self.write_run(raw.len());
            return self.written.extend_from_slice(raw);
        };
        if self.run.end != offset {
            self.write_run(0);
            self.run.start = offset;
        }
        self.run.end = offset + raw.len();
    }

    /// Puts an event in, with these edits in its data.
    fn write_edited(&mut self, raw: &[u8], data: &Bytes, edits: &mut [Edit<'_>]) {
        let Some(offset) = offset_in(raw, data) else {
            // Its data came in several lines, which were joined elsewhere: it is written again as one.
            let mut line = Vec::with_capacity(edited_bytes(data, edits));
            edits::write(&mut line, data, edits);
            line.iter_mut()
                .filter(|byte| **byte == b'\n')
                .for_each(|byte| *byte = b' ');
            self.write_run(line.len() + 8);
            for part in [b"data: ", &line[..], b"\n\n"] {
                self.written.extend_from_slice(part);
            }
            return;
        };
        for (range, _) in &mut *edits {
            *range = range.start + offset..range.end + offset;
        }
        self.write_run(edited_bytes(raw, edits));
        edits::write(&mut self.written, raw, edits);
    }

    /// Writes the run down, as what comes next, `room` bytes of it, does not stand where it ends.
    fn write_run(&mut self, room: usize) {
        let needed = self.run.len() + room;
        if self.written.capacity() == 0 {
            // Most reads bring one event: then there is nothing to give back.
            self.written.reserve_exact(needed);
        }
        self.written.extend_from_slice(&self.segment[self.run.clone()]);
        self.run = 0..0;
    }

    /// All of it as one piece; `None` if there is nothing.
    pub fn take(&mut self) -> Option<Bytes> {
        let segment = std::mem::take(&mut self.segment);
        let run = std::mem::take(&mut self.run);
        if self.written.is_empty() {
            return (!run.is_empty()).then(|| segment.slice(run));
        }
        self.written.extend_from_slice(&segment[run]);
        Some(std::mem::take(&mut self.written).into())
    }
}

/// Where `part` stands in `whole`, if it is a part of it.
fn offset_in(whole: &[u8], part: &[u8]) -> Option<usize> {
    let offset = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    (offset <= whole.len() && offset + part.len() <= whole.len()).then_some(offset)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROLE: &str = r#"data: {"id":"c","model":"served","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#;
    const TOKEN: &str = r#"data: {"id":"c","model":"served","choices":[{"index":0,"delta":{"content":"é漢🎉 \"usage\":{"},"finish_reason":null}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    const FINISH: &str =
        r#"data: {"id":"c","model":"served","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"data: {"id":"c","model":"served","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":8}}}"#;

    /// In the priority tier, which the client named.
    fn prioritized(include_usage: bool) -> StreamMeter {
        let mut meter = meter(include_usage);
        meter.presentation.service_tier = Some(ServiceTier::Priority);
        meter
    }

    fn meter(include_usage: bool) -> StreamMeter {
        let options = StreamOptions {
            include_usage,
            continuous_usage: false,
        };
        let rename = Some((Bytes::from_static(b"served"), Bytes::from_static(b"sold")));
        let service_tier = None;
        let presentation = Presentation {
            options,
            service_tier,
            rename,
        };
        StreamMeter::new(1, presentation)
    }

    /// What is shown of these segments, and how it ended.
    fn shown(include_usage: bool, segments: &[&[u8]]) -> (String, Step, StreamMeter) {
        let (mut meter, mut out, mut text) = (meter(include_usage), Output::default(), Vec::new());
        for segment in segments {
            let step = meter.push(Bytes::copy_from_slice(segment), &mut out);
            text.extend(out.take().unwrap_or_default());
            if step != Step::More {
                return (String::from_utf8(text).unwrap(), step, meter);
            }
        }
        let step = meter.end(&mut out);
        text.extend(out.take().unwrap_or_default());
        (String::from_utf8(text).unwrap(), step, meter)
    }

    fn stream(events: &[&str]) -> String {
        events.iter().map(|event| format!("{event}\n\n")).collect()
    }

    fn usage() -> UsageJson {
        UsageJson {
            usage: Usage::new(9, 0, 1),
            estimated_cost: "0.1".into(),
            engines_own: true,
        }
    }

    #[test]
    fn a_usage_that_was_not_asked_for_is_taken_out() {
        let whole = stream(&[ROLE, TOKEN, FINISH, USAGE, "data: [DONE]"]);
        let (text, step, meter) = shown(false, &[whole.as_bytes()]);
        assert_eq!(step, Step::Complete);
        insta::assert_snapshot!(text, @r#"
data: {"id":"c","model":"sold","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"c","model":"sold","choices":[{"index":0,"delta":{"content":"é漢🎉 \"usage\":{"},"finish_reason":null}]}

data: {"id":"c","model":"sold","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
"#);
        assert_eq!(&meter.terminal(&usage())[..], b"data: [DONE]\n\n");
        assert!(meter.usage_is_final);
    }

    #[test]
    fn a_usage_that_was_asked_for_looks_as_openais() {
        let whole = stream(&[ROLE, FINISH, USAGE, USAGE, "data: [DONE]"]);
        let (text, step, meter) = shown(true, &[whole.as_bytes()]);
        assert_eq!(step, Step::Complete);
        assert!(text.contains(r#""usage":null"#) && !text.contains("served"));
        insta::assert_snapshot!(String::from_utf8(meter.terminal(&usage()).into()).unwrap(), @r#"
data: {"id":"c","model":"sold","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":8},"estimated_cost":0.1}}

data: [DONE]
"#);
    }

    #[test]
    fn the_tier_that_is_billed_is_shown_where_the_engine_says_one_and_with_the_usage() {
        let role = ROLE.replace("\"id\":\"c\",", "\"id\":\"c\",\"service_tier\":null,");
        let (mut meter, mut out) = (prioritized(true), Output::default());
        let whole = stream(&[&role, FINISH, USAGE, "data: [DONE]"]);
        assert_eq!(meter.push(whole.into(), &mut out), Step::Complete);
        let text = String::from_utf8(out.take().unwrap().into()).unwrap();
        let end = String::from_utf8(meter.terminal(&usage()).into()).unwrap();
        insta::assert_snapshot!(format!("{text}{end}"), @r#"
        data: {"id":"c","service_tier":"priority","model":"sold","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

        data: {"id":"c","model":"sold","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

        data: {"id":"c","model":"sold","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":8},"estimated_cost":0.1},"service_tier":"priority"}

        data: [DONE]
        "#);
        let (mut meter, mut out) = (prioritized(true), Output::default());
        meter.push(stream(&[ROLE, FINISH, "data: [DONE]"]).into(), &mut out);
        assert!(
            String::from_utf8(meter.terminal(&usage()).into())
                .unwrap()
                .contains(r#""service_tier":"priority"}"#),
            "a usage chunk that is made here has it too"
        );
    }

    #[test]
    fn a_usage_on_the_finishing_chunk_becomes_a_chunk_of_its_own() {
        let finish = FINISH.replace("]}", r#"],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#);
        let (_, step, meter) = shown(true, &[stream(&[&finish]).as_bytes()]);
        assert_eq!(step, Step::Complete, "[DONE] may be left out");
        let end = String::from_utf8(meter.terminal(&usage()).into()).unwrap();
        insta::assert_snapshot!(end, @r#"
data: {"id":"c","model":"sold","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":0},"estimated_cost":0.1}}

data: [DONE]
"#);
    }

    #[test]
    fn what_is_cut_never_looks_complete() {
        let whole = stream(&[ROLE, TOKEN, FINISH, USAGE, "data: [DONE]"]);
        let finish_at = whole.find("\"finish_reason\":\"stop\"").unwrap();
        for end in 0..whole.len() {
            let (_, step, _) = shown(false, &[&whole.as_bytes()[..end]]);
            if end < finish_at {
                assert!(matches!(step, Step::Fault(_)), "cut at {end}: {step:?}");
            }
        }
        let unfinished = stream(&[ROLE, TOKEN, "data: [DONE]"]);
        assert_eq!(
            shown(false, &[unfinished.as_bytes()]).1,
            Step::Fault(StreamFault::Incomplete)
        );
        let given_up = FINISH.replace("stop", "abort");
        for last in [r#"data: {"error":{"message":"x"}}"#, &given_up] {
            let (text, step, _) = shown(false, &[stream(&[ROLE, last, "data: [DONE]"]).as_bytes()]);
            assert_eq!(step, Step::Fault(StreamFault::EngineError));
            assert!(!text.contains("abort"), "{text}");
        }
    }

    proptest! {
        /// The same is shown and counted however the network splits the stream.
        #[test]
        fn the_split_does_not_matter(
            tokens in 0..4usize, crlf in any::<bool>(), include_usage in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut events = vec![ROLE, ": ping"];
            events.extend(std::iter::repeat_n(TOKEN, tokens));
            events.extend([FINISH, USAGE, "data: [DONE]"]);
            let mut whole = stream(&events);
            if crlf {
                whole = whole.replace('\n', "\r\n");
            }
            let bytes = whole.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let segments: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (one, one_step, one_meter) = shown(include_usage, &[bytes]);
            let (many, many_step, many_meter) = shown(include_usage, &segments);
            prop_assert_eq!(one, many);
            prop_assert_eq!(one_step, many_step);
            prop_assert_eq!(one_meter.usage, many_meter.usage);
        }

        #[test]
        fn no_bytes_make_it_panic(segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let segments: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
            let mut meter = meter(false);
            let mut out = Output::default();
            for segment in segments {
                if meter.push(Bytes::copy_from_slice(segment), &mut out) != Step::More {
                    break;
                }
            }
            let _ = meter.end(&mut out);
        }
    }
}
