//! What an operator sees of requests in flight and of those that were refused, and engines that are drained.

use super::{ACCOUNT, ADMIN_TOKEN, Gateway, engine, models};
use farebox::simulate::Settings;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const PROMPT: &str = "nobody but the engine sees this";

async fn ask(gateway: &Gateway, method: Method, path: &str, body: Option<Value>) -> Value {
    let url = format!("{}/admin/v1/{path}", gateway.admin_url);
    let mut request = gateway.client.request(method, url).bearer_auth(ADMIN_TOKEN);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_and_what_was_refused_is_shown_without_its_prompt() {
    let slow = engine(Settings {
        decode_rate: 1,
        ..Settings::default()
    })
    .await;
    let gateway = Gateway::start(&models(&[&slow.url], "")).await;
    let limits = format!("accounts/{ACCOUNT}/limits");
    ask(
        &gateway,
        Method::PUT,
        &limits,
        Some(json!({"concurrent_requests": 1})),
    )
    .await;
    let body = json!({ "model": "m", "stream": true, "max_tokens": 1000,
        "messages": [{ "role": "user", "content": PROMPT }] });
    let mut open = gateway.chat(&body).send().await.unwrap();
    let id = open.headers()["x-request-id"].to_str().unwrap().to_owned();
    open.chunk().await.unwrap();
    let refused = gateway.chat(&body).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let unknown = json!({ "model": PROMPT, "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(
        gateway.chat(&unknown).send().await.unwrap().status(),
        StatusCode::NOT_FOUND
    );

    let live = ask(&gateway, Method::GET, "in-flight", None).await;
    let row = &live["data"][0];
    assert_eq!(
        [&row["id"], &row["account"], &row["model"]],
        [&json!(id), &json!(ACCOUNT), &json!("m")]
    );
    assert_eq!(
        [&row["stream"], &row["answering"]],
        [&json!(true), &json!(true)],
        "{row}"
    );
    assert!(row["engine"].is_string(), "{row}");
    let refusals = ask(&gateway, Method::GET, "refusals", None).await;
    let codes: Vec<_> = refusals["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["code"].clone())
        .collect();
    assert_eq!(codes, ["model_not_found", "concurrency_limit_exceeded"]);
    let capped = &refusals["data"][1];
    assert_eq!(
        [&capped["account"], &capped["key"], &capped["model"]],
        [ACCOUNT, "key_test", "m"].map(|text| json!(text)).each_ref()
    );
    assert!(capped["message"].as_str().unwrap().contains("1 of 1"), "{capped}");
    let receipt = ask(&gateway, Method::GET, &format!("receipts/{id}"), None).await;
    assert_eq!(
        [&receipt["status"], &receipt["account_name"]],
        ["in_flight", "test"].map(|text| json!(text)).each_ref()
    );
    for told in [live, refusals, receipt] {
        assert!(!told.to_string().contains("nobody but"), "{told}");
    }
    drop(open);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_engine_gets_nothing_until_it_is_restored() {
    let (first, second) = (
        engine(Settings::default()).await,
        engine(Settings::default()).await,
    );
    let gateway = Gateway::start(&models(&[&first.url, &second.url], "")).await;
    let engines = ask(&gateway, Method::GET, "engines", None).await;
    let name = |index: usize| engines["data"][index]["name"].as_str().unwrap().to_owned();
    let body = json!({ "model": "m", "max_tokens": 2, "messages": [{ "role": "user", "content": "hi" }] });
    let send = async || gateway.chat(&body).send().await.unwrap().status();

    let drain = async |index: usize| {
        ask(
            &gateway,
            Method::POST,
            &format!("engines/{}/drain", name(index)),
            None,
        )
        .await
    };
    assert_eq!(drain(0).await["drained"], true);
    for _ in 0..4 {
        assert_eq!(send().await, StatusCode::OK);
    }
    assert_eq!(
        (first.engine.peak_in_flight(), second.engine.peak_in_flight() > 0),
        (0, true)
    );
    drain(1).await;
    drain(1).await;
    assert_eq!(send().await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!gateway.app.is_ready());
    assert_eq!(
        gateway.app.store.drained_engines().await.unwrap().len(),
        2,
        "it holds over a restart"
    );
    ask(
        &gateway,
        Method::POST,
        &format!("engines/{}/restore", name(0)),
        None,
    )
    .await;
    assert_eq!(send().await, StatusCode::OK);
    let audit = ask(&gateway, Method::GET, "audit", None).await;
    let actions: Vec<_> = audit["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].clone())
        .collect();
    assert_eq!(actions, ["engine.restore", "engine.drain", "engine.drain"]);
    gateway.stop().await;
}
