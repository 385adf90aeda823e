//! What is sold besides tokens, service tiers, and prices that change while streams run.

use super::{ACCOUNT, ADMIN_TOKEN, Gateway, SECRET, eventually, models};
use farebox::clock::Clock;
use farebox::ledger::EntryPage;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::money::Picodollars;
use farebox_domain::units::{ServiceTier, Units};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// 2026-11-01T12:00:00Z
const NOW_MS: u64 = 1_793_534_400_000;
const DAY_MS: u64 = 86_400_000;
const PLAIN: &str = r#"{ input: "0.10", cached_input: "0.02", output: "0.32" }"#;

/// An engine that answers what it is told, and a stream's second part when it is let.
pub(crate) struct Scripted {
    pub(crate) url: String,
    /// The body of each request.
    asked: mpsc::UnboundedReceiver<Value>,
    /// A permit lets one stream end.
    pub(crate) ends: Arc<Semaphore>,
}

/// `begin` is what a stream has before its end.
pub(crate) async fn scripted(begin: &'static str) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = mpsc::unbounded_channel();
    let ends = Arc::new(Semaphore::new(0));
    let let_end = Arc::clone(&ends);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (tell, ends) = (tell.clone(), Arc::clone(&let_end));
            tokio::spawn(async move {
                // Whoever leaves early is not answered, which is no fault of the test's.
                let _ = answer(socket, tell, ends, begin).await;
            });
        }
    });
    Scripted { url, asked, ends }
}

async fn answer(
    mut socket: TcpStream,
    tell: mpsc::UnboundedSender<Value>,
    ends: Arc<Semaphore>,
    begin: &str,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    let body = loop {
        if socket.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.starts_with("GET") {
            return socket
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
        }
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(body) = body.and_then(|body| serde_json::from_str::<Value>(body).ok()) {
            break body;
        }
    };
    let stream = body["stream"] == true;
    let _ = tell.send(body);
    if !stream {
        let whole = json!({
            "id": "w", "choices": [{ "index": 0, "message": { "content": "a" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 2, "seconds": 1.5 },
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            whole.len()
        );
        return socket.write_all((head + &whole).as_bytes()).await;
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    socket
        .write_all(format!("{head}data: {begin}\n\n").as_bytes())
        .await?;
    if let Ok(permit) = ends.acquire().await {
        permit.forget();
    }
    let end = concat!(
        r#"data: {"id":"s","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        "\n\n",
        r#"data: {"id":"s","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2}}"#,
        "\n\ndata: [DONE]\n\n"
    );
    socket.write_all(end.as_bytes()).await
}

pub(crate) const TOKEN: &str = r#"{"id":"s","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":10,"completion_tokens":1}}"#;
const ROLE: &str = r#"{"id":"s","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":{"prompt_tokens":10,"completion_tokens":0}}"#;

async fn entries(gateway: &Gateway) -> Vec<Entry> {
    let page = EntryPage {
        limit: 100,
        ..EntryPage::default()
    };
    gateway.app.ledger.entries(&page).await.unwrap()
}

/// Waits until so many are booked.
async fn booked(gateway: &Gateway, count: usize) -> Vec<Entry> {
    loop {
        let entries = entries(gateway).await;
        if entries.len() >= count {
            return entries;
        }
        tokio::task::yield_now().await;
    }
}

async fn set_price(gateway: &Gateway, body: Value) {
    let url = format!("{}/admin/v1/prices", gateway.admin_url);
    let asked = gateway.client.post(url).bearer_auth(ADMIN_TOKEN).json(&body);
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

fn stream() -> Value {
    json!({ "model": "m", "stream": true, "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_acts_on_the_next_request_and_on_no_stream_that_runs() {
    let engine = scripted(TOKEN).await;
    let clock = Clock::standing_at(NOW_MS);
    let gateway = Gateway::start_at(&models(&[&engine.url], ""), clock.clone()).await;
    let mut open = Vec::new();
    // The head of a stream comes after its first event, so it has been admitted.
    let mut begin = async || open.push(gateway.chat(&stream()).send().await.unwrap());
    begin().await;
    clock.set_unix_ms(NOW_MS + 1_000);
    set_price(
        &gateway,
        json!({ "model": "m", "price": { "input": "0.20", "output": "0.64" } }),
    )
    .await;
    begin().await;
    let dearer = json!({ "model": "m", "price": { "input": "0.40", "output": "1.28" }, "from": "1h" });
    set_price(&gateway, dearer).await;
    begin().await;
    // A day ahead the scheduled price holds, by itself; a day back the first one does.
    clock.set_unix_ms(NOW_MS + DAY_MS);
    begin().await;
    clock.set_unix_ms(NOW_MS - DAY_MS);
    begin().await;
    clock.set_unix_ms(NOW_MS + 2_000);
    engine.ends.add_permits(open.len());
    for response in open {
        assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    }
    let mut booked = booked(&gateway, 5).await;
    booked.sort_by_key(|entry| (entry.price_version, entry.admitted_at_ms));
    let shown: Vec<_> = booked
        .iter()
        .map(|entry| (entry.price_version.0, entry.cost.get()))
        .collect();
    let cost = |input: i128, output: i128| 10 * input + 2 * output;
    assert_eq!(
        shown,
        [
            (1, cost(100_000, 320_000)),
            (1, cost(100_000, 320_000)),
            (2, cost(200_000, 640_000)),
            (2, cost(200_000, 640_000)),
            (3, cost(400_000, 1_280_000)),
        ]
    );
    assert!(booked.iter().all(|entry| entry.state == EntryState::Completed));
    assert_eq!(gateway.app.ledger.verify().await.unwrap().discrepancies, []);
}

fn sold_by_everything() -> String {
    let price = r#"{ input: "0.10", output: "0.32", per_request: "0.001", per_engine_second: "0.01", per_image: "0.002",
        per_million_characters: "1", per_audio_second: "0.0004", priority: "1.5" }"#;
    price.replace('\n', " ")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unit_is_measured_and_billed_in_the_tier_that_is_shown() {
    let mut engine = scripted(TOKEN).await;
    let priced = models(&[&engine.url], "").replace(PLAIN, &sold_by_everything());
    let gateway = Gateway::start(&priced).await;
    let body = |tier: Value| {
        let image = json!({ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } });
        json!({
            "model": "m", "max_tokens": 5, "service_tier": tier,
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "é漢🎉" }, image] }],
        })
    };
    for (tier, shown) in [
        (json!("priority"), "priority"),
        (json!("flex"), "default"),
        (json!("auto"), "default"),
    ] {
        let answer: Value = gateway
            .chat(&body(tier.clone()))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(
            answer["service_tier"], shown,
            "what is not sold is served as default"
        );
        assert_eq!(
            engine.asked.recv().await.unwrap()["service_tier"],
            tier,
            "vLLM gets the client's bytes"
        );
    }
    let unnamed: Value = gateway
        .chat(&body(Value::Null))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        unnamed.get("service_tier"),
        None,
        "it is not shown to whom named none"
    );
    let refused = gateway.chat(&body(json!("scale"))).send().await.unwrap();
    assert_eq!(refused.status(), 400);

    let entries = booked(&gateway, 4).await;
    let registry = gateway.app.registry();
    let served = registry.find("m").unwrap();
    let price = &served.model.price;
    for entry in &entries {
        let measured = Units {
            engine_ms: entry.units.engine_ms,
            images: 1,
            characters: 3,
            audio_ms: 1_500,
        };
        assert_eq!(entry.units, measured);
        assert_eq!(entry.cost, entry.cost_at(price).unwrap());
        let thousandths = if entry.service_tier == ServiceTier::Priority {
            1_500
        } else {
            1_000
        };
        let by_hand = 10 * 100_000
            + 2 * 320_000
            + 1_000_000_000
            + 10_000_000 * i128::from(entry.units.engine_ms)
            + 2_000_000_000
            + 3 * 1_000_000
            + 1_500 * 400_000;
        assert_eq!(entry.cost.get(), by_hand * thousandths / 1_000);
    }
    let tiers = entries
        .iter()
        .filter(|entry| entry.service_tier == ServiceTier::Priority);
    assert_eq!(tiers.count(), 1);
    assert_eq!(gateway.app.ledger.verify().await.unwrap().discrepancies, []);

    let listed = gateway
        .client
        .get(format!("{}/v1/models/m", gateway.url))
        .bearer_auth(SECRET);
    let listed: Value = listed.send().await.unwrap().json().await.unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&listed["metadata"]["pricing"]).unwrap(), @r#"
    {
      "cache_read_tokens": 0.1,
      "input_tokens": 0.1,
      "output_tokens": 0.32,
      "per_audio_second": 0.0004,
      "per_engine_second": 0.01,
      "per_image": 0.002,
      "per_million_characters": 1,
      "per_request": 0.001,
      "priority_multiplier": 1.5
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_pays_for_the_request_once_a_token_has_flowed() {
    for (begin, answered) in [(ROLE, false), (TOKEN, true)] {
        let engine = scripted(begin).await;
        let priced = models(&[&engine.url], "").replace(PLAIN, &sold_by_everything());
        let gateway = Gateway::start(&priced).await;
        let mut response = gateway.chat(&stream()).send().await.unwrap();
        response.chunk().await.unwrap().unwrap();
        drop(response);
        let entry = booked(&gateway, 1).await.remove(0);
        assert_eq!(entry.state, EntryState::Cancelled);
        let tokens = 10 * 100_000 + i128::from(entry.usage.completion_tokens) * 320_000;
        if answered {
            assert_eq!((entry.units.characters, entry.usage.completion_tokens), (2, 1));
            assert!(entry.cost.get() >= tokens + 1_000_000_000 + 2 * 1_000_000);
        } else {
            assert!(entry.units.is_empty());
            assert_eq!(entry.cost.get(), tokens, "the prompt, which the engine has read");
        }
        assert_eq!(gateway.app.ledger.verify().await.unwrap().discrepancies, []);
        eventually("the engine is left", || gateway.in_flight() == (0, 0, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_covers_what_is_no_token() {
    let mut engine = scripted(TOKEN).await;
    let price = r#"{ input: "0", output: "0", per_request: "0.001", per_image: "0.002", priority: "2" }"#;
    let gateway = Gateway::start(&models(&[&engine.url], "").replace(PLAIN, price)).await;
    let wallet = Arc::clone(&gateway.app.directory.account(&ACCOUNT.into()).unwrap().wallet);
    wallet.set_credit_limit(Some(Picodollars::ZERO));
    wallet.adjust(Picodollars::parse_usd("0.003").unwrap());
    let body = |images: usize, tier: &str| {
        let image = json!({ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } });
        json!({
            "model": "m", "max_tokens": 5, "service_tier": tier,
            "messages": [{ "role": "user", "content": vec![image; images] }],
        })
    };
    let send = async |images, tier| {
        gateway
            .chat(&body(images, tier))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(send(2, "default").await, 402);
    assert_eq!(send(1, "priority").await, 402);
    assert!(engine.asked.try_recv().is_err(), "no engine was called");
    assert_eq!(send(1, "default").await, 200);
    let entry = booked(&gateway, 1).await.remove(0);
    assert_eq!(entry.cost, Picodollars::parse_usd("0.003").unwrap());
    assert_eq!(send(0, "default").await, 402, "it is spent");
}
