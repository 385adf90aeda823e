//! Connections to one engine, kept while they are idle.
//!
//! What hyper-util's pooled client does for any number of servers, for one: no server is looked up, no request copied, no task
//! started to wait until a connection is free again.

use crate::clock::Clock;
use crate::engines::driven::{Driven, Stream};
use bytes::{BufMut as _, Bytes, BytesMut};
use farebox_domain::attempt::AttemptFault;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Uri, Version};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::rt::Executor as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service as _};

/// Engines behind uvicorn close a connection that was idle for 5 s; a request must not meet that moment.
const IDLE_AT_MOST: Duration = Duration::from_millis(3500);
/// How often it is looked whether one is idle for so long.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);
/// Pieces of an answer that nobody wants that are read for the sake of its connection.
const LEFT_UNREAD: usize = 4;

/// Makes a connection.
pub(super) type Connector = BoxCloneSyncService<Uri, Stream, BoxError>;

/// The connections to one engine.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    address: Uri,
    idle: Arc<Idle>,
}

/// Those that nobody uses.
#[derive(Debug)]
struct Idle {
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// With since when nobody uses them; the latest last.
    connections: VecDeque<(Instant, Box<Driven>)>,
    /// Whether a task is there that closes those that are idle for too long: an engine may have a thread for each.
    is_watched: bool,
}

impl Pool {
    /// To this scheme and authority.
    pub(super) fn new(connector: Connector, address: Uri, clock: Clock) -> Self {
        let kept = Mutex::default();
        Self {
            connector,
            address,
            idle: Arc::new(Idle { clock, kept }),
        }
    }

    /// Sends a request whose URI is a path. An error: no answer begins.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<EngineBody>, AttemptFault> {
        while let Some(mut kept) = self.idle.take() {
            if !kept.is_ready().await {
                continue;
            }
            match kept.send(request).await {
                Ok(response) => return Ok(self.answer(response, kept)),
                // The engine closed it just now, and nothing was sent.
                Err(mut fault) => request = fault.take_message().ok_or(AttemptFault::Unreachable)?,
            }
        }
        // Boxed: it is seldom needed, and would make every request's future kilobytes longer.
        let mut new = Box::pin(self.connect()).await?;
        let response = new.send(request).await;
        let response = response.map_err(|_| AttemptFault::Unreachable)?;
        Ok(self.answer(response, new))
    }

    async fn connect(&self) -> Result<Box<Driven>, AttemptFault> {
        let stream = self.connector.clone().call(self.address.clone()).await;
        let stream = stream.map_err(|fault| not_connected(&*fault))?;
        Driven::new(stream).await.ok_or(AttemptFault::Unreachable)
    }

    fn answer(&self, response: Response<Incoming>, connection: Box<Driven>) -> Response<EngineBody> {
        let is_kept = is_kept(&response);
        response.map(|incoming| EngineBody {
            is_kept,
            is_read: incoming.is_end_stream(),
            incoming,
            connection: Some(connection),
            idle: Arc::clone(&self.idle),
        })
    }
}

/// Whether the engine says that another request may come after this one. https://www.rfc-editor.org/rfc/rfc9112#section-9.3
fn is_kept(response: &Response<Incoming>) -> bool {
    let says_close = |value: &HeaderValue| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    response.version() == Version::HTTP_11 && !response.headers().get_all(CONNECTION).iter().any(says_close)
}

/// Why there is no connection. That farebox has no file left for one says nothing of the engine.
fn not_connected(fault: &(dyn Error + 'static)) -> AttemptFault {
    let mut causes = std::iter::successors(Some(fault), |&fault| fault.source());
    let is_out_of_files = causes.any(|cause| {
        let errno = cause
            .downcast_ref::<std::io::Error>()
            .and_then(Errno::from_io_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE))
    });
    if is_out_of_files {
        AttemptFault::OutOfFiles
    } else {
        AttemptFault::Unreachable
    }
}

impl Idle {
    fn take(&self) -> Option<Box<Driven>> {
        let mut kept = self.kept.lock();
        kept.close_old(self.clock.now());
        Some(kept.connections.pop_back()?.1)
    }

    fn put(self: &Arc<Self>, connection: Box<Driven>) {
        if connection.is_closed() {
            return;
        }
        connection.rest();
        let mut kept = self.kept.lock();
        kept.connections.push_back((self.clock.now(), connection));
        if !std::mem::replace(&mut kept.is_watched, true) {
            TokioExecutor::new().execute(watch(Arc::downgrade(self)));
        }
    }
}

impl Kept {
    fn close_old(&mut self, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) > IDLE_AT_MOST;
        while self.connections.front().is_some_and(|(since, _)| is_old(*since)) {
            self.connections.pop_front();
        }
    }
}

/// Closes connections that are idle for too long, until there is none.
async fn watch(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut kept = idle.kept.lock();
        kept.close_old(idle.clock.now());
        if kept.connections.is_empty() {
            kept.is_watched = false;
            return;
        }
    }
}

/// An answer's body, as it comes in. Its connection is another's when it is dropped: one whose answer was not read to its end
/// closes, so that the engine sees that the client is gone.
#[derive(Debug)]
pub struct EngineBody {
    incoming: Incoming,
    /// Whether its engine lets another request come after it.
    is_kept: bool,
    /// Whether it was read to its end.
    is_read: bool,
    /// There until it is dropped.
    connection: Option<Box<Driven>>,
    idle: Arc<Idle>,
}

impl EngineBody {
    /// All of an answer, `length` bytes as the engine announced, into the buffer that has what was read of it: straight from the
    /// socket. hyper would read it into buffers of its own, for each of them to be copied. `None` where it breaks off.
    pub async fn read_straight(&mut self, all: &mut BytesMut, length: usize) -> Option<()> {
        let mut stream = TokioIo::new(self.take_stream(all)?);
        while all.len() < length {
            let left = length - all.len();
            if stream.read_buf(&mut (&mut *all).limit(left)).await.ok()? == 0 {
                return None;
            }
        }
        let is_exact = all.len() == length;
        all.truncate(length);
        if self.is_kept
            && is_exact
            && let Some(next) = Driven::new(stream.into_inner()).await
        {
            self.idle.put(next);
        }
        Some(())
    }

    /// The stream, and what hyper has read of it and nobody has taken: first what it gave out, then what it kept.
    fn take_stream(&mut self, all: &mut BytesMut) -> Option<Stream> {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut self.incoming).poll_frame(&mut cx) {
            all.extend_from_slice(frame.data_ref()?);
        }
        let (stream, read) = self.connection.take()?.into_stream()?;
        all.extend_from_slice(&read);
        Some(stream)
    }
}

impl Body for EngineBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(connection) = &mut this.connection else {
            return Poll::Ready(None);
        };
        let frame = ready!(connection.poll_frame(&mut this.incoming, cx));
        this.is_read = frame.is_none() || this.incoming.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for EngineBody {
    fn drop(&mut self) {
        // What an engine says with an error is seldom read, and is there already.
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..LEFT_UNREAD {
            if self.is_read || !matches!(Pin::new(&mut *self).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))) {
                break;
            }
        }
        if let Some(connection) = self.connection.take().filter(|_| self.is_read) {
            self.idle.put(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("tcp open error")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn that_no_file_is_left_is_told_from_what_an_engine_does() {
        let wrapped = |errno: Errno| Wrapped(io::Error::from(errno));
        assert_eq!(not_connected(&wrapped(Errno::MFILE)), AttemptFault::OutOfFiles);
        assert_eq!(
            not_connected(&io::Error::from(Errno::NFILE)),
            AttemptFault::OutOfFiles
        );
        assert_eq!(
            not_connected(&wrapped(Errno::CONNREFUSED)),
            AttemptFault::Unreachable
        );
        assert!(!AttemptFault::OutOfFiles.blames_engine());
    }
}
