//! Server-sent events, cut out of the engine's bytes: the same events however the network split them.
//!
//! Most segments hold whole events and nothing else; those come out as slices of the segment, uncopied. What is
//! left of an event that did not end is kept, up to a bound, and read once.
//!
//! WHATWG HTML, "Interpreting an event stream": lines end with CR, LF or CRLF, an empty line ends an event.

use bytes::{Bytes, BytesMut};

/// One event, as the engine sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// All of its bytes, the empty line at its end among them.
    pub raw: Bytes,
    /// What its `data:` lines carry, joined by newlines; `None` for a comment or an empty event.
    pub data: Option<Bytes>,
}

/// An event grew over the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is over {0} bytes")]
pub struct EventTooLarge(pub usize);

/// Cuts a stream of bytes into events.
#[derive(Debug)]
pub struct SseReader {
    /// The beginning of an event that has not ended.
    tail: BytesMut,
    /// How much of the tail has been searched for its end.
    searched: usize,
    /// The current segment, as far as it has not come out as events.
    segment: Bytes,
    limit_bytes: usize,
}

impl SseReader {
    /// A reader that holds at most `limit_bytes` of an event that has not ended.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            tail: BytesMut::new(),
            searched: 0,
            segment: Bytes::new(),
            limit_bytes,
        }
    }

    /// Takes the next segment. Call [`Self::next_event`] until it has no more.
    pub fn push(&mut self, segment: Bytes) {
        if self.tail.is_empty() && self.segment.is_empty() {
            self.segment = segment;
        } else {
            self.tail.extend_from_slice(&self.segment);
            self.tail.extend_from_slice(&segment);
            self.segment = Bytes::new();
        }
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        if !self.segment.is_empty() {
            return match event_end(&self.segment, 0) {
                Ok(end) => Ok(Some(read(self.segment.split_to(end)))),
                Err(searched) => {
                    self.tail.extend_from_slice(&self.segment);
                    self.segment = Bytes::new();
                    self.searched = searched;
                    self.check_bound()
                }
            };
        }
        match event_end(&self.tail, self.searched) {
            Ok(end) => {
                self.searched = 0;
                Ok(Some(read(self.tail.split_to(end).freeze())))
            }
            Err(searched) => {
                self.searched = searched;
                self.check_bound()
            }
        }
    }

    /// The last event of a stream that ended without the empty line, if something is left.
    pub fn finish(&mut self) -> Option<Event> {
        let mut rest = std::mem::take(&mut self.tail);
        rest.extend_from_slice(&std::mem::take(&mut self.segment));
        self.searched = 0;
        (!rest.is_empty()).then(|| read(rest.freeze()))
    }

    fn check_bound(&self) -> Result<Option<Event>, EventTooLarge> {
        if self.tail.len() > self.limit_bytes {
            Err(EventTooLarge(self.limit_bytes))
        } else {
            Ok(None)
        }
    }
}

/// Where the first event in `bytes` ends, or from where to search when there is more. `from` is the start of a
/// line, or 0.
fn event_end(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let mut line_start = from;
    while let Some(offset) = memchr::memchr2(b'\n', b'\r', &bytes[line_start..]) {
        let line_end = line_start + offset;
        let next_line = match (bytes[line_end], bytes.get(line_end + 1)) {
            (b'\r', Some(b'\n')) => line_end + 2,
            // It may be the first half of CRLF.
            (b'\r', None) => return Err(line_start),
            _ => line_end + 1,
        };
        if offset == 0 {
            return Ok(next_line);
        }
        line_start = next_line;
    }
    Err(line_start)
}

/// Reads one event's fields.
fn read(raw: Bytes) -> Event {
    let mut data: Option<Bytes> = None;
    let mut joined: Option<BytesMut> = None;
    let mut rest: &[u8] = &raw;
    while !rest.is_empty() {
        let line_end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..line_end];
        if let Some(value) = line.strip_prefix(b"data:") {
            let value = raw.slice_ref(value.strip_prefix(b" ").unwrap_or(value));
            match (&data, &mut joined) {
                (None, _) => data = Some(value),
                (Some(first), None) => joined = Some(join(BytesMut::from(&first[..]), &value)),
                (Some(_), Some(_)) => joined = joined.map(|lines| join(lines, &value)),
            }
        }
        rest = &rest[(line_end + 1).min(rest.len())..];
    }
    let data = joined.map(BytesMut::freeze).or(data);
    Event { raw, data }
}

fn join(mut lines: BytesMut, line: &[u8]) -> BytesMut {
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(line);
    lines
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events_of(segments: &[&[u8]], limit: usize) -> Result<Vec<Event>, EventTooLarge> {
        let mut reader = SseReader::new(limit);
        let mut events = Vec::new();
        for segment in segments {
            reader.push(Bytes::copy_from_slice(segment));
            while let Some(event) = reader.next_event()? {
                events.push(event);
            }
        }
        events.extend(reader.finish());
        Ok(events)
    }

    fn data_of(text: &str) -> Vec<Option<String>> {
        let events = events_of(&[text.as_bytes()], 1 << 20).unwrap();
        events
            .into_iter()
            .map(|event| event.data.map(|data| String::from_utf8(data.into()).unwrap()))
            .collect()
    }

    #[test]
    fn every_framing_of_the_standard_is_read() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            data_of("data: a\n\ndata:b\r\n\r\ndata: c\r\r"),
            [some("a"), some("b"), some("c")]
        );
        assert_eq!(
            data_of(": ping\n\nevent: x\ndata: a\ndata: b\n\n"),
            [None, some("a\nb")]
        );
        assert_eq!(data_of("data: unfinished"), [some("unfinished")]);
    }

    #[test]
    fn a_whole_segment_comes_out_uncopied() {
        let segment = Bytes::from_static(b"data: a\n\ndata: b\n\n");
        let mut reader = SseReader::new(64);
        reader.push(segment.clone());
        let first = reader.next_event().unwrap().unwrap();
        assert_eq!(first.raw.as_ptr(), segment.as_ptr());
    }

    #[test]
    fn an_event_without_end_is_bounded() {
        let long = [b'x'; 100];
        assert_eq!(events_of(&[b"data: ", &long], 64), Err(EventTooLarge(64)));
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"\r\n\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\n".to_vec()),
            Just(b": ping\n\n".to_vec()),
            Just("é漢🎉".as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// The same events whatever the split, and never a byte lost or made up.
        #[test]
        fn the_split_does_not_matter(bytes in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
            let whole = events_of(&[&bytes], 1 << 20).unwrap();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let segments: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let split = events_of(&segments, 1 << 20).unwrap();
            prop_assert_eq!(&split, &whole);
            let raw: Vec<u8> = split.iter().flat_map(|event| event.raw.to_vec()).collect();
            prop_assert_eq!(raw, bytes);
        }
    }
}
