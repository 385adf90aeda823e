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
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service as _};

/// Engines behind uvicorn close a connection that was idle for 5 s; a request must not meet that moment.
const IDLE_AT_MOST: Duration = Duration::from_secs(4);

/// Makes a connection.
pub(super) type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// The connections to one engine.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    address: Uri,
    idle: Arc<Idle>,
}

/// Those that nobody uses, with since when; the latest last.
#[derive(Debug)]
struct Idle {
    clock: Clock,
    connections: Mutex<VecDeque<(Instant, SendRequest<Full<Bytes>>)>>,
}

impl Pool {
    /// To this scheme and authority.
    pub(super) fn new(connector: Connector, address: Uri, clock: Clock) -> Self {
        let connections = Mutex::default();
        Self {
            connector,
            address,
            idle: Arc::new(Idle { clock, connections }),
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
        let now = self.clock.now();
        let mut connections = self.connections.lock();
        let is_old = |since: Instant| now.saturating_duration_since(since) > IDLE_AT_MOST;
        while connections.front().is_some_and(|(since, _)| is_old(*since)) {
            connections.pop_front();
        }
        Some(connections.pop_back()?.1)
    }

    fn put(&self, connection: SendRequest<Full<Bytes>>) {
        if !connection.is_closed() {
            let now = self.clock.now();
            self.connections.lock().push_back((now, connection));
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
