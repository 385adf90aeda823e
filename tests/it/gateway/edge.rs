//! The edge of the public listener: slow clients, browsers, packed bodies, ids.

use super::{Gateway, SECRET, engine, eventually, models};
use farebox::simulate::Settings;
use serde_json::{Value, json};
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const IMPATIENT: &str = "server: { header_timeout: 300ms, body_timeout: 300ms, write_timeout: 300ms }";

fn body() -> Value {
    json!({ "model": "m", "max_tokens": 3, "messages": [{ "role": "user", "content": "Hello" }] })
}

async fn gateway(more: &str) -> Gateway {
    let engine = engine(Settings::default()).await;
    Gateway::start(&models(&[&engine.url], more)).await
}

async fn connect(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(gateway.url.strip_prefix("http://").unwrap())
        .await
        .unwrap()
}

/// All that the server says until it closes.
async fn said_until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8(said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_or_half_a_head_is_let_go() {
    let gateway = gateway(IMPATIENT).await;
    for half in ["", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = connect(&gateway).await;
        stream.write_all(half.as_bytes()).await.unwrap();
        let said = said_until_closed(&mut stream).await;
        assert!(!said.contains("200 OK"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_a_408() {
    let gateway = gateway(IMPATIENT).await;
    let mut stream = connect(&gateway).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"model\":"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = said_until_closed(&mut stream).await;
    assert!(
        said.starts_with("HTTP/1.1 408") && said.contains("request_timeout"),
        "{said}"
    );
    assert_eq!(gateway.in_flight(), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_gives_its_place_back() {
    let gateway = gateway(IMPATIENT).await;
    let mut stream = connect(&gateway).await;
    let mut body = body();
    body["stream"] = true.into();
    // More than the sockets' buffers hold.
    body["max_tokens"] = 4000.into();
    body["simulate"] = "oversized-line:6000000".into();
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually("it was in flight and is let go", || {
        gateway.app.metrics.abandoned.get() == 1
    })
    .await;
    eventually("nothing is in flight", || gateway.in_flight() == (0, 0, 0)).await;
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_is_unpacked_and_a_bomb_is_refused() {
    let gateway = gateway("server: { body_limit_bytes: 100000 }").await;
    let pack = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let send = async |bytes: Vec<u8>, encoding: &str| {
        let request = gateway
            .chat(&json!({}))
            .header("content-encoding", encoding)
            .body(bytes);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(pack(body().to_string().as_bytes()), "gzip").await, 200);
    assert_eq!(send(pack(&vec![b' '; 50_000_000]), "gzip").await, 413);
    assert_eq!(send(b"not gzip".to_vec(), "gzip").await, 400);
    assert_eq!(send(body().to_string().into(), "br").await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_call_from_anywhere() {
    let gateway = gateway("").await;
    let url = format!("{}/v1/chat/completions", gateway.url);
    let preflight = gateway
        .client
        .request(reqwest::Method::OPTIONS, &url)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,x-stainless-lang",
        );
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap();
    assert!(allowed.contains("x-stainless-lang"));
    let answer = gateway
        .chat(&body())
        .header("origin", "https://app.example")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert!(
        answer.headers()["access-control-expose-headers"]
            .to_str()
            .unwrap()
            .contains("x-request-id")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_go_in_and_out() {
    let gateway = gateway("").await;
    let answer = gateway
        .chat(&body())
        .header("x-request-id", "client-7")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "client-7");
    assert!(
        answer.headers()["x-farebox-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req_")
    );
    let answer = gateway.chat(&body()).send().await.unwrap();
    assert!(
        answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req_")
    );
    assert!(
        answer.headers()["openai-processing-ms"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
}
