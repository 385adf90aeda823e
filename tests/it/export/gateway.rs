//! The whole gateway with a receiver.

use super::receiver::{StandIn, Trouble};
use crate::gateway::{self, eventually, models};
use crate::place::{Place, on_both};
use farebox::ledger::{EntryPage, MAX_PAGE};
use farebox::simulate;
use serde_json::json;

on_both! { what_is_served_is_told_without_its_content }

async fn what_is_served_is_told_without_its_content(place: Place) {
    let engine = gateway::engine(simulate::Settings::default()).await;
    let receiver = StandIn::start([Trouble::Answers(500, "", "")]).await;
    let more = format!("export: {{ url: \"{}\", timeout: 5s }}", receiver.url);
    let gateway = place.gateway(&models(&[&engine.url], &more)).await;
    for stream in [false, true, false] {
        let body = json!({"model": "m", "stream": stream, "max_tokens": 5,
            "messages": [{"role": "user", "content": "zebra crossing"}]});
        let answer = gateway
            .chat(&body)
            .header("x-request-id", "mine")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    eventually("three events", || receiver.taken_ids().len() == 3).await;
    let status = gateway.shown("export").await;
    assert_eq!(
        (&status["format"], &status["switched_on"]),
        (&json!("cloudevents"), &json!(true))
    );
    assert!(
        status["last_failure"]["why"].as_str().unwrap().ends_with("500"),
        "{status}"
    );
    let (app, _data) = gateway.stop().await;
    let page = EntryPage {
        limit: MAX_PAGE,
        ..EntryPage::default()
    };
    let booked = app.ledger.entries(&page).await.unwrap();
    assert_eq!(
        receiver.taken_ids(),
        booked.iter().map(|entry| entry.id.to_string()).collect()
    );
    for request in receiver.taken() {
        for word in ["zebra", "mine", "e0", &engine.url, "token0"] {
            assert!(
                !request.body.contains(&format!("\"{word}")),
                "{word}: {}",
                request.body
            );
        }
    }
}
