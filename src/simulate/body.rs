//! The body of an answer: it produces the stream as it is read, counts each token when its event is handed on, and
//! owns the ticket, so it ends with the last byte or with the client.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};

use super::pace::{Pacer, time_for};
use super::script::{Ended, Next, Script};
use super::slots::Place;
use super::ticket::Ticket;
use super::trouble::Writes;
use super::writes::{COALESCED_EVENTS, Piece, cut_up};

/// Room for this many bytes of events is taken from the allocator at once.
const BUFFER_BYTES: usize = 8 * 1024;

/// What follows the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Clean(Ended),
    /// The connection breaks.
    Break,
    /// Nothing, ever.
    Silence,
}

/// A response body that is simulated.
pub(super) struct AnswerBody {
    ticket: Ticket,
    stream: Option<Stream>,
    pieces: VecDeque<Piece>,
    ending: Option<Ending>,
    /// Each piece is to reach the socket by itself.
    separately: bool,
    /// The pieces before have had their chance to reach it.
    flushed: bool,
}

impl AnswerBody {
    /// A whole answer, in one piece or cut up.
    pub(super) fn whole(ticket: Ticket, bytes: Bytes, writes: Writes, ending: Ending) -> AnswerBody {
        let mut pieces = VecDeque::new();
        cut_up(bytes, 0, writes, &mut pieces);
        AnswerBody::new(ticket, None, pieces, Some(ending), writes)
    }

    /// An answer of which nothing ever comes.
    pub(super) fn silent(ticket: Ticket) -> AnswerBody {
        AnswerBody::new(
            ticket,
            None,
            VecDeque::new(),
            Some(Ending::Silence),
            Writes::Event,
        )
    }

    /// An answer that is produced while it is read.
    pub(super) fn streamed(ticket: Ticket, stream: Stream) -> AnswerBody {
        let writes = stream.writes;
        AnswerBody::new(ticket, Some(stream), VecDeque::new(), None, writes)
    }

    fn new(
        ticket: Ticket,
        stream: Option<Stream>,
        pieces: VecDeque<Piece>,
        ending: Option<Ending>,
        writes: Writes,
    ) -> AnswerBody {
        let separately = matches!(writes, Writes::SplitUtf8 | Writes::Bytewise);
        AnswerBody {
            ticket,
            stream,
            pieces,
            ending,
            separately,
            flushed: false,
        }
    }

    /// Pending once, so that the server writes out what it was handed before.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.flushed {
            self.flushed = false;
            return Poll::Ready(());
        }
        self.flushed = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// How the answer ended, when no piece is left of it.
    fn ended(&self) -> Option<Ended> {
        match (self.ending, &self.stream) {
            _ if !self.pieces.is_empty() => None,
            (Some(Ending::Clean(ended)), _) => Some(ended),
            (Some(Ending::Break), _) => Some(Ended::Broken),
            (Some(Ending::Silence), _) | (None, None) => None,
            (None, Some(stream)) => stream.script.over(),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = &mut *self;
        loop {
            if !body.pieces.is_empty() {
                if body.separately {
                    ready!(body.poll_flushed(cx));
                }
                let Some(piece) = body.pieces.pop_front() else {
                    continue;
                };
                body.ticket.count(piece.tokens);
                if let Some(ended) = body.ended() {
                    body.ticket.end(ended);
                }
                return Poll::Ready(Some(Ok(Frame::data(piece.bytes))));
            }
            match (body.ending, &mut body.stream) {
                (Some(Ending::Silence), _) => return Poll::Pending,
                (Some(Ending::Break), _) => {
                    ready!(body.poll_flushed(cx));
                    body.ticket.end(Ended::Broken);
                    body.ending = Some(Ending::Clean(Ended::Broken));
                    return Poll::Ready(Some(Err(io::Error::other("simulated: the connection breaks"))));
                }
                (None, Some(stream)) => {
                    body.ending = ready!(stream.poll_produce(cx, &mut body.ticket, &mut body.pieces));
                }
                (Some(Ending::Clean(ended)), _) => {
                    body.ticket.end(ended);
                    return Poll::Ready(None);
                }
                (None, None) => return Poll::Ready(None),
            }
        }
    }
}

/// What a stream is made from: its place in the queue, its pace, its events.
pub(super) struct Stream {
    script: Script,
    place: Option<Place>,
    pacer: Pacer,
    /// The next step, or at first the prefill, is awaited.
    stepping: bool,
    rates: Rates,
    writes: Writes,
    buffer: BytesMut,
    /// Events in the buffer, and the tokens in them.
    held: (usize, u64),
}

/// Tokens a second; zero is instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) prefill: u64,
    pub(super) decode: u64,
}

impl Rates {
    /// The pace of a request with so many prompt tokens to compute.
    pub(super) fn pacer(self, tokens: u64) -> Pacer {
        Pacer::new(time_for(tokens, self.prefill), time_for(1, self.decode))
    }
}

impl Stream {
    /// A stream that waits in the queue.
    pub(super) fn queued(script: Script, place: Place, rates: Rates, writes: Writes) -> Stream {
        Stream {
            place: Some(place),
            ..Stream::started(script, 0, rates, writes)
        }
    }

    /// A stream that has its slot, and so many cached tokens.
    pub(super) fn started(script: Script, cached: u64, rates: Rates, writes: Writes) -> Stream {
        let mut script = script;
        script.set_cached(cached);
        let pacer = rates.pacer(script.generation().prompt_tokens() - cached);
        let buffer = BytesMut::new();
        Stream {
            script,
            place: None,
            pacer,
            stepping: true,
            rates,
            writes,
            buffer,
            held: (0, 0),
        }
    }

    /// Adds at least one piece, or says how the stream ends.
    fn poll_produce(
        &mut self,
        cx: &mut Context<'_>,
        ticket: &mut Ticket,
        pieces: &mut VecDeque<Piece>,
    ) -> Poll<Option<Ending>> {
        if let Some(place) = &mut self.place {
            let permit = ready!(place.poll(cx));
            self.place = None;
            let cached = ticket.start(permit, &self.script.generation().prompts);
            self.script.set_cached(cached);
            self.pacer = self
                .rates
                .pacer(self.script.generation().prompt_tokens() - cached);
        }
        loop {
            if self.stepping {
                ready!(self.pacer.poll_step(cx));
                self.stepping = false;
            }
            if self.buffer.capacity() - self.buffer.len() < BUFFER_BYTES / 8 {
                self.buffer.reserve(BUFFER_BYTES);
            }
            let ending = match self.script.next(&mut self.buffer) {
                Next::Step => {
                    self.stepping = true;
                    continue;
                }
                Next::Event { tokens } => {
                    self.held = (self.held.0 + 1, self.held.1 + tokens);
                    let more = self.writes == Writes::Coalesce && self.held.0 < COALESCED_EVENTS;
                    if more && self.script.over().is_none() {
                        continue;
                    }
                    None
                }
                Next::End => Some(Ending::Clean(self.script.over().unwrap_or(Ended::Sound))),
                Next::Cut => Some(Ending::Break),
                Next::Silence => Some(Ending::Silence),
            };
            let (_, tokens) = std::mem::take(&mut self.held);
            cut_up(self.buffer.split().freeze(), tokens, self.writes, pieces);
            return Poll::Ready(ending);
        }
    }
}
