//! Connections to one engine, kept while they are idle.
//!
//! What hyper-util's pooled client does for any number of servers, for one: no server is looked up, no request copied, no task
//! started to wait until a connection is free again.

use crate::clock::Clock;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::Executor as _;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service as _};

/// Engines behind uvicorn close a connection that was idle for 5 s; a request must not meet that moment.
const IDLE_AT_MOST: Duration = Duration::from_millis(3500);
/// How often it is looked whether one is idle for so long.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// Makes a connection.
pub(super) type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

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
    connections: VecDeque<(Instant, SendRequest<Full<Bytes>>)>,
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

    /// Sends a request whose URI is a path. `None` where no answer begins.
    pub(super) async fn send(&self, mut request: Request<Full<Bytes>>) -> Option<Response<EngineBody>> {
        while let Some(mut kept) = self.idle.take() {
            // Whoever had it last may not have read to the end; then it closes.
            if kept.ready().await.is_err() {
                continue;
            }
            match kept.try_send_request(request).await {
                Ok(response) => return Some(self.answer(response, kept)),
                // The engine closed it just now, and nothing was sent.
                Err(mut fault) => request = fault.take_message()?,
            }
        }
        let mut new = self.connect().await?;
        let response = new.send_request(request).await.ok()?;
        Some(self.answer(response, new))
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = self.connector.clone().call(self.address.clone()).await.ok()?;
        let (sender, connection) = http1::handshake(stream).await.ok()?;
        // It ends when its sender is dropped, or the engine closes it.
        TokioExecutor::new().execute(async {
            let _ = connection.await;
        });
        Some(sender)
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: SendRequest<Full<Bytes>>,
    ) -> Response<EngineBody> {
        response.map(|incoming| EngineBody {
            incoming: Some(incoming),
            connection: Some(connection),
            idle: Arc::clone(&self.idle),
        })
    }
}

impl Idle {
    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.kept.lock();
        kept.close_old(self.clock.now());
        Some(kept.connections.pop_back()?.1)
    }

    fn put(self: &Arc<Self>, connection: SendRequest<Full<Bytes>>) {
        if connection.is_closed() {
            return;
        }
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
    incoming: Option<Incoming>,
    connection: Option<SendRequest<Full<Bytes>>>,
    idle: Arc<Idle>,
}

impl Body for EngineBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for EngineBody {
    fn drop(&mut self) {
        // First: a connection is not free while somebody could read from it.
        drop(self.incoming.take());
        if let Some(connection) = self.connection.take() {
            self.idle.put(connection);
        }
    }
}
