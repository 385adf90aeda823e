//! The engine through its router: what a client reads, and what the engine says that it counted.

#![expect(clippy::unwrap_used, reason = "a test may stop on a fault")]

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

mod troubles;

use super::trouble::KNOWN;
use super::{Engine, RequestCount, Settings};

const CHAT: &str = "/v1/chat/completions";

fn engine() -> Engine {
    Engine::new(Settings::default())
}

async fn send(engine: &Engine, path: &str, body: &Value) -> Response<Body> {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("x-request-id", "r1")
        .body(Body::from(body.to_string()))
        .unwrap();
    engine.router().oneshot(request).await.unwrap()
}

/// Status, body text, and whether the body came to a clean end.
async fn read(response: Response<Body>) -> (StatusCode, String, bool) {
    let status = response.status();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let mut clean = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => clean = false,
        }
    }
    (status, String::from_utf8_lossy(&bytes).into_owned(), clean)
}

async fn call(engine: &Engine, path: &str, body: &Value) -> (StatusCode, Value) {
    let (status, text, clean) = read(send(engine, path, body).await).await;
    assert!(clean);
    (status, serde_json::from_str(&text).unwrap())
}

fn chat(extra: Value) -> Value {
    let mut body =
        json!({"model": "simulated", "messages": [{"role": "user", "content": "Where to, please?"}]});
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    body
}

/// The JSON of each event, without `[DONE]` and comments.
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .filter(|line| *line != "[DONE]")
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn content(events: &[Value], index: u64) -> String {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    let ours = choices.filter(|choice| choice["index"] == index);
    ours.filter_map(|choice| choice["delta"]["content"].as_str())
        .collect()
}

fn only(engine: &Engine) -> RequestCount {
    let counts = engine.counts();
    assert_eq!(counts.len(), 1);
    counts[0].clone()
}

#[tokio::test]
async fn a_stream_has_role_tokens_finish_usage_and_done() {
    let engine = engine();
    let body = chat(json!({"stream": true, "max_tokens": 3, "stream_options": {"include_usage": true}}));
    let (status, text, clean) = read(send(&engine, CHAT, &body).await).await;
    assert!(
        status.is_success() && clean && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    let events = events(&text);
    assert_eq!(events.len(), 6);
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert_eq!(events[0]["id"], "chatcmpl-r1");
    assert_eq!(events[4]["choices"][0]["finish_reason"], "length");
    assert!(events[..5].iter().all(|event| event.get("usage").is_none()));
    assert_eq!(events[5]["choices"], json!([]));
    let usage = json!({"prompt_tokens": 9, "total_tokens": 12, "completion_tokens": 3});
    assert_eq!(events[5]["usage"], usage);
    let count = only(&engine);
    assert_eq!(
        (count.id.as_str(), count.prompt_tokens, count.completion_tokens),
        ("r1", 9, 3)
    );
    assert!(count.finished && !count.aborted && !count.broken);
    assert_eq!((engine.in_flight(), engine.peak_in_flight()), (0, 1));
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    let engine = engine();
    let whole = call(&engine, CHAT, &chat(json!({"n": 2}))).await.1;
    let (_, text, _) = read(send(&engine, CHAT, &chat(json!({"n": 2, "stream": true}))).await).await;
    let events = events(&text);
    for index in 0..2 {
        let said = whole["choices"][usize::try_from(index).unwrap()]["message"]["content"]
            .as_str()
            .unwrap();
        assert_eq!(content(&events, index), said);
    }
    assert_ne!(content(&events, 0), content(&events, 1));
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert_eq!(whole["usage"]["completion_tokens"], 64);
    assert!(
        engine
            .counts()
            .iter()
            .all(|count| count.finished && count.completion_tokens == 64)
    );
}

#[tokio::test]
async fn continuous_usage_runs_on_every_chunk_and_cached_tokens_come_last() {
    let engine = engine();
    let long = "a long prompt of many blocks ".repeat(20);
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let body = json!({"model": "simulated", "prompt": long, "stream": true, "max_tokens": 2, "stream_options": options});
    read(send(&engine, "/v1/completions", &body).await).await;
    let (_, text, _) = read(send(&engine, "/v1/completions", &body).await).await;
    let events = events(&text);
    let completions: Vec<u64> = events
        .iter()
        .map(|event| event["usage"]["completion_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(completions, [1, 2, 2, 2]);
    assert!(
        events[..3]
            .iter()
            .all(|event| event["usage"].get("prompt_tokens_details").is_none())
    );
    // 145 tokens: nine blocks of 16, and one token that is always computed.
    assert_eq!(events[3]["usage"]["prompt_tokens_details"]["cached_tokens"], 144);
    assert_eq!(
        engine
            .counts()
            .iter()
            .map(|count| count.cached_tokens)
            .collect::<Vec<_>>(),
        [0, 144]
    );
    let mut salted = body.clone();
    salted["cache_salt"] = json!("tenant");
    read(send(&engine, "/v1/completions", &salted).await).await;
    assert_eq!(engine.counts()[2].cached_tokens, 0);
}

#[tokio::test]
async fn tools_and_schemas_get_what_they_prescribe() {
    let engine = engine();
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": parameters.clone()}});
    let body = chat(json!({"tools": [tool], "tool_choice": "required", "stream": true}));
    let (_, text, _) = read(send(&engine, CHAT, &body).await).await;
    let events = events(&text);
    let calls = events
        .iter()
        .filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0/function"));
    let calls: Vec<&Value> = calls.collect();
    assert_eq!(calls[0]["name"], "weather");
    let arguments: String = calls
        .iter()
        .filter_map(|call| call["arguments"].as_str())
        .collect();
    assert!(serde_json::from_str::<Value>(&arguments).unwrap()["city"].is_string());
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );
    assert_eq!(only(&engine).completion_tokens, calls.len() as u64);

    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": parameters}});
    let whole = call(
        &engine,
        CHAT,
        &chat(json!({"response_format": format, "max_tokens": 100})),
    )
    .await
    .1;
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["city"].is_string());
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn completions_take_prompts_of_every_shape_and_logprobs() {
    let engine = engine();
    let shapes = [
        (json!("one text"), 1, 2),
        (json!(["one text", "two"]), 2, 3),
        (json!([5, 6, 7]), 1, 3),
        (json!([[5, 6], [7]]), 2, 3),
    ];
    for (prompt, prompts, tokens) in shapes {
        let body = json!({"model": "simulated", "prompt": prompt, "n": 2, "max_tokens": 2, "logprobs": 2});
        let (_, whole) = call(&engine, "/v1/completions", &body).await;
        assert_eq!(whole["choices"].as_array().unwrap().len(), prompts * 2);
        assert_eq!(whole["usage"]["prompt_tokens"], tokens);
        assert_eq!(
            whole["choices"][0]["logprobs"]["tokens"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }
    let body = chat(json!({"logprobs": true, "top_logprobs": 2, "stream": true, "max_tokens": 1}));
    let (_, text, _) = read(send(&engine, CHAT, &body).await).await;
    let entry = &events(&text)[1]["choices"][0]["logprobs"]["content"][0];
    assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn embeddings_are_numbers_or_base64_of_them() {
    let engine = engine();
    let ask = |format: &str| json!({"model": "simulated", "input": ["a text", "another"], "dimensions": 8, "encoding_format": format});
    let (_, floats) = call(&engine, "/v1/embeddings", &ask("float")).await;
    let (_, coded) = call(&engine, "/v1/embeddings", &ask("base64")).await;
    assert_eq!(floats["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    let text = coded["data"][1]["embedding"].as_str().unwrap();
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text).unwrap();
    let decoded: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    assert_eq!(json!(decoded), floats["data"][1]["embedding"]);
}

#[tokio::test]
async fn faults_of_the_request_are_told_in_vllms_shape() {
    let engine = engine();
    let wrong = [
        (chat(json!({"max_tokens": 0})), 400, "max_tokens"),
        (chat(json!({"messages": []})), 400, "messages"),
        (chat(json!({"stream_options": {}})), 400, "stream_options"),
        (chat(json!({"model": "nope"})), 404, "model"),
        (chat(json!({"max_tokens": 200_000})), 400, "input_tokens"),
        (chat(json!({"simulate": "zut"})), 400, "simulate"),
    ];
    for (body, status, param) in wrong {
        let (answered, error) = call(&engine, CHAT, &body).await;
        assert_eq!(
            (answered.as_u16(), &error["error"]["code"]),
            (status, &json!(status))
        );
        assert_eq!(error["error"]["param"], param);
    }
    let message = call(&engine, CHAT, &chat(json!({"simulate": "zut"}))).await.1["error"]["message"].clone();
    assert!(
        KNOWN
            .iter()
            .all(|known| message.as_str().unwrap().contains(known))
    );
    assert!(engine.counts().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_aborts_and_pays_for_what_it_was_handed() {
    let engine = engine();
    let mut body = send(&engine, CHAT, &chat(json!({"stream": true, "max_tokens": 1000})))
        .await
        .into_body();
    for _ in 0..5 {
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!((engine.in_flight(), only(&engine).completion_tokens), (1, 4));
    drop(body);
    let count = only(&engine);
    assert!(count.aborted && !count.finished);
    assert_eq!((count.completion_tokens, engine.in_flight()), (4, 0));
}

#[tokio::test]
async fn slots_are_waited_for_and_a_full_queue_refuses() {
    let engine = Engine::new(Settings {
        slots: 1,
        queue: 1,
        ..Settings::default()
    });
    let body = chat(json!({"stream": true, "max_tokens": 2}));
    let first = send(&engine, CHAT, &body).await;
    let mut second = send(&engine, CHAT, &body).await.into_body();
    let third = send(&engine, CHAT, &body).await;
    assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(third.headers().get("retry-after").is_none());
    let waited = tokio::time::timeout(Duration::from_millis(20), second.frame()).await;
    assert!(waited.is_err(), "the second waits for the first");
    assert_eq!(engine.in_flight(), 2);
    drop(first);
    second.frame().await.unwrap().unwrap();
    let metrics = Request::get("/metrics").body(Body::empty()).unwrap();
    let (_, text, _) = read(engine.router().oneshot(metrics).await.unwrap()).await;
    assert!(
        text.contains("vllm:num_requests_running{engine=\"0\",model_name=\"simulated\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("vllm:prompt_tokens_total{engine=\"0\",model_name=\"simulated\"} 18\n"),
        "{text}"
    );
    drop(second);
    assert_eq!(engine.in_flight(), 0);
}

#[tokio::test]
async fn a_decode_rate_spaces_the_tokens() {
    let engine = Engine::new(Settings {
        decode_rate: 100,
        prefill_rate: 1000,
        ..Settings::default()
    });
    let body = chat(json!({"stream": true, "max_tokens": 50}));
    let response = send(&engine, CHAT, &body).await;
    let cut_short = tokio::time::timeout(Duration::from_millis(150), read(response)).await;
    assert!(cut_short.is_err(), "fifty tokens take half a second");
    let count = only(&engine);
    assert!(
        count.aborted && (1..=16).contains(&count.completion_tokens),
        "{count:?}"
    );
}
