//! An embeddings request with more inputs than an engine is sent at once: many calls, one answer, one entry.

use super::{Gateway, Listening, SECRET, engine, eventually};
use farebox::simulate::Settings;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Entry, EntryState};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

/// What the engines of these tests take at once.
const BATCH: usize = 4;

async fn engines(count: usize) -> Vec<Listening> {
    let settings = Settings {
        max_batch_inputs: BATCH,
        ..Settings::default()
    };
    let mut engines = Vec::new();
    for _ in 0..count {
        engines.push(engine(settings.clone()).await);
    }
    engines
}

/// A models.yaml of an embedding model `m`, with more keys of it and of the top level.
fn models(engines: &[Listening], of_model: &str, more: &str) -> String {
    let (mut served, mut listed) = (String::new(), String::new());
    for (n, engine) in engines.iter().enumerate() {
        served += &format!("{{ engine: e{n}, serves: simulated }}, ");
        listed += &format!("  - {{ name: e{n}, kind: vllm, url: \"{}\" }}\n", engine.url);
    }
    format!(
        "models:\n  - id: m\n    task: embedding\n    context_length: 512\n    price: {{ input: \"0.01\" }}\n    \
         engines: [{served}]\n{of_model}engines:\n{listed}{more}\n"
    )
}

const SPLIT: &str = "    max_batch_inputs: 4\n";

fn ask(gateway: &Gateway, body: &Value) -> RequestBuilder {
    let url = format!("{}/v1/embeddings", gateway.url);
    gateway.client.post(url).bearer_auth(SECRET).json(body)
}

/// Texts of different lengths, each of which has a vector of its own.
fn texts(count: usize) -> Vec<String> {
    let text = |n: usize| format!("text {n}{}", " and more".repeat(n));
    (0..count).map(text).collect()
}

fn id_of(response: &Response) -> RequestId {
    RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap()
}

async fn entry_of(gateway: Gateway, id: RequestId) -> Entry {
    let (app, _data) = gateway.stop().await;
    app.ledger.entry(id).await.unwrap().unwrap()
}

/// The ids that engines were called by, and the status that each got.
fn calls(engines: &[Listening]) -> Vec<(String, u16)> {
    let counts = engines.iter().flat_map(|engine| engine.engine.counts());
    let mut calls: Vec<_> = counts.map(|count| (count.id, count.status)).collect();
    calls.sort();
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_come_in_the_order_of_their_inputs_and_the_bill_is_the_sum() {
    let tokens: Vec<Vec<u32>> = (0..10).map(|n| (n..2 * n + 1).collect()).collect();
    for (input, format) in [
        (json!(texts(10)), "float"),
        (json!(tokens), "float"),
        (json!(texts(10)), "base64"),
    ] {
        let (engines, alone) = (engines(3).await, engine(Settings::default()).await);
        let gateway = Gateway::start(&models(&engines, SPLIT, "")).await;
        let body = json!({ "model": "m", "input": input, "encoding_format": format });
        let response = ask(&gateway, &body).send().await.unwrap();
        let (id, status) = (id_of(&response), response.status());
        let answer: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{answer}");

        let mut body = body.clone();
        body["model"] = "simulated".into();
        let url = format!("{}/v1/embeddings", alone.url);
        let of_one = gateway.client.post(url).json(&body).send().await.unwrap();
        let of_one: Value = of_one.json().await.unwrap();
        assert_eq!(
            answer["data"], of_one["data"],
            "as one engine would have answered"
        );
        assert_eq!(answer["model"], "m");
        for field in ["prompt_tokens", "total_tokens"] {
            assert_eq!(answer["usage"][field], of_one["usage"][field]);
        }

        let sent: Vec<_> = engines.iter().map(|engine| engine.engine.counts()).collect();
        assert!(
            sent.iter().all(|calls| calls.len() == 1),
            "each engine has a part"
        );
        let tokens: u64 = sent.iter().map(|calls| calls[0].prompt_tokens).sum();
        let metrics = gateway.app.render_metrics();
        for line in [
            "farebox_split_requests_total{model=\"m\"} 1",
            "farebox_split_parts_total{model=\"m\"} 3",
            "farebox_requests_total{model=\"m\",outcome=\"completed\"} 1",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        let entry = entry_of(gateway, id).await;
        assert_eq!(entry.state, EntryState::Completed);
        assert_eq!(entry.usage.prompt_tokens, tokens);
        assert_eq!(entry.cost.get(), i128::from(tokens) * 10_000);
        let cost = &answer["usage"]["estimated_cost"];
        assert_eq!(cost.to_string().parse::<f64>(), entry.cost.to_string().parse());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_call_can_take_is_one_call_and_what_it_cannot_is_one_after_the_other() {
    let engines = engines(1).await;
    let gateway = Gateway::start(&models(&engines, SPLIT, "")).await;
    let few = json!({ "model": "m", "input": texts(BATCH) });
    let response = ask(&gateway, &few).send().await.unwrap();
    let id = id_of(&response).to_string();
    assert_eq!(response.status(), 200);
    assert_eq!(calls(&engines), [(id, 200)]);

    engines[0].engine.clear_counts();
    let many = json!({ "model": "m", "input": texts(3 * BATCH) });
    let response = ask(&gateway, &many).send().await.unwrap();
    let id = id_of(&response);
    assert_eq!(response.status(), 200);
    let parts = [1, 2, 3].map(|part| (format!("{id}-{part}"), 200));
    assert_eq!(calls(&engines), parts);
    assert_eq!(engines[0].engine.peak_in_flight(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_split_the_engines_refusal_is_passed_on() {
    let engines = engines(1).await;
    let gateway = Gateway::start(&models(&engines, "", "")).await;
    let body = json!({ "model": "m", "input": texts(BATCH + 1) });
    let response = ask(&gateway, &body).send().await.unwrap();
    assert_eq!(response.status(), 422);
    let answer: Value = response.json().await.unwrap();
    insta::assert_snapshot!(answer["error"]["message"].as_str().unwrap(), @"batch size 5 > maximum allowed batch size 4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_is_tried_again_alone() {
    let engines = engines(3).await;
    engines[0].engine.set_trouble(Some("status:500")).unwrap();
    let gateway = Gateway::start(&models(&engines, SPLIT, "retries: { backoff: 1ms }")).await;
    let body = json!({ "model": "m", "input": texts(10) });
    let response = ask(&gateway, &body).send().await.unwrap();
    let id = id_of(&response);
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["data"].as_array().unwrap().len(), 10);

    let calls = calls(&engines);
    // Another part may come to the same engine, which is the least loaded once it has failed.
    assert!(calls.iter().any(|(_, status)| *status == 500), "{calls:?}");
    for part in 1..=3 {
        let id = format!("{id}-{part}");
        let answered = calls.iter().filter(|call| **call == (id.clone(), 200)).count();
        assert_eq!(answered, 1, "{calls:?}");
    }
    let counts = engines.iter().flat_map(|engine| engine.engine.counts());
    let answered = counts.filter(|count| count.status == 200);
    let tokens: u64 = answered.map(|count| count.prompt_tokens).sum();
    assert_eq!(entry_of(gateway, id).await.usage.prompt_tokens, tokens);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_for_good_fails_all_and_nothing_is_charged() {
    let once = "retries: { attempts: 1 }";
    let cases = [
        ("status:500", once, 502, "engine_error"),
        ("cut:0", once, 502, "engine_error"),
        (
            "hang",
            "timeouts: { whole_answer: 300ms }\nretries: { attempts: 1 }",
            504,
            "engine_timeout",
        ),
    ];
    for (trouble, more, status, code) in cases {
        let engines = engines(3).await;
        engines[1].engine.set_trouble(Some(trouble)).unwrap();
        let gateway = Gateway::start(&models(&engines, SPLIT, more)).await;
        let body = json!({ "model": "m", "input": texts(10) });
        let response = ask(&gateway, &body).send().await.unwrap();
        let id = id_of(&response);
        assert_eq!(response.status(), status, "{trouble}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"]["code"], code);
        eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
        let entry = entry_of(gateway, id).await;
        assert_eq!(
            (entry.state, entry.cost.get()),
            (EntryState::Failed, 0),
            "{trouble}"
        );
        assert_eq!(entry.usage.prompt_tokens, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_end_together_however_many_come_one_after_the_other() {
    let slow = engine(Settings {
        prefill_rate: 20,
        ..Settings::default()
    });
    let engines = [slow.await];
    let short = "timeouts: { whole_answer: 1s }\nretries: { time: 0s }";
    let gateway = Gateway::start(&models(&engines, "    max_batch_inputs: 1\n", short)).await;
    // Each part by itself is in time.
    let body = json!({ "model": "m", "input": vec!["one two three"; 100] });
    let response = ask(&gateway, &body).send().await.unwrap();
    assert_eq!(response.status(), 504);
    let calls = calls(&engines);
    assert!(calls.len() > 1 && calls.len() < 100, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_one_place_of_its_accounts_and_a_client_that_leaves_ends_every_part() {
    let engines = engines(3).await;
    for engine in &engines {
        engine.engine.set_trouble(Some("hang")).unwrap();
    }
    let one = "limits: { concurrent_requests: 1 }";
    let gateway = Gateway::start(&models(&engines, SPLIT, one)).await;
    let body = json!({ "model": "m", "input": texts(30) });
    let client = tokio::spawn(ask(&gateway, &body).send());
    let busy = || {
        engines
            .iter()
            .map(|one| one.engine.in_flight())
            .collect::<Vec<_>>()
    };
    eventually("a part at each engine", || busy() == [1, 1, 1]).await;
    assert_eq!(gateway.in_flight(), (1, 3, 1));
    let second = ask(&gateway, &body).send().await.unwrap();
    assert_eq!(second.status(), 429);
    let live = gateway.app.pipeline.in_flight.all();
    let id = live[0].id;

    client.abort();
    eventually("every engine sees it leave", || busy() == [0, 0, 0]).await;
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    let counts = engines.iter().flat_map(|engine| engine.engine.counts());
    assert!(counts.into_iter().all(|count| count.aborted));
    drop(live);
    let entry = entry_of(gateway, id).await;
    assert_eq!((entry.state, entry.cost.get()), (EntryState::Cancelled, 0));
}
