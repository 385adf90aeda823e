//! Another model, where none of a model's engines can serve: let in anew, answered and billed as the one that served.

use super::money::entries;
use super::{ACCOUNT, Gateway, Listening, OTHER_SECRET, engine, eventually};
use farebox::admission::directory::hash_secret;
use farebox::simulate::Settings;
use farebox::store::KeyRow;
use farebox_domain::key::ModelGlob;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::money::Picodollars;
use reqwest::Response;
use serde_json::{Value, json};

/// `m` on `e0` falls back to `n` on `e1`, which is a hundred times dearer; an account has one request at a time.
const MODELS: &str = r#"
models:
  - id: m
    task: chat
    context_length: 4096
    price: { input: "0.10", output: "0.32" }
    engines: [{ engine: e0, serves: simulated }]
    fallback: [n]
  - id: n
    task: chat
    context_length: 4096
    max_output_tokens: 100
    price: { input: "10", output: "32" }
    engines: [{ engine: e1, serves: simulated }]
engines:
  - { name: e0, kind: vllm, url: "URL0" }
  - { name: e1, kind: vllm, url: "URL1" }
limits: { concurrent_requests: 1 }
retries: { attempts: 2, backoff: 1ms }
timeouts: { first_event: 300ms, whole_answer: 300ms }
"#;

async fn two_models() -> (Gateway, [Listening; 2]) {
    two_models_on(Settings::default()).await
}

async fn two_models_on(settings: Settings) -> (Gateway, [Listening; 2]) {
    let both = [engine(settings.clone()).await, engine(settings).await];
    let text = MODELS.replace("URL0", &both[0].url).replace("URL1", &both[1].url);
    (Gateway::start(&text).await, both)
}

fn ask(stream: bool, more: Value) -> Value {
    let mut body = json!({
        "model": "m", "stream": stream, "max_tokens": 5, "messages": [{ "role": "user", "content": "Hello" }],
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// The model that an answer names: of a stream, each of its chunks.
async fn model_of(response: Response) -> String {
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let named: Vec<Value> = if text.starts_with("data:") {
        assert!(text.contains("[DONE]"));
        let chunks = text.lines().filter_map(|line| line.strip_prefix("data: {"));
        chunks
            .map(|chunk| serde_json::from_str(&format!("{{{chunk}")).unwrap())
            .collect()
    } else {
        vec![serde_json::from_str(&text).unwrap()]
    };
    let model = named[0]["model"].as_str().unwrap().to_owned();
    assert!(named.iter().all(|chunk| chunk["model"] == model));
    model
}

async fn code_of(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    (status, answer["error"]["code"].as_str().unwrap().to_owned())
}

/// What was booked, when nothing is in flight any more.
async fn booked(gateway: Gateway) -> Vec<Entry> {
    eventually("all is given back", || gateway.in_flight() == (0, 0, 0)).await;
    let held = |app: &farebox::app::App| {
        let account = app.directory.account(&ACCOUNT.into()).unwrap();
        let month = farebox_domain::month::Month::of_ms(app.clock.unix_ms());
        account.wallet.read(month).held
    };
    let (app, _data) = gateway.stop().await;
    assert_eq!(held(&app), Picodollars::ZERO);
    entries(&*app.ledger).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_calls_the_other_by_its_id_is_asked_for_that() {
    let named = Settings {
        models: vec!["n".to_owned()],
        ..Settings::default()
    };
    let both = [engine(Settings::default()).await, engine(named).await];
    let text = MODELS.replace("URL0", &both[0].url).replace("URL1", &both[1].url);
    let gateway = Gateway::start(&text.replace("engine: e1, serves: simulated", "engine: e1")).await;
    both[0].engine.set_trouble(Some("status:502")).unwrap();
    for stream in [false, true] {
        let response = gateway.chat(&ask(stream, json!({}))).send().await.unwrap();
        assert_eq!(model_of(response).await, "n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_that_stands_in_is_answered_and_billed() {
    // None is usable; each fails before its first token; each is busy; none answers.
    for trouble in ["drained", "status:502", "refuse", "status:503", "hang"] {
        for stream in [false, true] {
            let (gateway, both) = two_models().await;
            if trouble == "drained" {
                gateway.app.registry().engine("e0").unwrap().set_drained(true);
            } else {
                both[0].engine.set_trouble(Some(trouble)).unwrap();
            }
            let response = gateway.chat(&ask(stream, json!({}))).send().await.unwrap();
            assert_eq!(model_of(response).await, "n", "{trouble}");
            let shown = gateway.app.render_metrics();
            assert!(
                shown.contains("farebox_fallbacks_total{fallback=\"n\",model=\"m\"} 1"),
                "{shown}"
            );
            let entries = booked(gateway).await;
            assert_eq!(entries.len(), 1, "{trouble}: {entries:?}");
            let entry = &entries[0];
            assert_eq!((entry.model.as_str(), entry.state), ("n", EntryState::Completed));
            assert_eq!(entry.engine.as_ref().unwrap().as_str(), "e1");
            let usage = entry.usage;
            let at_its_price = i128::from(usage.prompt_tokens) * 10_000_000
                + i128::from(usage.completion_tokens) * 32_000_000;
            assert_eq!(entry.cost.get(), at_its_price);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_model_serves_is_in_flight_as_its_request() {
    let slow = Settings {
        decode_rate: 1,
        ..Settings::default()
    };
    let (gateway, _both) = two_models_on(slow).await;
    gateway.app.registry().engine("e0").unwrap().set_drained(true);
    let open = gateway.chat(&ask(true, json!({}))).send().await.unwrap();
    assert_eq!(gateway.in_flight(), (1, 1, 1));
    let live = gateway.app.pipeline.in_flight.all();
    assert_eq!(live[0].model.model.id.as_str(), "n");
    drop(open);
    let entries = booked(gateway).await;
    assert_eq!((entries.len(), entries[0].state), (1, EntryState::Cancelled));
    assert_eq!(entries[0].model.as_str(), "n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_serves_is_not_left_for_another() {
    let (gateway, both) = two_models().await;
    let response = gateway.chat(&ask(true, json!({}))).send().await.unwrap();
    assert_eq!(model_of(response).await, "m");
    for trouble in ["flat-error", "cut:2"] {
        let body = ask(true, json!({ "simulate": trouble }));
        let response = gateway.chat(&body).send().await.unwrap();
        let text = response.text().await.unwrap();
        assert!(text.contains("\"error\""), "{trouble}: {text}");
    }
    assert_eq!(
        both[1].engine.counts().len(),
        0,
        "neither for a request that does not hold, nor once a token is out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_let_in_there_is_refused_as_without_a_fallback() {
    let (gateway, both) = two_models().await;
    gateway.app.registry().engine("e0").unwrap().set_drained(true);
    let mut key = KeyRow::new(
        "key_m".into(),
        ACCOUNT.into(),
        "m alone".into(),
        hash_secret(OTHER_SECRET),
        1,
    );
    key.rights.allowed_models = vec![ModelGlob::try_from("m".to_owned()).unwrap()];
    gateway.app.directory.add_key(key);
    let unavailable = (503, "no_engine_available".to_owned());
    let of_m_alone = gateway.chat_as(OTHER_SECRET, &ask(false, json!({}))).send();
    assert_eq!(code_of(of_m_alone.await.unwrap()).await, unavailable);
    // More than the other has room for; and then, more than there is money for at its price.
    let too_long = gateway.chat(&ask(false, json!({ "max_tokens": 101 }))).send();
    assert_eq!(code_of(too_long.await.unwrap()).await, unavailable);
    let wallet = &gateway.app.directory.account(&ACCOUNT.into()).unwrap().wallet;
    wallet.set_credit_limit(Some(Picodollars::ZERO));
    wallet.adjust(Picodollars::new(100_000_000));
    let too_dear = gateway.chat(&ask(false, json!({}))).send();
    assert_eq!(code_of(too_dear.await.unwrap()).await, unavailable);
    assert_eq!(both[1].engine.counts().len(), 0);
    let entries = booked(gateway).await;
    assert_eq!(entries.len(), 3);
    for entry in entries {
        let booked = (entry.model.as_str(), entry.state, entry.cost.get());
        assert_eq!(booked, ("m", EntryState::Failed, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_fail_the_first_one_s_failure_is_told_and_nothing_is_charged() {
    let (gateway, both) = two_models().await;
    both[0].engine.set_trouble(Some("status:502")).unwrap();
    both[1].engine.set_trouble(Some("hang")).unwrap();
    let response = gateway.chat(&ask(true, json!({}))).send().await.unwrap();
    assert_eq!(code_of(response).await, (502, "engine_error".to_owned()));
    assert!(!both[1].engine.counts().is_empty());
    let entries = booked(gateway).await;
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].state, entries[0].cost.get()), (EntryState::Failed, 0));
}
