//! The socket: connections without Nagle's delay, and one that can be closed without an answer.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::args::{Settings, SimulateArgs};
use super::engine::Engine;

/// How long accepting rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A response that is not sent: the server closes the connection instead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hangup;

impl Hangup {
    /// What a handler returns; a 502 where no server of ours stands behind it.
    pub(super) fn response() -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response.extensions_mut().insert(Hangup);
        response
    }
}

/// Runs an engine at the address in `args` until `shutdown`.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(args: SimulateArgs, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    let settings = Settings::from(args);
    tracing::info!(%address, models = ?settings.models, "simulated engine listens");
    Engine::new(settings).serve(listener, shutdown).await
}

impl Engine {
    /// Serves until `shutdown`, and then breaks what is still open, as an engine does that is killed.
    ///
    /// # Errors
    ///
    /// None today: a connection that fails ends by itself, and accepting goes on.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = self.router();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        connections.spawn(connection(socket, router.clone()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_REST).await,
                },
            }
        }
        connections.shutdown().await;
        Ok(())
    }
}

/// Serves one connection to its end. What its client did wrong, or a trouble broke, concerns nobody else.
async fn connection(socket: TcpStream, router: Router) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let answered = router.oneshot(request.map(Body::new)).await;
            let response = answered.unwrap_or_else(|never| match never {});
            match response.extensions().get::<Hangup>() {
                Some(Hangup) => Err(io::Error::other("simulated: closed without an answer")),
                None => Ok(response),
            }
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}
