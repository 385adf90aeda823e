//! What is refused before any engine hears of it, and what is written down nowhere.

use super::{Gateway, SECRET, engine, models};
use farebox::simulate::Settings;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::path::Path;

const CHAT: &str = "/v1/chat/completions";

/// A request with the key and the content type that belong there.
fn post(gateway: &Gateway, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = gateway
        .client
        .post(format!("{}{CHAT}", gateway.url))
        .bearer_auth(SECRET);
    request.header("content-type", "application/json").body(body)
}

fn with(field: &str, value: Value) -> String {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    body[field] = value;
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_request_is_a_4xx_that_names_its_field_and_reaches_no_engine() {
    let behind = engine(Settings::default()).await;
    let gateway = Gateway::start(&models(&[&behind.url], "server: { body_limit_bytes: 65536 }")).await;
    let deep = format!(
        "{{\"model\":\"m\",\"messages\":{}{}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let twice = "{\"model\":\"m\",\"model\":\"n\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    let mut invalid_utf8 = with("user", json!("AB")).into_bytes();
    let at = invalid_utf8.windows(2).position(|pair| pair == b"AB").unwrap();
    invalid_utf8[at] = 0xff;
    let at_url =
        |method: Method, path: &str| gateway.client.request(method, format!("{}{path}", gateway.url));

    let cases: Vec<(&str, RequestBuilder)> = vec![
        ("not JSON", post(&gateway, "{\"model\": ")),
        ("not an object", post(&gateway, "[]")),
        ("model of a wrong type", post(&gateway, with("model", json!(7)))),
        (
            "messages of a wrong type",
            post(&gateway, with("messages", json!("hi"))),
        ),
        (
            "max_tokens of a wrong type",
            post(&gateway, with("max_tokens", json!("many"))),
        ),
        (
            "stream of a wrong type",
            post(&gateway, with("stream", json!("yes"))),
        ),
        (
            "missing model",
            post(
                &gateway,
                "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
            ),
        ),
        ("unknown model", post(&gateway, with("model", json!("nobody")))),
        ("no messages", post(&gateway, "{\"model\":\"m\"}")),
        ("empty messages", post(&gateway, with("messages", json!([])))),
        (
            "huge max_tokens",
            post(&gateway, with("max_tokens", json!(99_999_999_999_u64))),
        ),
        (
            "negative max_tokens",
            post(&gateway, with("max_tokens", json!(-1))),
        ),
        ("deep nesting", post(&gateway, deep)),
        ("invalid UTF-8", post(&gateway, invalid_utf8)),
        ("duplicate keys", post(&gateway, twice)),
        ("wrong method", at_url(Method::GET, CHAT).bearer_auth(SECRET)),
        (
            "unknown path",
            at_url(Method::POST, "/v1/chat/nothing")
                .bearer_auth(SECRET)
                .body("{}"),
        ),
        (
            "wrong content type",
            at_url(Method::POST, CHAT)
                .bearer_auth(SECRET)
                .header("content-type", "text/plain")
                .body(with("n", json!(1))),
        ),
        (
            "body over the limit",
            post(&gateway, with("user", json!("x".repeat(70_000)))),
        ),
        (
            "key in the wrong header",
            at_url(Method::POST, CHAT)
                .header("x-api-key", SECRET)
                .json(&json!({ "model": "m" })),
        ),
        (
            "no key",
            at_url(Method::POST, CHAT).json(&json!({ "model": "m" })),
        ),
        (
            "wrong key",
            at_url(Method::POST, CHAT)
                .bearer_auth("fb_wrong")
                .json(&json!({ "model": "m" })),
        ),
        (
            "a header in a model's name",
            post(&gateway, with("model", json!("m\r\nx-evil: 1"))),
        ),
        (
            "a header in an id",
            post(&gateway, with("n", json!(1))).header("x-request-id", "a b"),
        ),
    ];
    let mut table = String::new();
    for (what, request) in cases {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        assert!(response.headers().get("x-evil").is_none());
        let answer: Value = response
            .json()
            .await
            .unwrap_or_else(|_| panic!("{what}: {status}, not JSON"));
        let error = answer["error"]
            .as_object()
            .unwrap_or_else(|| panic!("{what}: {status} {answer}"));
        for key in ["message", "type", "param", "code"] {
            assert!(error.contains_key(key), "{what}: no {key} in {answer}");
        }
        let field = |key: &str| error[key].as_str().unwrap_or("-").to_owned();
        table += &format!(
            "{what}: {status} {} {} {}\n",
            field("type"),
            field("code"),
            field("param")
        );
        if !(400..500).contains(&status) {
            table += &format!("  NOT A 4XX: {answer}\n");
        }
    }
    assert_eq!(behind.engine.counts(), [], "an engine heard of it:\n{table}");
    assert!(!table.contains("NOT A 4XX"), "{table}");
    let (app, _data) = gateway.stop().await;
    let verified = app.ledger.verify().await.unwrap();
    assert_eq!((verified.entries, verified.discrepancies_total), (0, 0));
    insta::assert_snapshot!(table);
}

/// The simulated engine says back no prompt, so the output is told by its own first words.
#[tokio::test(flavor = "multi_thread")]
async fn neither_prompts_nor_outputs_are_written_down_anywhere() {
    const CANARY: &str = "canary-5f0c1a77-in-the-prompt";
    let behind = engine(Settings::default()).await;
    let gateway = Gateway::start(&models(&[&behind.url], "server: { body_limit_bytes: 65536 }")).await;
    let mut needles = vec![CANARY.to_owned()];
    for (stream, trouble) in [
        (false, "comments"),
        (true, "comments"),
        (true, "cut:3"),
        (true, "malformed:2"),
        (false, "flat-error"),
    ] {
        let body = json!({
            "model": "m", "stream": stream, "max_tokens": 40, "user": CANARY, "simulate": trouble,
            "messages": [{ "role": "user", "content": CANARY }],
        });
        let response = gateway.chat(&body).send().await.unwrap();
        let Ok(text) = response.text().await else { continue };
        if let Ok(answer) = serde_json::from_str::<Value>(&text)
            && let Some(said) = answer["choices"][0]["message"]["content"].as_str()
        {
            needles.push(said.to_owned());
        }
    }
    // A refused request has content too, where a message may quote it.
    let refused = post(&gateway, format!("{{\"model\":\"m\",\"messages\":\"{CANARY}\"}}"))
        .send()
        .await
        .unwrap();
    assert!(refused.status().is_client_error());
    assert_eq!(needles.len(), 2, "one whole answer was read: {needles:?}");

    let metrics = gateway
        .client
        .get(format!("{}/metrics", gateway.admin_url))
        .bearer_auth(super::ADMIN_TOKEN);
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("farebox"), "{metrics}");
    let (app, data) = gateway.stop().await;
    assert!(app.ledger.verify().await.unwrap().entries >= 5);
    let mut files = 0;
    for needle in &needles {
        assert!(!metrics.contains(needle.as_str()), "{needle} is in /metrics");
        files += search(data.path(), needle.as_bytes());
    }
    assert!(files > 0);
}

/// How many files were searched, all of them in vain.
fn search(folder: &Path, needle: &[u8]) -> usize {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                return search(&path, needle);
            }
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(
                !found,
                "{} holds {}",
                path.display(),
                String::from_utf8_lossy(needle)
            );
            1
        })
        .sum()
}
