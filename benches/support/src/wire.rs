//! As much HTTP/1.1 as a load generator and an upstream need: heads by httparse, bodies by length or in chunks.

use crate::Outcome;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The largest head that is read; more is an error.
const MAX_HEAD: usize = 16 * 1024;

/// How a message's body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// The start of a message.
#[derive(Debug)]
pub struct Head {
    /// Of a response; 0 in a request.
    pub status: u16,
    /// Of a request; empty in a response.
    pub path: String,
    /// Neither length nor chunks counts as no body.
    pub framing: Framing,
}

/// A head and its length in bytes, or `None` while it is not whole.
type Parsed = Outcome<Option<(usize, Head)>>;

/// Reads a head into `buffer`, which keeps what came after it. `None`: the peer closed between messages.
pub async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    parse: fn(&[u8]) -> Parsed,
) -> Outcome<Option<Head>> {
    loop {
        if !buffer.is_empty()
            && let Some((length, head)) = parse(buffer)?
        {
            let _head_bytes = buffer.split_to(length);
            return Ok(Some(head));
        }
        if buffer.len() > MAX_HEAD {
            return Err("a head over 16 KiB".into());
        }
        let before = buffer.len();
        if stream.read_buf(buffer).await? == 0 {
            return if before == 0 {
                Ok(None)
            } else {
                Err("closed within a head".into())
            };
        }
    }
}

/// For [`read_head`], on a server's side.
pub fn parse_request(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(bytes)? else {
        return Ok(None);
    };
    let path = request.path.unwrap_or_default().to_owned();
    Ok(Some((
        length,
        Head {
            status: 0,
            path,
            framing: framing(request.headers)?,
        },
    )))
}

/// For [`read_head`], on a client's side.
pub fn parse_response(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    Ok(Some((
        length,
        Head {
            status,
            path: String::new(),
            framing: framing(response.headers)?,
        },
    )))
}

fn framing(headers: &[httparse::Header<'_>]) -> Outcome<Framing> {
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            return Ok(Framing::Length(
                std::str::from_utf8(header.value)?.trim().parse()?,
            ));
        }
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Framing::Chunked);
        }
    }
    Ok(Framing::Length(0))
}

/// Takes a body out of its framing, whatever pieces it comes in.
pub struct BodyReader {
    state: State,
}

enum State {
    Length { left: u64 },
    ChunkSize { size: u64, in_extension: bool },
    ChunkData { left: u64 },
    ChunkEnd,
    Trailers { line_is_empty: bool },
    Ended,
}

impl BodyReader {
    /// At the first byte of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::ChunkSize {
                size: 0,
                in_extension: false,
            },
        };
        Self { state }
    }

    /// Whether the last byte of the body has been fed.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Gives the body's bytes within `input` to `sink`, and how many bytes of `input` were this message's.
    pub fn feed(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Outcome<usize> {
        let mut at = 0;
        while at < input.len() && !self.ended() {
            let rest = &input[at..];
            match &mut self.state {
                State::Length { left } | State::ChunkData { left } => {
                    let length = rest.len().min(usize::try_from(*left)?);
                    sink(&rest[..length]);
                    *left -= u64::try_from(length)?;
                    at += length;
                    self.after_data();
                }
                _ => {
                    self.framing_byte(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    fn after_data(&mut self) {
        match self.state {
            State::Length { left: 0 } => self.state = State::Ended,
            State::ChunkData { left: 0 } => self.state = State::ChunkEnd,
            _ => {}
        }
    }

    fn framing_byte(&mut self, byte: u8) -> Outcome<()> {
        match &mut self.state {
            State::ChunkSize { size, in_extension } => match byte {
                b'\n' if *size == 0 => self.state = State::Trailers { line_is_empty: true },
                b'\n' => self.state = State::ChunkData { left: *size },
                b'\r' => {}
                b';' => *in_extension = true,
                _ if *in_extension => {}
                _ => {
                    let digit = char::from(byte)
                        .to_digit(16)
                        .ok_or("a chunk size that is no number")?;
                    *size = size.checked_mul(16).ok_or("a chunk size without bound")? + u64::from(digit);
                }
            },
            State::ChunkEnd if byte == b'\n' => {
                self.state = State::ChunkSize {
                    size: 0,
                    in_extension: false,
                };
            }
            State::Trailers { line_is_empty } => match byte {
                b'\n' if *line_is_empty => self.state = State::Ended,
                b'\n' => *line_is_empty = true,
                b'\r' => {}
                _ => *line_is_empty = false,
            },
            _ => {}
        }
        Ok(())
    }
}
