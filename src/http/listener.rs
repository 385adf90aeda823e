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
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When accepting fails (no file descriptors left), how long to wait for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes connections until `draining`; each is a task of its own among `tasks`.
pub async fn listen(
    listener: TcpListener,
    front: Front,
    settings: ServerSettings,
    tasks: TaskTracker,
    draining: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (builder, front, draining) = (builder.clone(), front.clone(), draining.clone());
                let write_timeout = settings.write_timeout;
                tasks.spawn(async move {
                    // Without it a small event waits for the client's acknowledgement of the one before.
                    if stream.set_nodelay(true).is_ok() {
                        connection((stream, peer), &builder, front, write_timeout, draining).await;
                    }
                });
            }
            Err(fault) => {
                tracing::warn!(%fault, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
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
