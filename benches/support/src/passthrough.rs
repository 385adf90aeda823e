//! The floor of this stack: axum in, reqwest out, one key lookup and one scan for usage. It bills nothing.
//!
//! What it has in common with farebox is on purpose the same: runtime, HTTP libraries, TCP_NODELAY on both sides, a
//! request body that is whole before it goes on, and answers that pass as they come.

use crate::Outcome;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use http_body_util::BodyExt as _;
use memchr::memmem;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// The key that the pass-through and the proxies are given.
pub const KEY: &str = "fb_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Proxy {
    keys: HashMap<String, &'static str>,
    chat: String,
    embeddings: String,
    /// Each with connections of its own.
    clients: Vec<reqwest::Client>,
    turn: AtomicUsize,
    tokens: AtomicU64,
}

impl Proxy {
    fn next_client(&self) -> &reqwest::Client {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.clients[turn % self.clients.len()]
    }
}

/// Serves in front of `upstream` until it is killed. Prints its address first. Requests take turns at `clients` HTTP clients, as if there
/// were so many upstreams.
pub fn run(upstream: &str, clients: usize) -> Outcome<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "a TLS provider is there already")?;
    let client = |_| reqwest::Client::builder().no_proxy().tcp_nodelay(true).build();
    let clients = (0..clients.max(1)).map(client).collect::<Result<_, _>>()?;
    let proxy = Proxy {
        keys: (0..1_000)
            .map(|n| (format!("{KEY}{n}"), "other"))
            .chain([(KEY.to_owned(), "bench")])
            .collect(),
        chat: format!("http://{upstream}/v1/chat/completions"),
        embeddings: format!("http://{upstream}/v1/embeddings"),
        clients,
        turn: AtomicUsize::new(0),
        tokens: AtomicU64::new(0),
    };
    let router = axum::Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .with_state(Arc::new(proxy));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?);
            let listener = listener.tap_io(|stream| {
                // A peer that is gone already is found by the first read.
                let _gone = stream.set_nodelay(true);
            });
            Ok(axum::serve(listener, router).await?)
        })
}

async fn chat(State(proxy): State<Arc<Proxy>>, headers: HeaderMap, body: Bytes) -> Answer {
    let request = proxy.next_client().post(&proxy.chat);
    forward(proxy, request, &headers, body).await
}

async fn embeddings(State(proxy): State<Arc<Proxy>>, headers: HeaderMap, body: Bytes) -> Answer {
    let request = proxy.next_client().post(&proxy.embeddings);
    forward(proxy, request, &headers, body).await
}

type Answer = Result<Response<Body>, StatusCode>;

async fn forward(
    proxy: Arc<Proxy>,
    request: reqwest::RequestBuilder,
    headers: &HeaderMap,
    body: Bytes,
) -> Answer {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let key = authorization
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(StatusCode::UNAUTHORIZED)?;
    if !proxy.keys.contains_key(key) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let request = request
        .header(header::CONTENT_TYPE, "application/json")
        .body(body);
    let answer = request.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(content_type) = answer.headers().get(header::CONTENT_TYPE) {
        response = response.header(header::CONTENT_TYPE, content_type);
    }
    let body = axum::http::Response::<reqwest::Body>::from(answer)
        .into_body()
        .map_frame(move |frame| {
            let tokens = frame.data_ref().and_then(|data| completion_tokens(data));
            proxy
                .tokens
                .fetch_add(tokens.unwrap_or_default(), Ordering::Relaxed);
            frame
        });
    response
        .body(Body::new(body))
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// The last usage in `data`, if it does not straddle two pieces: a scan's cost without a scan's care.
fn completion_tokens(data: &[u8]) -> Option<u64> {
    let usage = &data[memmem::rfind(data, br#""usage":{"#)?..];
    let name = br#""completion_tokens":"#;
    let digits = &usage[memmem::find(usage, name)? + name.len()..];
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}
