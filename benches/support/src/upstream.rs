//! The engine: vLLM's wire, no model, and as little CPU as can be, for it shares its core with the clients.
//!
//! A request says what it wants in its own body: `max_tokens` content events, `seed` milliseconds apart (a field that every
//! gateway passes on; sglang-router drops those that it does not know), the first of them at once. As vLLM does, it puts a usage event (`choices: []`)
//! before `[DONE]` only where `include_usage` asks for one, and usage into every event only where
//! `continuous_usage_stats` does.

use crate::Outcome;
use crate::asks::{CHAT_MODEL, DIMENSIONS, EMBEDDING_MODEL, INPUTS};
use crate::wire::{BodyReader, parse_request, read_head};
use bytes::BytesMut;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fmt::Display;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// More content events than any phase asks for.
const MAX_EVENTS: u32 = 100_000;
const PROMPT_TOKENS: u32 = 187;

#[derive(Deserialize)]
struct Wanted {
    model: String,
    #[serde(default)]
    stream: bool,
    // The newer name is what sglang-router writes in its place.
    #[serde(alias = "max_completion_tokens")]
    max_tokens: u32,
    #[serde(default, rename = "seed")]
    pace_ms: u64,
    #[serde(default)]
    stream_options: StreamOptions,
}

#[derive(Deserialize)]
struct EmbeddingsWanted<'a> {
    model: &'a str,
    input: Vec<IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    #[serde(default)]
    continuous_usage_stats: bool,
}

/// Serves until it is killed. Prints its address first.
pub fn run() -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let vectors: Arc<str> = vectors().into();
            println!("{}", listener.local_addr()?);
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let vectors = Arc::clone(&vectors);
                tokio::spawn(async move {
                    // A gateway that closes, at whatever point, is its own business and the client's to report.
                    let _closed = serve(stream, &vectors).await;
                });
            }
        })
}

async fn serve(mut stream: TcpStream, vectors: &str) -> Outcome<()> {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    let mut body = Vec::with_capacity(4 * 1024);
    while let Some(head) = read_head(&mut stream, &mut buffer, parse_request).await? {
        body.clear();
        let mut reader = BodyReader::new(head.framing);
        loop {
            let used = reader.feed(&buffer, |piece| body.extend_from_slice(piece))?;
            let _body_bytes = buffer.split_to(used);
            if reader.ended() {
                break;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err("closed within a body".into());
            }
        }
        match head.path.as_str() {
            "/v1/chat/completions" => answer(&mut stream, &body).await?,
            "/v1/embeddings" => embed(&mut stream, vectors, &body).await?,
            "/v1/models" => respond(&mut stream, "200 OK", &models()).await?,
            // SGLang's; sglang-router asks for it, and routes by the name.
            "/model_info" | "/server_info" => respond(&mut stream, "200 OK", &served()).await?,
            "/health" => respond(&mut stream, "200 OK", "").await?,
            _ => respond(&mut stream, "404 Not Found", r#"{"detail":"Not Found"}"#).await?,
        }
    }
    Ok(())
}

fn models() -> String {
    let models = [CHAT_MODEL, EMBEDDING_MODEL]
        .map(|id| format!(r#"{{"id":"{id}","object":"model","created":1764000000,"owned_by":"vllm","root":"{id}","max_model_len":131072}}"#));
    format!(r#"{{"object":"list","data":[{}]}}"#, models.join(","))
}

fn served() -> String {
    format!(
        r#"{{"model_id":"{CHAT_MODEL}","model_path":"{CHAT_MODEL}","served_model_name":"{CHAT_MODEL}","is_generation":true}}"#
    )
}

async fn embed(stream: &mut TcpStream, vectors: &str, body: &[u8]) -> Outcome<()> {
    let EmbeddingsWanted { model, input } = match serde_json::from_slice(body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(stream, &error).await,
    };
    if input.len() != INPUTS {
        return refuse(stream, &format!("{} inputs", input.len())).await;
    }
    let answer = format!(
        r#"{{"id":"embd-6f1d7b0a4c1e4d5f9a3b2c1d0e9f8a7b","object":"list","created":1764000000,"model":"{model}","data":[{vectors}],"usage":{{"prompt_tokens":2816,"total_tokens":2816,"completion_tokens":0,"prompt_tokens_details":null}}}}"#
    );
    respond(stream, "200 OK", &answer).await
}

/// One for each input, 0.5 MB together: small numbers with as many digits as a float32 has when it is printed as Python does.
fn vectors() -> String {
    let mut state = 1_u32;
    let mut number = || {
        // Numerical Recipes' generator: the same numbers in each run.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = f64::from(state) / f64::from(u32::MAX) * 0.2 - 0.1;
        format!("{value:.18}")
    };
    let vector = |index| {
        let numbers: Vec<String> = std::iter::repeat_with(&mut number).take(DIMENSIONS).collect();
        format!(
            r#"{{"index":{index},"object":"embedding","embedding":[{}]}}"#,
            numbers.join(",")
        )
    };
    (0..INPUTS).map(vector).collect::<Vec<_>>().join(",")
}

async fn respond(stream: &mut TcpStream, status: &str, body: &str) -> Outcome<()> {
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    Ok(stream.write_all(response.as_bytes()).await?)
}

async fn answer(stream: &mut TcpStream, body: &[u8]) -> Outcome<()> {
    let wanted: Wanted = match serde_json::from_slice(body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(stream, &error).await,
    };
    if wanted.stream {
        stream_events(stream, &wanted).await
    } else {
        respond(stream, "200 OK", &completion(&wanted)).await
    }
}

async fn refuse(stream: &mut TcpStream, why: &impl Display) -> Outcome<()> {
    let message = format!(r#"{{"error":{{"message":"{why}","type":"BadRequest","code":400}}}}"#);
    respond(stream, "400 Bad Request", &message).await
}

fn completion(wanted: &Wanted) -> String {
    let (model, tokens) = (&wanted.model, wanted.max_tokens);
    let total = PROMPT_TOKENS + tokens;
    format!(
        r#"{{"id":"chatcmpl-6f1d7b0a4c1e4d5f9a3b2c1d0e9f8a7b","object":"chat.completion","created":1764000000,"model":"{model}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{CONTENT}","refusal":null,"tool_calls":[],"reasoning":null}},"logprobs":null,"finish_reason":"stop","stop_reason":null}}],"usage":{{"prompt_tokens":{PROMPT_TOKENS},"total_tokens":{total},"completion_tokens":{tokens},"prompt_tokens_details":null}},"prompt_logprobs":null}}"#
    )
}

/// One write an event, and between writes everybody else's turn: an engine steps all its streams together.
async fn stream_events(stream: &mut TcpStream, wanted: &Wanted) -> Outcome<()> {
    stream.write_all(STREAM_HEAD).await?;
    let pace = Duration::from_millis(wanted.pace_ms.max(1));
    // The first event is sent at once; an interval's first tick would come with the timer's next millisecond.
    let mut next_step = interval_at(Instant::now() + pace, pace);
    // A step that comes late must not bring the next one close behind it, in the same read of the gateway.
    next_step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut frame = Frame {
        json: Vec::with_capacity(512),
        wire: Vec::with_capacity(512),
    };
    let continuous = wanted.stream_options.continuous_usage_stats;
    let count = wanted.max_tokens.min(MAX_EVENTS);
    for index in 1..=count {
        match (index, wanted.pace_ms) {
            (1, _) => {}
            (_, 0) => tokio::task::yield_now().await,
            _ => {
                next_step.tick().await;
            }
        }
        let delta = if index == 1 { FIRST_DELTA } else { DELTA };
        frame.chunk(&wanted.model, delta, "null", continuous.then_some(index))?;
        stream.write_all(&frame.wire).await?;
    }
    frame.chunk(
        &wanted.model,
        r#"{"content":""}"#,
        r#""stop""#,
        continuous.then_some(count),
    )?;
    stream.write_all(&frame.wire).await?;
    if wanted.stream_options.include_usage {
        frame.usage(&wanted.model, count)?;
        stream.write_all(&frame.wire).await?;
    }
    Ok(stream.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await?)
}

/// An event and the HTTP chunk around it, built in buffers that a stream reuses.
struct Frame {
    json: Vec<u8>,
    wire: Vec<u8>,
}

impl Frame {
    fn chunk(&mut self, model: &str, delta: &str, finish_reason: &str, usage: Option<u32>) -> Outcome<()> {
        self.json.clear();
        write!(
            self.json,
            r#"{CHUNK_START}"{model}","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish_reason}}}]"#
        )?;
        if let Some(tokens) = usage {
            self.json.extend_from_slice(b",");
            self.write_usage(tokens)?;
        }
        self.seal()
    }

    fn usage(&mut self, model: &str, tokens: u32) -> Outcome<()> {
        self.json.clear();
        write!(self.json, r#"{CHUNK_START}"{model}","choices":[],"#)?;
        self.write_usage(tokens)?;
        self.seal()
    }

    fn write_usage(&mut self, tokens: u32) -> Outcome<()> {
        let total = PROMPT_TOKENS + tokens;
        Ok(write!(
            self.json,
            r#""usage":{{"prompt_tokens":{PROMPT_TOKENS},"total_tokens":{total},"completion_tokens":{tokens}}}"#
        )?)
    }

    fn seal(&mut self) -> Outcome<()> {
        self.wire.clear();
        write!(self.wire, "{:x}\r\ndata: ", self.json.len() + "data: }\n\n".len())?;
        self.wire.extend_from_slice(&self.json);
        self.wire.extend_from_slice(b"}\n\n\r\n");
        Ok(())
    }
}

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    transfer-encoding: chunked\r\n\r\n";
const CHUNK_START: &str = r#"{"id":"chatcmpl-6f1d7b0a4c1e4d5f9a3b2c1d0e9f8a7b","object":"chat.completion.chunk","created":1764000000,"model":"#;
const FIRST_DELTA: &str = r#"{"role":"assistant","content":"A"}"#;
const DELTA: &str = r#"{"content":" benchmark"}"#;
const CONTENT: &str = "A fare box counts each coin as it drops, keeps what it has counted when the lights go out, and \
    lets nobody ride further than the fare allows.";
