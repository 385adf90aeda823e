//! What is tried again, and what is not: never once an event has gone to the client.

use super::{Gateway, engine, eventually, models};
use farebox::engines::health::Standing;
use farebox::simulate::Settings;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Entry, EntryState};
use reqwest::Response;
use serde_json::{Value, json};

const SHORT: &str = "timeouts: { first_event: 300ms, between_tokens: 300ms, whole_answer: 300ms }\n\
                     retries: { attempts: 3, backoff: 1ms }";

fn ask(trouble: Option<&str>, stream: bool) -> Value {
    let mut body = json!({
        "model": "m", "stream": stream, "max_tokens": 5, "messages": [{ "role": "user", "content": "Hello" }],
    });
    if let Some(trouble) = trouble {
        body["simulate"] = trouble.into();
    }
    body
}

fn id_of(response: &Response) -> RequestId {
    RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap()
}

async fn refused(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    (status, answer["error"]["code"].as_str().unwrap().to_owned())
}

async fn entry_of(gateway: Gateway, id: RequestId) -> Entry {
    let (app, _data) = gateway.stop().await;
    app.ledger.entry(id).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_is_left_for_one_that_answers() {
    for trouble in [
        "status:503",
        "status:500",
        "refuse",
        "status:404",
        "cut:0",
        "wrong-content-type+no-finish",
    ] {
        let (bad, good) = (
            engine(Settings::default()).await,
            engine(Settings::default()).await,
        );
        bad.engine.set_trouble(Some(trouble)).unwrap();
        let gateway = Gateway::start(&models(&[&bad.url, &good.url], SHORT)).await;
        // Two in a row: each engine has its turn as the first.
        for _ in 0..2 {
            let response = gateway.chat(&ask(None, false)).send().await.unwrap();
            assert_eq!(response.status(), 200, "{trouble}");
        }
        assert!(!good.engine.counts().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_engine_is_tried_again_where_there_is_no_other() {
    for stream in [false, true] {
        let only = engine(Settings::default()).await;
        let gateway = Gateway::start(&models(&[&only.url], SHORT)).await;
        let body = ask(Some("once/k:status:503:retry-after-ms=5"), stream);
        let response = gateway.chat(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap();
        assert_eq!(only.engine.counts().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_spent_is_told_and_nothing_is_charged() {
    let cases = [
        ("status:500", 502, "engine_error"),
        ("status:503", 429, "engine_overloaded"),
    ];
    for (trouble, status, code) in cases {
        let only = engine(Settings::default()).await;
        let gateway = Gateway::start(&models(&[&only.url], SHORT)).await;
        let response = gateway.chat(&ask(Some(trouble), true)).send().await.unwrap();
        let id = id_of(&response);
        assert_eq!(refused(response).await, (status, code.to_owned()));
        assert_eq!(only.engine.counts().len(), 3, "three attempts");
        let entry = entry_of(gateway, id).await;
        assert_eq!((entry.state, entry.cost.get()), (EntryState::Failed, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_too_many_are_tried_again_already_the_fault_is_told() {
    let (bad, good) = (
        engine(Settings::default()).await,
        engine(Settings::default()).await,
    );
    bad.engine.set_trouble(Some("status:500")).unwrap();
    let none = "retries: { budget_percent: 50, budget_min_per_second: 0 }";
    let gateway = Gateway::start(&models(&[&bad.url, &good.url], none)).await;
    let mut codes = Vec::new();
    // Each comes to the bad one first, and one in two may be tried again.
    for _ in 0..5 {
        codes.push(
            gateway
                .chat(&ask(None, false))
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    assert_eq!(codes, [502, 200, 502, 200, 502]);
    let shown = gateway.app.render_metrics();
    for line in [
        "farebox_retries_total{model=\"m\",outcome=\"refused\"} 3",
        "farebox_retries_total{model=\"m\",outcome=\"made\"} 2",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_engine_is_not_tried_twice() {
    for (trouble, stream) in [("hang", false), ("hang", true), ("headers-then-silence", true)] {
        let only = engine(Settings::default()).await;
        let gateway = Gateway::start(&models(&[&only.url], SHORT)).await;
        let response = gateway.chat(&ask(Some(trouble), stream)).send().await.unwrap();
        assert_eq!(refused(response).await, (504, "engine_timeout".to_owned()));
        assert_eq!(only.engine.counts().len(), 1, "{trouble}");
        eventually("the engine is free", || only.engine.in_flight() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_about_the_request_is_passed_on_and_not_retried() {
    let (one, two) = (
        engine(Settings::default()).await,
        engine(Settings::default()).await,
    );
    let gateway = Gateway::start(&models(&[&one.url, &two.url], SHORT)).await;
    let response = gateway
        .chat(&ask(Some("flat-error"), false))
        .send()
        .await
        .unwrap();
    let id = id_of(&response);
    assert_eq!(refused(response).await.0, 400);
    assert_eq!(one.engine.counts().len() + two.engine.counts().len(), 1);
    assert_eq!(entry_of(gateway, id).await.state, EntryState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_ends_with_an_error_and_is_charged_for_what_came() {
    let cases = [
        ("stall:2", "engine_timeout"),
        ("cut:2", "engine_error"),
        ("error-event:2", "engine_error"),
        ("error-event-done:2", "engine_error"),
        ("malformed:2", "engine_error"),
        ("no-finish", "engine_error"),
    ];
    for (trouble, code) in cases {
        let only = engine(Settings::default()).await;
        let gateway = Gateway::start(&models(&[&only.url], SHORT)).await;
        let response = gateway.chat(&ask(Some(trouble), true)).send().await.unwrap();
        let id = id_of(&response);
        let text = response.text().await.unwrap();
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let event: Value = serde_json::from_str(last).unwrap();
        assert_eq!(event["error"]["code"], code, "{trouble}");
        assert!(!text.contains("[DONE]"), "{trouble}");
        assert_eq!(
            only.engine.counts().len(),
            1,
            "{trouble}: nothing is tried once an event has gone out"
        );
        let entry = entry_of(gateway, id).await;
        assert_eq!(entry.state, EntryState::Interrupted, "{trouble}");
        assert!(
            entry.usage.prompt_tokens > 0 && entry.usage.completion_tokens >= 2,
            "{trouble}: {entry:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_engine_up_is_said_at_once_and_an_engine_that_comes_back_serves() {
    let only = engine(Settings::default()).await;
    only.engine.set_healthy(false);
    let gateway = Gateway::start(&models(&[&only.url], SHORT)).await;
    let ready = async || {
        let answer = gateway.client.get(format!("{}/ready", gateway.url)).send();
        answer.await.unwrap().status().as_u16()
    };
    let standing = || gateway.app.registry().engines()[0].health.standing();
    eventually("the probe finds it down", || standing() == Standing::Down).await;
    let response = gateway.chat(&ask(None, false)).send().await.unwrap();
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(refused(response).await, (503, "no_engine_available".to_owned()));
    assert_eq!(ready().await, 503);
    only.engine.set_healthy(true);
    gateway.app.registry().engines()[0].probe().await;
    assert_eq!(
        gateway.chat(&ask(None, false)).send().await.unwrap().status(),
        200
    );
    assert_eq!(ready().await, 200);
}
