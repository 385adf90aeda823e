//! What engines say of themselves: shown, and counted as load where it is others' requests that wait.

use super::{Gateway, engine, eventually, models};
use farebox::simulate::Settings;
use serde_json::{Value, json};

fn ask(model: &str) -> Value {
    json!({
        "model": model, "stream": true, "max_tokens": 1000, "messages": [{ "role": "user", "content": "Hello" }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_waiting_at_an_engine_is_shown_and_keeps_requests_from_it() {
    let narrow = Settings {
        slots: 1,
        decode_rate: 1,
        ..Settings::default()
    };
    let both = [engine(narrow.clone()).await, engine(narrow).await];
    let gateway = Gateway::start(&models(&[&both[0].url, &both[1].url], "")).await;
    // Another client has the first engine to itself, and two requests more than it runs.
    let url = format!("{}/v1/chat/completions", both[0].url);
    let clients: Vec<_> = (0..3)
        .map(|_| tokio::spawn(gateway.client.post(&url).json(&ask("simulated")).send()))
        .collect();
    eventually("they are there", || both[0].engine.in_flight() == 3).await;
    let registry = gateway.app.registry();
    let crowded = registry.engine("e0").unwrap();
    crowded.look().await;
    let said = crowded.said().unwrap();
    assert_eq!((said.running, said.waiting), (1, 2));
    assert!(said.kv_cache_permille.is_some());
    let shown = gateway.shown("engines").await;
    let row = &shown["data"][0];
    assert_eq!(
        [
            &row["reported_running"],
            &row["reported_waiting"],
            &row["in_flight"]
        ],
        [&json!(1), &json!(2), &json!(0)]
    );
    let metrics = gateway.app.render_metrics();
    for line in [
        "farebox_engine_reported_requests{engine=\"e0\",state=\"waiting\"} 2",
        "farebox_engine_kv_cache_permille{engine=\"e0\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let mut streams = Vec::new();
    for _ in 0..2 {
        let chat = gateway.chat(&ask("m"));
        streams.push(tokio::spawn(chat.send()));
        let elsewhere = streams.len();
        let other = registry.engine("e1").unwrap();
        eventually("it is at the other", || {
            other.in_flight() + crowded.in_flight() == u32::try_from(elsewhere).unwrap()
        })
        .await;
    }
    assert_eq!(crowded.in_flight(), 0, "the other has as many as wait there");
    for client in clients {
        // An answer that has begun goes with its task's handle.
        client.abort();
    }
    eventually("they are gone", || both[0].engine.in_flight() == 0).await;
    crowded.look().await;
    streams.push(tokio::spawn(gateway.chat(&ask("m")).send()));
    eventually("it has come back to it", || crowded.in_flight() == 1).await;
}
