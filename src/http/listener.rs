//! Connections: accepted, timed, and drained.
//!
//! A client that writes slowly, reads slowly or says nothing cannot hold a connection for ever: heads, bodies
//! (`http/body.rs`) and writes each have a deadline. HTTP/1.1 alone, which is what OpenAI's SDKs speak; a proxy in
//! front can add HTTP/2 and TLS.

use crate::config::ServerSettings;
use crate::http::front::Front;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When accepting fails (no file descriptors left), how long to wait for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come in.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub listener: TcpListener,
    /// How many there may be at once. Whoever comes then waits in the kernel's queue until one ends: taken in, it would have no
    /// file left for its connection to an engine.
    pub most: usize,
}

impl Listener {
    /// Takes connections until `draining`; each is a task of its own among `tasks`.
    pub async fn listen(
        self,
        front: Front,
        settings: ServerSettings,
        tasks: TaskTracker,
        draining: CancellationToken,
    ) {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout);
        let room = Arc::new(Semaphore::new(self.most.min(Semaphore::MAX_PERMITS)));
        let mut is_told = false;
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&room, &mut is_told) => accepted,
                () = draining.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let (builder, front, draining) = (builder.clone(), front.clone(), draining.clone());
                    let write_timeout = settings.write_timeout;
                    tasks.spawn(async move {
                        // Without it a small event waits for the client's acknowledgement of the one before.
                        if stream.set_nodelay(true).is_ok() {
                            connection((stream, peer), &builder, front, write_timeout, draining).await;
                        }
                        drop(place);
                    });
                }
                Err(fault) => {
                    tracing::warn!(%fault, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection, once there is room for it. That there is none is told once: it may be so all day.
    async fn accept(
        &self,
        room: &Arc<Semaphore>,
        is_told: &mut bool,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        if room.available_permits() == 0 && !std::mem::replace(is_told, true) {
            let most = self.most;
            tracing::warn!(
                most,
                "as many connections as the limit of open files carries; others wait"
            );
        }
        let place = Arc::clone(room).acquire_owned();
        let place = place.await.map_err(io::Error::other)?;
        let (stream, peer) = self.listener.accept().await?;
        Ok((stream, peer, place))
    }
}

async fn connection(
    (stream, peer): (TcpStream, SocketAddr),
    builder: &http1::Builder,
    front: Front,
    write_timeout: Duration,
    draining: CancellationToken,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        front.serve(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
    // How a connection ends is the client's affair; what a request came to is told elsewhere.
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "connection ended");
    }
}
