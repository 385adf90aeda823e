//! What stands in front of an engine: it answers `/tokenize` as vLLM does, and passes on everything else.
//!
//! The simulated engine has no such route, and vllm-router's cache-aware mode asks for the tokens of each prompt: without an
//! answer it routes by load alone. Every contender's engines have one, so that nobody has the hop more or less.

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use farebox_bench_support::Outcome;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longer than any prompt of a trace.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Serves until it is dropped.
pub struct Front {
    task: JoinHandle<()>,
    /// Where it is, without a path.
    pub url: String,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Engine {
    url: String,
    client: reqwest::Client,
}

/// Starts one in front of the engine at `url`.
pub async fn start(url: &str) -> Outcome<Front> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        // Where it cannot be set, the stream is broken and says so itself.
        let _broken = stream.set_nodelay(true);
    });
    let engine = Engine {
        url: url.to_owned(),
        client: reqwest::Client::builder().build()?,
    };
    let router = Router::new()
        .route("/tokenize", post(tokenize))
        .fallback(pass)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(engine);
    let task = tokio::spawn(async move {
        // It ends with the bench.
        let _never = axum::serve(listener, router).await;
    });
    Ok(Front {
        task,
        url: format!("http://{address}"),
    })
}

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// What vLLM answers.
#[derive(Serialize)]
struct Tokens {
    count: usize,
    max_model_len: u32,
    tokens: Vec<u32>,
}

/// The tokens of a chat: four bytes each, as the engine counts them, of a vocabulary of 131,072.
async fn tokenize(body: Bytes) -> Response {
    let Ok(asked) = serde_json::from_slice::<Asked<'_>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut text = String::with_capacity(body.len());
    for message in &asked.messages {
        for part in ["<", &message.role, ">", &message.content] {
            text.push_str(part);
        }
    }
    let chunks = text.as_bytes().chunks(4);
    let tokens: Vec<u32> = chunks
        .map(|token| {
            let name = token
                .iter()
                .fold(0, |name: u32, &byte| (name << 8) | u32::from(byte));
            name.wrapping_mul(0x9e37_79b1) >> 15
        })
        .collect();
    let (count, max_model_len) = (tokens.len(), 131_072);
    Json(Tokens {
        count,
        max_model_len,
        tokens,
    })
    .into_response()
}

async fn pass(
    State(engine): State<Engine>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let json = headers.get(header::CONTENT_TYPE).cloned();
    let mut request = engine
        .client
        .request(method, format!("{}{uri}", engine.url))
        .body(body);
    if let Some(json) = json {
        request = request.header(header::CONTENT_TYPE, json);
    }
    let Ok(answer) = request.send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let (status, kind) = (
        answer.status(),
        answer.headers().get(header::CONTENT_TYPE).cloned(),
    );
    let mut response = (status, Body::from_stream(answer.bytes_stream())).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
