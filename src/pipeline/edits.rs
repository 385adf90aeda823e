//! What an engine is sent: the client's bytes with at most six edits, made in place.
//!
//! docs/API.md lists them: `model` renamed to what the engine calls it, the usage of a stream turned on,
//! `fail_fast` taken out, the account's `cache_salt` where the model's cache is each account's own, `max_tokens` where the client gave none and the model's limit or the account's money is less than the context, and
//! `service_tier` where the engine would refuse it, or would sell another tier than is billed.

use crate::pipeline::event;
use crate::pipeline::request::InferenceRequest;
use bytes::Bytes;
use farebox_domain::catalog::EngineKind;
use farebox_domain::ledger::Endpoint;
use farebox_domain::units::ServiceTier;
use std::borrow::Cow;
use std::ops::Range;

/// A part of a text, and what stands there instead.
pub(in crate::pipeline) type Edit<'a> = (Range<usize>, Cow<'a, [u8]>);

/// The text with its edits, which do not overlap. Without one, the same bytes uncopied.
pub(in crate::pipeline) fn apply(text: &Bytes, mut edits: Vec<Edit<'_>>) -> Bytes {
    if edits.is_empty() {
        return text.clone();
    }
    let mut edited = Vec::with_capacity(edited_bytes(text, &edits));
    write(&mut edited, text, &mut edits);
    edited.into()
}

/// How long the text is with its edits.
pub(in crate::pipeline) fn edited_bytes(text: &[u8], edits: &[Edit<'_>]) -> usize {
    let put_in: usize = edits.iter().map(|(_, with)| with.len()).sum();
    let taken_out: usize = edits.iter().map(|(range, _)| range.len()).sum();
    (text.len() + put_in).saturating_sub(taken_out)
}

/// Appends the text with its edits, which do not overlap.
pub(in crate::pipeline) fn write(out: &mut Vec<u8>, text: &[u8], edits: &mut [Edit<'_>]) {
    edits.sort_by_key(|(range, _)| range.start);
    let mut from = 0;
    for (range, with) in edits {
        out.extend_from_slice(&text[from..range.start]);
        out.extend_from_slice(with);
        from = range.end;
    }
    out.extend_from_slice(&text[from..]);
}

/// Below this a text is copied rather than sent in pieces.
const COPIED_BYTES: usize = 16 << 10;
/// The most edits of a text that is sent in pieces.
const EDITS_IN_PIECES: usize = 4;

/// The text with its edits, which do not overlap, in pieces: where it is long, those of it that stay are not copied.
pub(in crate::pipeline) fn pieces(text: &Bytes, mut edits: Vec<Edit<'_>>) -> Vec<Bytes> {
    if text.len() < COPIED_BYTES || edits.len() > EDITS_IN_PIECES {
        return vec![apply(text, edits)];
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
    let mut from = 0;
    for (range, with) in edits {
        pieces.push(text.slice(from..range.start));
        pieces.push(Bytes::from(with.into_owned()));
        from = range.end;
    }
    pieces.push(text.slice(from..));
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The object without the field whose value stands there.
pub(in crate::pipeline) fn without_field(object: &Bytes, value: &Range<usize>) -> Bytes {
    match event::with_key_and_comma(object, value) {
        Some(field) => apply(object, vec![(field, Cow::Borrowed(b""))]),
        None => object.clone(),
    }
}

impl InferenceRequest {
    /// The body for an engine of this kind that calls the model `serves`.
    pub fn body_for(&self, serves: &str, kind: EngineKind) -> Bytes {
        let mut edits: Vec<Edit<'_>> = Vec::new();
        if !self.body_names(serves) {
            let name = serde_json::Value::from(serves).to_string();
            edits.push((self.model_range.clone(), Cow::Owned(name.into_bytes())));
        }
        if self.stream {
            edits.extend(self.usage_turned_on(kind));
        }
        edits.extend(self.output_cap.map(|cap| self.output_capped(cap, kind)));
        edits.extend(self.cache_salt.as_ref().map(|salt| {
            let salt = format!("\"{salt}\"");
            match self.cache_salt_range.clone() {
                Some(range) => (range, Cow::Owned(salt.into_bytes())),
                None => self.first_field(format!("\"cache_salt\":{salt},")),
            }
        }));
        // Last: where it is the first field, what was put before it goes before it.
        edits.extend(self.service_tier_told(kind));
        apply(&self.body, edits)
    }

    /// Whether the body names this model, as it is written. `model` may be another: of a request that fell back, the one that serves.
    fn body_names(&self, serves: &str) -> bool {
        let written = &self.body[self.model_range.clone()];
        let inner = written
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        inner == Some(serves.as_bytes()) && !serves.contains('\\')
    }

    /// `max_tokens`, where the client gave none. A plain completion has 16 tokens where nothing is said (OpenAI API),
    /// but for engines that go on for ever: it is not given more.
    fn output_capped(&self, cap: u64, kind: EngineKind) -> Edit<'static> {
        let cap = match self.endpoint {
            Endpoint::Completions if !kind.completes_without_end() => cap.min(16),
            _ => cap,
        };
        match self.null_max_tokens_range.clone() {
            Some(range) => (range, Cow::Owned(cap.to_string().into_bytes())),
            None => self.first_field(format!("\"max_tokens\":{cap},")),
        }
    }

    /// A field right after the opening brace; a body that holds has at least a model, so a comma follows.
    fn first_field(&self, field: String) -> Edit<'static> {
        let brace = memchr::memchr(b'{', &self.body).unwrap_or(0) + 1;
        (brace..brace, Cow::Owned(field.into_bytes()))
    }

    /// `service_tier`: taken out for an engine that refuses what it does not know; for one that may sell tiers itself, the
    /// one that is billed.
    fn service_tier_told(&self, kind: EngineKind) -> Option<Edit<'static>> {
        let range = self.service_tier_range.clone()?;
        if kind.refuses_unknown_fields() {
            let whole = event::with_key_and_comma(&self.body, &range)?;
            return Some((whole, Cow::Borrowed(b"")));
        }
        let text = self.body.get(range.clone())?;
        let asked = ServiceTier::parse(std::str::from_utf8(text).ok()?.trim_matches('"'));
        let is_another = asked.is_some_and(|asked| asked != self.service_tier);
        (kind.may_sell_tiers() && is_another).then(|| {
            let name = format!("\"{}\"", self.service_tier.as_str());
            (range, Cow::Owned(name.into_bytes()))
        })
    }

    fn usage_turned_on(&self, kind: EngineKind) -> Option<Edit<'static>> {
        let wants_continuous = kind.has_continuous_usage();
        let already =
            self.stream_options.include_usage && (self.stream_options.continuous_usage || !wants_continuous);
        if already {
            return None;
        }
        let written = self.stream_options_range.clone().map(|range| {
            let text = self.body.get(range.clone()).unwrap_or_default();
            let options = serde_json::from_slice(text).ok().flatten();
            (range, options)
        });
        let (range, options): (_, Option<serde_json::Map<_, _>>) = written.unwrap_or((0..0, None));
        let mut options = options.unwrap_or_default();
        options.insert("include_usage".into(), true.into());
        if wants_continuous {
            options.insert("continuous_usage_stats".into(), true.into());
        }
        let options = serde_json::Value::Object(options).to_string();
        if !range.is_empty() {
            return Some((range, Cow::Owned(options.into_bytes())));
        }
        Some(self.first_field(format!("\"stream_options\":{options},")))
    }
}
