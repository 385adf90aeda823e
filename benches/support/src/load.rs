//! The clients: closed loops of requests, each on a connection of its own, checking every answer.

use crate::Outcome;
use crate::asks::{Ask, INPUTS, Kind, Target};
use crate::sse::EventCount;
use crate::wire::{BodyReader, parse_response, read_head};
use bytes::BytesMut;
use memchr::memmem;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Clients that are still at it this long after the end of a phase are cut off.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// What the clients of a phase have seen so far.
#[derive(Default)]
pub struct Seen {
    /// Whole answers.
    pub answers: AtomicU64,
    /// SSE events.
    pub events: AtomicU64,
    /// Clients that have had a first answer or event.
    pub begun: AtomicU64,
    /// While set, waits are kept.
    pub timing: AtomicBool,
    /// Of requests that began while `timing`: to the first event of a stream, or to the end of an answer that is none.
    pub waits: Mutex<Vec<Duration>>,
    /// While set, gaps are kept.
    pub spacing: AtomicBool,
    /// Between a stream's events, as they were read; of those that one read brings, none but the first waited.
    pub gaps: Mutex<Vec<Duration>>,
    /// The first thing that went wrong; its client stops.
    pub fault: Mutex<Option<String>>,
    /// Requests begun.
    begun_requests: AtomicU64,
    stopping: AtomicBool,
}

impl Seen {
    /// A client that has finished its answer begins no other.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Digits that are another number in each request.
#[derive(Clone)]
pub struct Numbered {
    digits: Range<usize>,
    below: u64,
}

impl Numbered {
    /// The digits that `mark` ends with, where it stands in `request`: numbers from 0 up to `below`, in no order.
    pub fn at(request: &[u8], mark: &str, below: u64) -> Outcome<Self> {
        let begin =
            memmem::find(request, mark.as_bytes()).ok_or_else(|| format!("no {mark} in a request"))?;
        let digits = mark.bytes().rev().take_while(u8::is_ascii_digit).count();
        let end = begin + mark.len();
        Ok(Self {
            digits: end - digits..end,
            below: below.max(1),
        })
    }

    fn write(&self, request: &mut [u8], nth: u64) {
        // Fibonacci hashing: neighbours are far apart, and every number has its turn.
        let mut number = (nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) % self.below;
        for digit in request[self.digits.clone()].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    }
}

/// A load under way. Dropping it cuts every connection.
pub struct Load {
    /// Counted by all clients.
    pub seen: Arc<Seen>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients, who ask the same again and again.
    pub fn start(target: &Target, ask: Ask) -> Self {
        Self::start_numbered(target, ask, Vec::new())
    }

    /// Starts the clients, whose requests differ in these.
    pub fn start_numbered(target: &Target, ask: Ask, numbered: Vec<Numbered>) -> Self {
        let seen = Arc::new(Seen::default());
        let mut clients = JoinSet::new();
        let text = Text {
            bytes: ask.of.request(target),
            numbered,
        };
        for client in 0..ask.clients {
            let (seen, mut text, address) = (Arc::clone(&seen), text.clone(), target.address);
            let start_after = ask.spread * client / ask.clients;
            clients.spawn(async move {
                tokio::time::sleep(start_after).await;
                if let Err(error) = client_loop(address, &mut text, ask.of, &seen).await {
                    seen.fault.lock().get_or_insert(error.to_string());
                }
            });
        }
        Self { seen, clients }
    }

    /// Waits until each client has had a first answer or event. An error: one had none, or not within this time.
    pub async fn all_begun(&self, clients: u32, within: Duration) -> Outcome<()> {
        let started = Instant::now();
        while self.seen.begun.load(Ordering::Relaxed) < u64::from(clients) {
            if let Some(fault) = self.seen.fault.lock().clone() {
                return Err(fault.into());
            }
            if started.elapsed() > within {
                return Err(format!("not every client had an event within {within:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Lets each client finish the answer that it is reading, within a bound.
    pub async fn drain(self) {
        self.drain_within(DRAIN_WITHIN).await;
    }

    /// Likewise, within this bound.
    pub async fn drain_within(mut self, bound: Duration) {
        self.seen.stop();
        let all_done = async { while self.clients.join_next().await.is_some() {} };
        // Those that are not done are cut off by the drop, and the phase was counted before.
        let _cut_off = tokio::time::timeout(bound, all_done).await;
    }
}

/// One answer, for asking whether a gateway is ready.
pub async fn one_answer(target: &Target) -> Outcome<()> {
    let kind = Kind::Chat { tokens: 8 };
    let seen = Seen {
        stopping: AtomicBool::new(true),
        ..Seen::default()
    };
    let mut text = Text {
        bytes: kind.request(target),
        numbered: Vec::new(),
    };
    client_loop(target.address, &mut text, kind, &seen).await
}

/// Asks until there is one. An error: there is none within this time.
pub async fn wait_until_it_answers(target: &Target, within: Duration) -> Outcome<()> {
    let started = Instant::now();
    while let Err(error) = one_answer(target).await {
        if started.elapsed() > within {
            return Err(format!("no answer: {error}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What a client sends.
#[derive(Clone)]
struct Text {
    bytes: Vec<u8>,
    numbered: Vec<Numbered>,
}

async fn client_loop(address: SocketAddr, text: &mut Text, kind: Kind, seen: &Seen) -> Outcome<()> {
    let mut client = Client {
        stream: TcpStream::connect(address).await?,
        buffer: BytesMut::with_capacity(match kind {
            Kind::Embeddings => 256 * 1024,
            Kind::Chat { .. } | Kind::Stream { .. } => 16 * 1024,
        }),
        begun: false,
    };
    client.stream.set_nodelay(true)?;
    loop {
        if !text.numbered.is_empty() {
            let nth = seen.begun_requests.fetch_add(1, Ordering::Relaxed);
            for numbered in &text.numbered {
                numbered.write(&mut text.bytes, nth);
            }
        }
        client.exchange(&text.bytes, kind, seen).await?;
        seen.answers.fetch_add(1, Ordering::Relaxed);
        if seen.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    begun: bool,
}

impl Client {
    /// Writes a request and reads its answer, which must be whole.
    async fn exchange(&mut self, request: &[u8], kind: Kind, seen: &Seen) -> Outcome<()> {
        let timed = seen.timing.load(Ordering::Relaxed);
        let begun_at = Instant::now();
        self.stream.write_all(request).await?;
        let head = read_head(&mut self.stream, &mut self.buffer, parse_response).await?;
        let head = head.ok_or("closed instead of an answer")?;
        let mut reader = BodyReader::new(head.framing);
        let mut answer = Answer::to(kind, head.status);
        let mut last_event_at = None;
        loop {
            let before = answer.events;
            let used = reader.feed(&self.buffer, |piece| answer.feed(piece))?;
            let _body_bytes = self.buffer.split_to(used);
            if answer.events > before {
                seen.events.fetch_add(answer.events - before, Ordering::Relaxed);
                self.note(before == 0 && timed, begun_at, seen);
                if seen.spacing.load(Ordering::Relaxed) {
                    space(&mut last_event_at, answer.events - before, seen);
                }
            }
            if reader.ended() {
                break;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(format!("the body broke off after {} events", answer.events).into());
            }
        }
        self.note(answer.events == 0 && timed, begun_at, seen);
        answer.must_be_whole()
    }

    fn note(&mut self, timed: bool, begun_at: Instant, seen: &Seen) {
        if timed {
            seen.waits.lock().push(begun_at.elapsed());
        }
        if !self.begun {
            self.begun = true;
            seen.begun.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Keeps how long `events` waited since the last one that was looked at.
fn space(last_event_at: &mut Option<Instant>, events: u64, seen: &Seen) {
    let now = Instant::now();
    if let Some(last) = last_event_at.replace(now) {
        let mut gaps = seen.gaps.lock();
        gaps.push(now - last);
        gaps.extend((1..events).map(|_| Duration::ZERO));
    }
}

/// What has come of an answer's body.
struct Answer {
    kind: Kind,
    status: u16,
    events: u64,
    count: EventCount,
    /// `[` in embeddings: one of the list and one of each vector.
    brackets: usize,
    last: Option<u8>,
    /// Its beginning, for a complaint.
    start: Vec<u8>,
}

impl Answer {
    fn to(kind: Kind, status: u16) -> Self {
        Self {
            kind,
            status,
            events: 0,
            count: EventCount::default(),
            brackets: 0,
            last: None,
            start: Vec::new(),
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        match self.kind {
            Kind::Stream { .. } if self.status == 200 => self.events += self.count.feed(piece),
            Kind::Embeddings if self.status == 200 => {
                self.brackets += memchr::memchr_iter(b'[', piece).count();
            }
            _ => {
                let room = 300_usize.saturating_sub(self.start.len()).min(piece.len());
                self.start.extend_from_slice(&piece[..room]);
            }
        }
        self.last = piece.last().copied().or(self.last);
    }

    fn must_be_whole(&self) -> Outcome<()> {
        let whole = match self.kind {
            Kind::Stream { .. } => self.count.complete() && Some(self.events) == self.kind.expected_events(),
            Kind::Chat { .. } => self.last == Some(b'}'),
            Kind::Embeddings => self.brackets == INPUTS + 1 && self.last == Some(b'}'),
        };
        if self.status == 200 && whole {
            return Ok(());
        }
        let (status, events, start) = (self.status, self.events, String::from_utf8_lossy(&self.start));
        Err(format!("status {status}, {events} events, no whole answer: {start}").into())
    }
}
