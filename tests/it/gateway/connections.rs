//! Connections to an engine: kept for the next request, and never a reason that one fails.

use super::{Gateway, eventually, models};
use farebox::engines::health::Standing;
use farebox::http::front::Front;
use farebox::http::listener::Listener;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes of an answer to who asks for a long one.
const LONG_BYTES: usize = 1 << 20;
const EVENTS: [&str; 3] = [
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
    r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
    "[DONE]",
];

/// An engine of which each connection is seen. It answers whatever it is asked.
struct Watched {
    url: String,
    /// On which connection each POST came.
    posts: Numbers,
    /// The same of each question whether it is up.
    probes: Numbers,
    /// How many of the next ones get no answer.
    deaf: Arc<AtomicUsize>,
    /// Which of those the gateway has closed.
    left: Numbers,
}

impl Watched {
    /// `closes`: after each answer to a POST, without a word.
    async fn start(closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (posts, probes, left, deaf) = Seen::default();
        let seen = (posts.clone(), probes.clone(), left.clone(), deaf.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, number, closes, seen.clone()));
            }
        });
        Self {
            url,
            posts,
            probes,
            left,
            deaf,
        }
    }
}

type Numbers = Arc<Mutex<Vec<usize>>>;
type Seen = (Numbers, Numbers, Numbers, Arc<AtomicUsize>);

async fn serve(mut stream: TcpStream, number: usize, closes: bool, (posts, probes, left, deaf): Seen) {
    while let Some((head, body)) = request(&mut stream).await {
        let is_post = head.starts_with("POST");
        let answer = if body.contains("\"stream\":true") {
            let events: String = EVENTS
                .iter()
                .map(|event| format!("data: {event}\n\n"))
                .map(|event| format!("{:x}\r\n{event}\r\n", event.len()))
                .collect();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{events}0\r\n\r\n"
            )
        } else {
            whole(&body)
        };
        if is_post {
            posts.lock().push(number);
        } else if head.contains("/health ") {
            probes.lock().push(number);
            let one_less = |left: usize| left.checked_sub(1);
            if deaf
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_ok()
            {
                return;
            }
        }
        let ends = is_post && (closes || body.contains("cut"));
        if stream.write_all(answer.as_bytes()).await.is_err() || ends {
            return;
        }
    }
    if posts.lock().contains(&number) {
        left.lock().push(number);
    }
}

/// An answer in one piece: `long`, `cut` off before its end, and the last on its connection (`close`), as it is asked for.
fn whole(body: &str) -> String {
    let long = if body.contains("long") { LONG_BYTES } else { 1 };
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": { "content": "x".repeat(long) } });
    let usage = json!({ "prompt_tokens": 3, "completion_tokens": 1 });
    let answer = json!({ "choices": [choice], "usage": usage }).to_string();
    let announced = answer.len() + usize::from(body.contains("cut"));
    let close = if body.contains("close") {
        "connection: Close\r\n"
    } else {
        ""
    };
    format!("HTTP/1.1 200 OK\r\n{close}content-length: {announced}\r\n\r\n{answer}")
}

/// A request's head and body; `None` where there is none any more.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

fn ask(stream: bool) -> Value {
    ask_for("x", stream)
}

fn ask_for(what: &str, stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": what }] })
}

async fn answered_at_length(gateway: &Gateway, what: &str) {
    let answer = gateway.chat(&ask_for(what, false)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.len() == LONG_BYTES && content.bytes().all(|byte| byte == b'x'));
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
}

async fn answered(gateway: &Gateway, stream: bool) {
    let answer = gateway.chat(&ask(stream)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    assert!(
        text.ends_with(if stream { "data: [DONE]\n\n" } else { "}" }),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_the_next_request() {
    let engine = Watched::start(false).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    for stream in [false, true, true, false, false, true] {
        answered(&gateway, stream).await;
    }
    let posts = engine.posts.lock().clone();
    assert_eq!(posts, vec![posts[0]; 6], "all on one connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_engine_has_closed_costs_no_try() {
    let engine = Watched::start(true).await;
    let gateway = Gateway::start(&models(&[&engine.url], "retries: { attempts: 1 }")).await;
    for stream in [false, true, false, true, false, false] {
        answered(&gateway, stream).await;
    }
    let posts = engine.posts.lock().clone();
    assert_eq!(posts.len(), 6);
    assert!(
        posts.is_sorted_by(|one, next| one < next),
        "each on another: {posts:?}"
    );
    assert!(
        !gateway
            .app
            .render_metrics()
            .contains("farebox_attempt_faults_total{")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_needs_is_closed() {
    // An engine may have a thread for each, and none for the next client while they are open.
    let engine = Watched::start(false).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    for _ in 0..2 {
        answered(&gateway, true).await;
        let last = *engine.posts.lock().last().unwrap();
        eventually("it is closed", || engine.left.lock().contains(&last)).await;
    }
    let posts = engine.posts.lock().clone();
    assert_ne!(posts[0], posts[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_never_meets_the_moment_in_which_a_kept_connection_is_closed() {
    // Many engines close a connection that was idle for 5 s, which is how often they are probed: it would say "down" of one that is up.
    let engine = Watched::start(false).await;
    let _gateway = Gateway::start(&models(&[&engine.url], "")).await;
    eventually("it is probed twice", || engine.probes.lock().len() >= 2).await;
    let probes = engine.probes.lock().clone();
    assert_ne!(probes[0], probes[1], "on the same connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_without_an_answer_takes_nobody_out_and_two_do() {
    let engine = Watched::start(false).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    let known = Arc::clone(&gateway.app.registry().engines()[0]);
    let standing = || known.health.standing();
    eventually("it is up", || standing() == Standing::Up).await;
    engine.deaf.store(1, Ordering::SeqCst);
    while engine.deaf.load(Ordering::SeqCst) > 0 {
        assert!(!known.probe().await, "nothing has changed");
    }
    assert_eq!(standing(), Standing::Up);
    engine.deaf.store(usize::MAX, Ordering::SeqCst);
    known.probe().await;
    assert_eq!(standing(), Standing::Down);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_whole_and_its_connection_is_kept() {
    let engine = Watched::start(false).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    for _ in 0..3 {
        answered_at_length(&gateway, "long").await;
        answered(&gateway, true).await;
    }
    let posts = engine.posts.lock().clone();
    assert_eq!(posts, vec![posts[0]; 6], "all on one connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_engine_is_about_to_close_is_not_kept_after_a_long_answer() {
    let engine = Watched::start(false).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    answered_at_length(&gateway, "long close").await;
    answered_at_length(&gateway, "long").await;
    let posts = engine.posts.lock().clone();
    assert_ne!(posts[0], posts[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_that_breaks_off_is_none() {
    let engine = Watched::start(false).await;
    let gateway = Gateway::start(&models(&[&engine.url], "retries: { attempts: 2 }")).await;
    let answer = gateway.chat(&ask_for("long cut", false)).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(engine.posts.lock().len(), 2, "it was tried again");
    answered_at_length(&gateway, "long").await;
}

/// Asks whether it is ready, on a connection of its own.
async fn knock(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let question = b"GET /ready HTTP/1.1\r\nhost: farebox\r\n\r\n";
    stream.write_all(question).await.unwrap();
    stream
}

#[tokio::test]
async fn a_connection_that_there_is_no_room_for_waits_until_another_ends() {
    let engine = Watched::start(false).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
    let listener = Listener { listener, most: 1 };
    let settings = gateway.app.settings.server;
    let front = Front::public(&gateway.app);
    tokio::spawn(listener.listen(front, settings, tasks, draining));

    let mut first = knock(address).await;
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = knock(address).await;
    let early = tokio::time::timeout(Duration::from_millis(200), second.read_exact(&mut byte)).await;
    assert!(early.is_err(), "it was taken in beside the first");
    drop(first);
    second.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"H");
}
