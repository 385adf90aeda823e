//! LoRA adapters: sent where they are loaded, loaded where they are not, billed under their own name, limited with their base.

use super::money::entries;
use super::{Gateway, Listening, engine, eventually, models};
use farebox::simulate::Settings;
use farebox_domain::money::Picodollars;
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};

const ADAPTERS: &str = "    adapters:
      - { id: red, name: red-7, path: /adapters/red, price_multiplier: '1.5' }
      - { id: blue }
      - { id: lost, path: missing/lost }
";

/// `m` and its adapters on engines that have these, with these lines besides.
async fn gateway(engines: &[&Listening], of_engine: &str, of_model: &str, more: &str) -> Gateway {
    let urls: Vec<&str> = engines.iter().map(|one| one.url.as_str()).collect();
    let text = models(&urls, more)
        .replace("engines:\n", &format!("{ADAPTERS}{of_model}engines:\n"))
        .replace("kind: vllm", &format!("kind: vllm{of_engine}"));
    Gateway::start(&text).await
}

async fn with(loras: &[&str]) -> Listening {
    engine(Settings {
        loras: loras.iter().map(|&name| name.to_owned()).collect(),
        ..Settings::default()
    })
    .await
}

fn ask(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "stream": stream, "max_tokens": 3,
        "messages": [{ "role": "user", "content": "Tell me of the sea." }],
    })
}

async fn answer(gateway: &Gateway, model: &str) -> Response {
    gateway.chat(&ask(model, false)).send().await.unwrap()
}

/// Asks, and is answered under this name.
async fn answered(gateway: &Gateway, model: &str) {
    let response = answer(gateway, model).await;
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, 200, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["model"], model);
}

fn loads(engines: &[&Listening]) -> Vec<Vec<String>> {
    engines.iter().map(|one| one.engine.adapter_loads()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_loaded_gets_what_is_asked_of_it_wherever_that_is() {
    let (plain, with_blue) = (with(&[]).await, with(&["blue"]).await);
    let gateway = gateway(&[&plain, &with_blue], "", "", "").await;
    for _ in 0..6 {
        answered(&gateway, "blue").await;
    }
    let (app, _data) = gateway.stop().await;
    let entries = entries(&*app.ledger).await;
    assert_eq!(entries.len(), 6);
    assert!(entries.iter().all(|entry| entry.model.as_str() == "blue"));
    assert_eq!(
        with_blue
            .engine
            .counts()
            .iter()
            .filter(|one| one.status == 200)
            .count(),
        6
    );
    assert_eq!(loads(&[&plain, &with_blue]), [[""; 0]; 2], "it has no path");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_has_is_loaded_once_and_costs_what_its_price_says() {
    let both = [with(&[]).await, with(&[]).await];
    let gateway = gateway(&[&both[0], &both[1]], "", "", "").await;
    let client = &gateway;
    join_all((0..20).map(|_| answered(client, "red"))).await;
    answered(&gateway, "m").await;
    let mut loaded = loads(&[&both[0], &both[1]]);
    loaded.sort();
    assert_eq!(
        loaded,
        [vec![], vec!["red-7".to_owned()]],
        "the engine's name for it"
    );
    let shown = gateway.app.render_metrics();
    assert!(shown.contains("outcome=\"loaded\"} 1"), "{shown}");
    let (app, _data) = gateway.stop().await;
    let entries = entries(&*app.ledger).await;
    let cost_of = |model: &str| -> Vec<Picodollars> {
        let of_model = entries.iter().filter(|entry| entry.model.as_str() == model);
        of_model
            .map(|entry| {
                let usage = &entry.usage;
                let fresh = usage.prompt_tokens - usage.cached_tokens;
                let at_base =
                    fresh * 100_000 + usage.cached_tokens * 20_000 + usage.completion_tokens * 320_000;
                let by = if model == "red" { (3, 2) } else { (1, 1) };
                assert_eq!(entry.cost, Picodollars::new(i128::from(at_base * by.0 / by.1)));
                entry.cost
            })
            .collect()
    };
    assert_eq!((cost_of("red").len(), cost_of("m").len()), (20, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_an_engine_has_lost_is_loaded_again() {
    let only = with(&["red-7"]).await;
    let gateway = gateway(&[&only], "", "", "").await;
    answered(&gateway, "red").await;
    assert_eq!(loads(&[&only]), [[""; 0]]);
    only.engine.unload_adapter("red-7");
    answered(&gateway, "red").await;
    assert_eq!(loads(&[&only]), [["red-7"]]);
    let shown = gateway.app.render_metrics();
    assert!(
        !shown.contains("farebox_engine_ejections_total{"),
        "nobody is to blame"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_loads_forever_keeps_no_other_waiting() {
    let only = engine(Settings {
        lora_load_ms: 3_600_000,
        ..Settings::default()
    })
    .await;
    let gateway = gateway(&[&only], ", max_concurrent: 1", "", "").await;
    let cold = join_all((0..10).map(|_| answer(&gateway, "red")));
    let others = async {
        eventually("it loads", || !only.engine.adapter_loads().is_empty()).await;
        for _ in 0..5 {
            answered(&gateway, "m").await;
        }
    };
    tokio::select! {
        _ = cold => panic!("it was never loaded"),
        () = others => {}
    }
    eventually("those that left are gone", || gateway.in_flight() == (0, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_loaded_is_tried_at_each_engine_once_and_then_refused() {
    let both = [with(&[]).await, with(&[]).await];
    let gateway = gateway(&[&both[0], &both[1]], "", "", "").await;
    for _ in 0..3 {
        let response = answer(&gateway, "lost").await;
        assert_eq!(response.status(), 503);
    }
    assert_eq!(loads(&[&both[0], &both[1]]), [["lost"], ["lost"]]);
    answered(&gateway, "m").await;
    let (app, _data) = gateway.stop().await;
    let entries = entries(&*app.ledger).await;
    let charged = entries.iter().filter(|entry| entry.cost != Picodollars::new(0));
    assert_eq!(charged.count(), 1, "only what was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_loads_it_where_those_that_have_it_are_full() {
    let slow = engine(Settings {
        loras: vec!["red-7".to_owned()],
        decode_rate: 1,
        ..Settings::default()
    })
    .await;
    let cold = with(&[]).await;
    let gateway = gateway(&[&slow, &cold], ", max_concurrent: 1", "", "").await;
    eventually("its list is known", || {
        let (slow, cold) = (
            &gateway.app.registry().models()[1].may_have(0),
            &gateway.app.registry().models()[1].may_have(1),
        );
        *slow && !*cold
    })
    .await;
    let held = gateway.chat(&ask("red", true)).send().await.unwrap();
    assert_eq!(held.status(), 200);
    answered(&gateway, "red").await;
    assert_eq!(loads(&[&slow, &cold]), [vec![], vec!["red-7".to_owned()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_and_its_base_are_limited_together() {
    let only = with(&["blue"]).await;
    let limits = "    limits: { requests_per_minute: 3 }\n";
    let gateway = gateway(&[&only], "", limits, "").await;
    answered(&gateway, "m").await;
    answered(&gateway, "blue").await;
    answered(&gateway, "m").await;
    for model in ["m", "blue"] {
        let refused = answer(&gateway, model).await;
        assert_eq!(refused.status(), 429);
        let text = refused.text().await.unwrap();
        assert!(text.contains("for this account on m."), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_it_as_a_model() {
    let only = with(&[]).await;
    let gateway = gateway(&[&only], "", "", "").await;
    let asked = gateway.client.get(format!("{}/v1/models", gateway.url));
    let listed: Value = asked
        .bearer_auth(super::SECRET)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let ids: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["m", "red", "blue", "lost"]);
}
