//! As much of ZMTP 3.0 (ZeroMQ RFC 23) as a subscriber needs: the NULL handshake and messages, over TCP.
//!
//! The `zeromq` crate was tried for it, and plays the engine in the tests. It reserves the length that a frame claims to
//! have before a byte of it has come, so whoever reaches a bound port can abort the process; and it cannot be told to notice
//! a host that vanished. Here a frame takes memory as it arrives and up to a bound, and the kernel probes silent peers.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A message that is longer, all its frames together, is passed over.
pub const MOST_BYTES: usize = 16 << 20;
/// As many frames of a message are kept: the rest is of no interest.
const MOST_FRAMES: usize = 8;
/// A peer that is no ZeroMQ socket says so by being silent.
const HANDSHAKE: Duration = Duration::from_secs(10);

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// A ZeroMQ socket's type, as it says it to its peer.
#[derive(Debug, Clone, Copy)]
pub enum SocketType {
    /// Hears what it subscribes to.
    Sub,
    /// Asks, and is answered many times.
    Dealer,
}

/// The frames of a message; none if it was too long.
pub type Message = Vec<Vec<u8>>;

/// A connection to one peer, after the handshake.
#[derive(Debug)]
pub struct Connection {
    stream: BufStream<TcpStream>,
}

impl Connection {
    /// Shakes hands, whoever connected to whom.
    pub async fn open(stream: TcpStream, socket: SocketType) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10));
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        let mut connection = Self {
            stream: BufStream::new(stream),
        };
        match timeout(HANDSHAKE, connection.shake_hands(socket)).await {
            Ok(done) => done.map(|()| connection),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn shake_hands(&mut self, socket: SocketType) -> io::Result<()> {
        // Signature, version 3.0, mechanism, not as a server, filler.
        let mut greeting = [0; 64];
        (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
        greeting[12..16].copy_from_slice(b"NULL");
        self.stream.write_all(&greeting).await?;
        let ready: &[u8] = match socket {
            SocketType::Sub => b"\x05READY\x0bSocket-Type\0\0\0\x03SUB",
            SocketType::Dealer => b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0",
        };
        self.write_frame(COMMAND, ready).await?;
        self.stream.flush().await?;

        self.stream.read_exact(&mut greeting).await?;
        if greeting[0] != 0xff || greeting[9] != 0x7f || greeting[10] < 3 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no ZMTP 3"));
        }
        let (flags, ready) = self.read_frame(MOST_BYTES).await?;
        if flags & COMMAND == 0 || !ready.is_some_and(|ready| ready.starts_with(b"\x05READY")) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer is not ready",
            ));
        }
        Ok(())
    }

    /// Sends a message of these frames.
    pub async fn send(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        for (place, frame) in frames.iter().enumerate() {
            let flags = if place + 1 < frames.len() { MORE } else { 0 };
            self.write_frame(flags, frame).await?;
        }
        self.stream.flush().await
    }

    /// The next message.
    pub async fn recv(&mut self) -> io::Result<Message> {
        let (mut frames, mut room, mut whole) = (Message::new(), MOST_BYTES, true);
        loop {
            let (flags, frame) = self.read_frame(room).await?;
            if flags & COMMAND != 0 {
                continue;
            }
            match frame {
                Some(frame) if frames.len() < MOST_FRAMES => {
                    room -= frame.len();
                    frames.push(frame);
                }
                frame => whole &= frame.is_some(),
            }
            if flags & MORE == 0 {
                return Ok(if whole { frames } else { Message::new() });
            }
        }
    }

    /// Its flags, and its bytes if there is room for them.
    async fn read_frame(&mut self, room: usize) -> io::Result<(u8, Option<Vec<u8>>)> {
        let flags = self.stream.read_u8().await?;
        let len = match flags & LONG {
            0 => u64::from(self.stream.read_u8().await?),
            _ => self.stream.read_u64().await?,
        };
        let mut frame = Vec::new();
        let mut bytes = (&mut self.stream).take(len);
        let fits = usize::try_from(len).is_ok_and(|len| len <= room);
        let read = if fits {
            bytes.read_to_end(&mut frame).await?
        } else {
            let read = tokio::io::copy_buf(&mut bytes, &mut tokio::io::sink()).await?;
            usize::try_from(read).unwrap_or(usize::MAX)
        };
        if u64::try_from(read).is_ok_and(|read| read < len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((flags, fits.then_some(frame)))
    }

    async fn write_frame(&mut self, flags: u8, frame: &[u8]) -> io::Result<()> {
        // Nothing that is sent here is longer than a topic.
        let len = u8::try_from(frame.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of over 255 bytes"))?;
        self.stream.write_all(&[flags, len]).await?;
        self.stream.write_all(frame).await
    }
}
