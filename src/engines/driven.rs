//! A connection to an engine that whoever uses it drives: the task that waits for an answer reads it from the socket itself.
//!
//! hyper hands a connection out in two halves, and the usual way is to spawn the half that reads and writes as a task. Then each piece of
//! an answer wakes two tasks, one after the other, and the second wakes the first again. Here one task polls both halves, and is woken
//! by the socket alone.

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::net::TcpStream;

/// What a connection reads from and writes to.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// So often one poll looks again at a connection that has more to do at once.
const ROUNDS: usize = 32;

/// Both halves of a connection.
pub(super) struct Driven {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection<Stream, Full<Bytes>>>,
    relay: Arc<Relay>,
    /// The relay, as the connection is given it.
    waker: Waker,
}

impl Driven {
    /// Over a stream that nothing was sent on.
    pub(super) async fn new(stream: Stream) -> Option<Box<Self>> {
        let (sender, connection) = http1::handshake(stream).await.ok()?;
        let relay = Arc::new(Relay::default());
        Some(Box::new(Self {
            sender,
            connection: Some(connection),
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        }))
    }

    /// Whether another request may be sent on it: the last answer was read to its end, and the engine has not closed it.
    pub(super) async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            let ready = self.drive(cx, |sender, cx| sender.poll_ready(cx));
            // What would have to come first comes from the engine, and it owes nothing.
            Poll::Ready(matches!(ready, Poll::Ready(Ok(()))))
        })
        .await
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let mut answered = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|cx| self.drive(cx, |_, cx| answered.as_mut().poll(cx))).await
    }

    /// The next piece of an answer's body.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.drive(cx, |_, cx| Pin::new(&mut *body).poll_frame(cx))
    }

    /// Nobody uses it from now on: what comes on it wakes nobody.
    pub(super) fn rest(&self) {
        drop(self.relay.user.take());
    }

    /// The stream, and what was read from it that is in nobody's hands yet; `None` where it has ended.
    pub(super) fn into_stream(self) -> Option<(Stream, Bytes)> {
        let parts = self.connection?.into_parts();
        Some((parts.io, parts.read_buf))
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.is_none()
    }

    /// Reads and writes what can be, until `step` comes to something or nothing moves any more.
    ///
    /// `step` is given a waker that wakes nobody: only the connection can bring it on.
    fn drive<T>(
        &mut self,
        cx: &Context<'_>,
        mut step: impl FnMut(&mut SendRequest<Full<Bytes>>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.relay.user.register(cx.waker());
        for _ in 0..ROUNDS {
            self.relay.begin();
            if let Some(connection) = &mut self.connection {
                let mut cx = Context::from_waker(&self.waker);
                // Whatever it failed by, the other half is told.
                if Pin::new(connection).poll(&mut cx).is_ready() {
                    self.connection = None;
                }
            }
            let stepped = step(&mut self.sender, &mut Context::from_waker(Waker::noop()));
            let again = self.relay.end();
            if !again || stepped.is_ready() {
                return stepped;
            }
        }
        // Others have their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.connection.is_none();
        f.debug_struct("Driven")
            .field("ended", &ended)
            .finish_non_exhaustive()
    }
}

/// Wakes who uses the connection, unless that is who moved it just now.
#[derive(Default)]
struct Relay {
    state: AtomicU8,
    user: AtomicWaker,
}

/// It is not being polled.
const AT_REST: u8 = 0;
/// It is.
const POLLED: u8 = 1;
/// And was woken meanwhile.
const WOKEN: u8 = 2;

impl Relay {
    fn begin(&self) {
        self.state.store(POLLED, Ordering::Release);
    }

    /// Returns whether the connection was woken meanwhile.
    fn end(&self) -> bool {
        self.state.swap(AT_REST, Ordering::AcqRel) == WOKEN
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self
            .state
            .compare_exchange(POLLED, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if noted == Err(AT_REST) {
            self.user.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_user_is_woken_by_what_comes_and_not_by_its_own_poll() {
        let (relay, user) = (Arc::new(Relay::default()), Arc::new(Woken::default()));
        let (waker, woken) = (Waker::from(Arc::clone(&relay)), || user.0.load(Ordering::Relaxed));
        relay.user.register(&Waker::from(Arc::clone(&user)));
        relay.begin();
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert!(relay.end() && woken() == 0, "it is to look again");
        relay.begin();
        assert!(!relay.end());
        waker.wake_by_ref();
        assert_eq!(woken(), 1, "it came after the last look");
        drop(relay.user.take());
        waker.wake();
        assert_eq!(woken(), 1, "nobody uses it");
    }
}
