//! A shutdown cuts nothing before its deadline, and nothing silently after it.

use super::{Gateway, engine, eventually, models};
use farebox::simulate::Settings;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::EntryState;
use reqwest::Response;
use serde_json::json;

async fn paced_gateway(more: &str) -> Gateway {
    let paced = engine(Settings {
        decode_rate: 50,
        ..Settings::default()
    })
    .await;
    Gateway::start(&models(&[&paced.url], more)).await
}

async fn ask(gateway: &Gateway, stream: bool, tokens: u32) -> Response {
    let body = json!({
        "model": "m", "stream": stream, "max_tokens": tokens, "messages": [{ "role": "user", "content": "Hello" }],
    });
    gateway.chat(&body).send().await.unwrap()
}

fn id_of(response: &Response) -> RequestId {
    RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_runs_when_the_shutdown_begins_goes_on_to_its_end() {
    let gateway = paced_gateway("").await;
    let response = ask(&gateway, true, 20).await;
    let id = id_of(&response);
    let reading = tokio::spawn(response.text());
    let (app, _data) = gateway.stop().await;
    let text = reading.await.unwrap().unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
    let entry = app.ledger.entry(id).await.unwrap().unwrap();
    assert_eq!(
        (entry.state, entry.usage.completion_tokens),
        (EntryState::Completed, 20)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_at_the_drain_deadline_is_told_and_booked() {
    let gateway = paced_gateway("server: { drain_deadline: 0s }").await;
    let response = ask(&gateway, true, 2000).await;
    let id = id_of(&response);
    let reading = tokio::spawn(response.text());
    let whole = {
        let body =
            json!({ "model": "m", "max_tokens": 2000, "messages": [{ "role": "user", "content": "Hello" }] });
        tokio::spawn(gateway.chat(&body).send())
    };
    eventually("both are in flight", || gateway.in_flight() == (2, 2, 2)).await;
    let (app, _data) = gateway.stop().await;
    let text = reading.await.unwrap().unwrap();
    assert!(
        text.contains("\"shutting_down\"") && !text.contains("[DONE]"),
        "{text}"
    );
    assert_eq!(
        app.ledger.entry(id).await.unwrap().unwrap().state,
        EntryState::Interrupted
    );
    assert_eq!(whole.await.unwrap().unwrap().status(), 503);
    assert_eq!(app.pipeline.in_flight.len(), 0);
    assert_eq!(app.ledger.verify().await.unwrap().entries, 2);
}
