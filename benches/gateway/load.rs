//! The clients: closed loops of chat requests, each on a connection of its own, checking every answer.

use crate::Outcome;
use crate::sse::EventCount;
use crate::wire::{BodyReader, parse_response, read_head};
use bytes::BytesMut;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The model that every request names.
pub const MODEL: &str = "meta-llama/Llama-3.3-70B-Instruct-Turbo";
/// Clients that are still at it this long after the end of a phase are cut off.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// Where clients go and with which key.
#[derive(Clone)]
pub struct Target {
    /// Of the gateway, or of the upstream itself.
    pub address: SocketAddr,
    /// Sent as a bearer token.
    pub key: String,
}

/// What clients ask for.
#[derive(Clone, Copy)]
pub struct Ask {
    /// How many clients at a time.
    pub clients: u32,
    /// Content events of a stream, or completion tokens of an answer.
    pub tokens: u32,
    /// Streamed, and how far apart events are; zero is as fast as they go.
    pub stream: Option<Duration>,
    /// Whether a stream is to end with usage.
    pub include_usage: bool,
    /// Spread the clients' starts over this long, so that their events do not come all at once.
    pub spread: Duration,
}

impl Ask {
    /// What a complete answer has: content, finish_reason, usage if asked for, `[DONE]`.
    fn expected_events(&self) -> u64 {
        if self.stream.is_some() {
            u64::from(self.tokens) + 2 + u64::from(self.include_usage)
        } else {
            0
        }
    }

    /// A request as openai-python words it, about 1 KB of body.
    fn request(&self, target: &Target) -> Vec<u8> {
        let options = match self.stream {
            None => String::new(),
            Some(pace) => {
                let usage = if self.include_usage {
                    r#","stream_options":{"include_usage":true}"#
                } else {
                    ""
                };
                format!(r#","stream":true{usage},"pace_ms":{}"#, pace.as_millis())
            }
        };
        let prompt = "Tell me how a fare box knows what each passenger owes. ".repeat(13);
        let body = format!(
            r#"{{"messages":[{{"role":"system","content":"You are a patient conductor who explains things in plain words, with an example each time, and never makes up a number."}},{{"role":"user","content":"{prompt}"}}],"model":"{MODEL}","max_tokens":{},"temperature":0.7,"top_p":0.95{options}}}"#,
            self.tokens
        );
        let (host, key, length) = (target.address, &target.key, body.len());
        let accept = "application/json";
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nContent-Type: application/json\r\n\
             User-Agent: OpenAI/Python 3.54.0\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// What the clients of a phase have seen so far.
#[derive(Default)]
pub struct Seen {
    /// Whole answers.
    pub answers: AtomicU64,
    /// SSE events.
    pub events: AtomicU64,
    /// Clients that have had a first answer or event.
    pub begun: AtomicU64,
    /// While set, times to the first event are kept.
    pub timing: AtomicBool,
    /// Of streams that began while `timing`.
    pub first_event_after: Mutex<Vec<Duration>>,
    /// The first thing that went wrong; its client stops.
    pub fault: Mutex<Option<String>>,
    stopping: AtomicBool,
}

/// A load under way. Dropping it cuts every connection.
pub struct Load {
    /// Counted by all clients.
    pub seen: Arc<Seen>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients.
    pub fn start(target: &Target, ask: Ask) -> Self {
        let seen = Arc::new(Seen::default());
        let mut clients = JoinSet::new();
        let request: Arc<[u8]> = ask.request(target).into();
        for client in 0..ask.clients {
            let (seen, request, address) = (Arc::clone(&seen), Arc::clone(&request), target.address);
            let start_after = ask.spread * client / ask.clients;
            clients.spawn(async move {
                tokio::time::sleep(start_after).await;
                if let Err(error) = client_loop(address, &request, ask, &seen).await {
                    seen.fault.lock().get_or_insert(error.to_string());
                }
            });
        }
        Self { seen, clients }
    }

    /// Lets each client finish the answer that it is reading, within a bound.
    pub async fn drain(mut self) {
        self.seen.stopping.store(true, Ordering::Relaxed);
        let all_done = async { while self.clients.join_next().await.is_some() {} };
        // Those that are not done are cut off by the drop, and the phase was counted before.
        let _cut_off = tokio::time::timeout(DRAIN_WITHIN, all_done).await;
    }
}

/// One answer, for asking whether a gateway is ready.
pub async fn one_answer(target: &Target) -> Outcome<()> {
    let ask = Ask {
        clients: 1,
        tokens: 8,
        stream: None,
        include_usage: false,
        spread: Duration::ZERO,
    };
    let seen = Seen {
        stopping: AtomicBool::new(true),
        ..Seen::default()
    };
    client_loop(target.address, &ask.request(target), ask, &seen).await
}

async fn client_loop(address: SocketAddr, request: &[u8], ask: Ask, seen: &Seen) -> Outcome<()> {
    let mut client = Client {
        stream: TcpStream::connect(address).await?,
        buffer: BytesMut::with_capacity(16 * 1024),
        begun: false,
    };
    client.stream.set_nodelay(true)?;
    loop {
        client.exchange(request, ask, seen).await?;
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
    async fn exchange(&mut self, request: &[u8], ask: Ask, seen: &Seen) -> Outcome<()> {
        let timed = seen.timing.load(Ordering::Relaxed);
        let begun_at = Instant::now();
        self.stream.write_all(request).await?;
        let head = read_head(&mut self.stream, &mut self.buffer, parse_response).await?;
        let head = head.ok_or("closed instead of an answer")?;
        let mut reader = BodyReader::new(head.framing);
        let (mut count, mut events, mut bytes) = (EventCount::default(), 0, Vec::new());
        loop {
            let before = events;
            let used = reader.feed(&self.buffer, |piece| {
                if ask.stream.is_some() && head.status == 200 {
                    events += count.feed(piece);
                } else {
                    bytes.extend_from_slice(piece);
                }
            })?;
            let _body_bytes = self.buffer.split_to(used);
            if events > before {
                seen.events.fetch_add(events - before, Ordering::Relaxed);
                self.note_first(before == 0 && timed, begun_at, seen);
            }
            if reader.ended() {
                break;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(format!("the body broke off after {events} events").into());
            }
        }
        self.note_first(false, begun_at, seen);
        let whole = if ask.stream.is_some() {
            count.complete() && events == ask.expected_events()
        } else {
            !bytes.is_empty()
        };
        if head.status == 200 && whole {
            return Ok(());
        }
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        let expected = ask.expected_events();
        Err(format!("status {}, {events} events of {expected}: {start}", head.status).into())
    }

    fn note_first(&mut self, timed: bool, begun_at: Instant, seen: &Seen) {
        if timed {
            seen.first_event_after.lock().push(begun_at.elapsed());
        }
        if !self.begun {
            self.begun = true;
            seen.begun.fetch_add(1, Ordering::Relaxed);
        }
    }
}
