//! Where an engine's events come from: sockets that it is connected to at, or that it connects to.

use crate::zmtp::{Connection, Message, SocketType};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

/// The wait before another try to connect: it doubles up to the longest.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
/// Publishers that may be connected to one listener at a time: an engine has one for each listener.
const MOST_CONNECTIONS: usize = 16;

/// A ZeroMQ endpoint, `tcp://host:port`. A host of `*` is every address of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// Of a data-parallel rank, if this is rank 0's: vLLM and SGLang add the rank to the port. `None` past the last port.
    pub fn of_rank(&self, rank: u32) -> Option<Self> {
        Some(Self {
            host: self.host.clone(),
            port: self.port.checked_add(u16::try_from(rank).ok()?)?,
        })
    }

    /// A listener there, for a publisher that connects.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        let host = if self.host == "*" { "0.0.0.0" } else { &self.host };
        TcpListener::bind((host, self.port)).await
    }

    pub(crate) async fn connect(&self, socket: SocketType) -> io::Result<Connection> {
        let stream = timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port))).await??;
        Connection::open(stream, socket).await
    }
}

/// Text that is no `tcp://host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnEndpoint;

impl fmt::Display for NotAnEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint is tcp://host:port")
    }
}

impl std::error::Error for NotAnEndpoint {}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let address = text.strip_prefix("tcp://").ok_or(NotAnEndpoint)?;
        let (host, port) = address.rsplit_once(':').ok_or(NotAnEndpoint)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        match port.parse() {
            Ok(port) if !host.is_empty() => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(NotAnEndpoint),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "tcp://[{host}]:{port}"),
            false => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// What comes of a feed.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    /// A connection is gone, and with it what is said until the next.
    Lost,
}

/// One publisher's way here.
#[derive(Debug)]
pub enum Feed {
    /// It binds: vLLM and SGLang do where their endpoint has `*` or `::`.
    Connect(Endpoint),
    /// It connects, as vLLM does to any other endpoint: this listener waits for it. Whoever reaches it is believed, so it
    /// belongs on a private network.
    Listen(TcpListener),
}

impl Feed {
    /// Hands on every message of this topic, for as long as it is polled. A full `to` holds the publisher back.
    pub(crate) async fn run(self, topic: &str, to: Sender<Heard>) {
        match self {
            Self::Connect(endpoint) => dial(&endpoint, topic, &to).await,
            Self::Listen(listener) => listen(&listener, topic, &to).await,
        }
    }
}

async fn dial(endpoint: &Endpoint, topic: &str, to: &Sender<Heard>) {
    let mut wait = SHORTEST_WAIT;
    loop {
        if let Ok(connection) = endpoint.connect(SocketType::Sub).await {
            wait = SHORTEST_WAIT;
            hear(connection, topic, to).await;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn listen(listener: &TcpListener, topic: &str, to: &Sender<Heard>) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => connections.push(async {
                    if let Ok(connection) = Connection::open(stream, SocketType::Sub).await {
                        hear(connection, topic, to).await;
                    }
                }),
                // Out of file descriptors, say.
                Err(_) => sleep(SHORTEST_WAIT).await,
            },
            Some(()) = connections.next() => {}
        }
    }
}

/// Until the peer is gone: what is known stays until the sequence shows that something was missed.
async fn hear(mut connection: Connection, topic: &str, to: &Sender<Heard>) {
    let subscription = [b"\x01", topic.as_bytes()].concat();
    if connection.send(&[&subscription]).await.is_err() {
        return;
    }
    while let Ok(message) = connection.recv().await {
        if to.send(Heard::Message(message)).await.is_err() {
            return;
        }
    }
    // In its place: what came before it is applied before it.
    let _ = to.send(Heard::Lost).await;
}
