//! Routing by what engines themselves tell of their caches.

use super::reload::reload;
use super::{ADMIN_TOKEN, Gateway, Listening, SECRET, engine, eventually, models};
use bytes::Bytes;
use farebox::clock::Clock;
use farebox::engines::prompt::PromptCounter;
use farebox::simulate::Settings;
use farebox_domain::catalog::{EngineKind, PromptFiles};
use farebox_domain::ledger::Endpoint;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use zeromq::{PubSocket, Socket, SocketSend, ZmqMessage};

const BLOCK: usize = 16;
const TEMPLATE: &str = "{% for message in messages %}{{ message.content }} {% endfor %}";

/// A model's files: each of 1,000 words is a token.
struct Files {
    folder: TempDir,
    counter: PromptCounter,
}

impl Files {
    fn new() -> Self {
        let vocabulary: serde_json::Map<_, _> =
            (0..1_000).map(|word| (format!("w{word}"), json!(word))).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
            "added_tokens": [], "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null,
            "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "w0" },
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        std::fs::write(folder.path().join("chat.jinja"), TEMPLATE).unwrap();
        let path = |name| folder.path().join(name).display().to_string();
        let files = PromptFiles {
            tokenizer: path("tokenizer.json"),
            chat_template: Some(path("chat.jinja")),
        };
        let counter = PromptCounter::load(&files, [EngineKind::Vllm], &Clock::system()).unwrap();
        Self { folder, counter }
    }

    /// The tokens of a chat, as an engine reads it.
    fn ids(&self, body: &Value) -> Vec<u32> {
        let body = body.to_string();
        let tokens = self.counter.read(Endpoint::ChatCompletions, body.as_bytes());
        tokens.ids.unwrap()
    }

    /// A model in front of these engines, of which those that publish tell what they hold.
    fn models(&self, engines: &[&Listening], publishers: &[Option<&Publisher>]) -> String {
        let urls: Vec<&str> = engines.iter().map(|engine| engine.url.as_str()).collect();
        let folder = self.folder.path().display();
        let mut text = models(&urls, "").replace(
            "    task: chat\n",
            &format!(
                "    task: chat\n    routing: prefix\n    tokenizer: {folder}/tokenizer.json\n    chat_template: \
                 {folder}/chat.jinja\n"
            ),
        );
        for (url, publisher) in urls.iter().zip(publishers) {
            if let Some(publisher) = publisher {
                text = text.replace(
                    &format!("url: \"{url}\""),
                    &format!(
                        "url: \"{url}\", kv_events: {{ connect: \"{}\" }}",
                        publisher.endpoint
                    ),
                );
            }
        }
        text
    }
}

/// What an engine publishes of its cache.
struct Publisher {
    socket: PubSocket,
    endpoint: String,
    sequence: u64,
}

impl Publisher {
    async fn new() -> Self {
        let mut socket = PubSocket::new();
        let endpoint = socket.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
        Self {
            socket,
            endpoint,
            sequence: 0,
        }
    }

    /// The first blocks of these tokens are stored, under this salt.
    async fn stores(&mut self, ids: &[u32], blocks: usize, salt: Option<&str>) {
        let hashes: Vec<u64> = (0..blocks)
            .map(|block| 1_000 * self.sequence + block as u64 + 1)
            .collect();
        let keys: Vec<Value> = (0..blocks)
            .map(|block| {
                salt.filter(|_| block == 0)
                    .map_or(Value::Null, |salt| json!([salt]))
            })
            .collect();
        self.says(json!([{
            "type": "BlockStored", "block_hashes": hashes, "parent_block_hash": null,
            "token_ids": ids[..blocks * BLOCK], "block_size": BLOCK, "medium": "GPU", "extra_keys": keys,
        }]))
        .await;
    }

    async fn says(&mut self, events: Value) {
        let payload = rmp_serde::to_vec(&json!([1.5, events, 0])).unwrap();
        self.sends(&self.sequence.to_be_bytes(), payload).await;
        self.sequence += 1;
    }

    async fn sends(&mut self, sequence: &[u8], payload: Vec<u8>) {
        let frames = vec![Bytes::new(), Bytes::copy_from_slice(sequence), payload.into()];
        self.socket
            .send(ZmqMessage::try_from(frames).unwrap())
            .await
            .unwrap();
    }

    /// Says that it holds a prompt of 100 tokens until the gateway knows.
    async fn is_known(&mut self, gateway: &Gateway, body: &Value, ids: &[u32]) {
        let known = timeout(Duration::from_secs(20), async {
            while explain(gateway, body).await.0 != [by_events(96)] {
                self.stores(ids, 6, None).await;
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(known.await.is_ok(), "it is not heard");
    }

    /// Says nothing until the gateway hears it, as PUB drops what nobody subscribes to.
    async fn is_heard(&mut self, gateway: &Gateway, engine: &str) {
        let line = format!("farebox_kv_events_total{{engine=\"{engine}\",what=\"undecodable\"}}");
        let heard = timeout(Duration::from_secs(20), async {
            while metric(gateway, &line) == 0 {
                self.sends(b"anybody?", Vec::new()).await;
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(heard.await.is_ok(), "nobody hears the engine");
    }
}

fn metric(gateway: &Gateway, line: &str) -> u64 {
    let metrics = gateway.app.render_metrics();
    let mut lines = metrics.lines();
    let value = lines.find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or(0)
}

fn is_told(gateway: &Gateway, engine: &str) -> bool {
    metric(
        gateway,
        &format!("farebox_kv_events_heard{{engine=\"{engine}\"}}"),
    ) == 1
}

fn chat(from: usize, words: usize) -> Value {
    let text: Vec<String> = (from..from + words)
        .map(|word| format!("w{}", word % 1_000))
        .collect();
    json!({ "model": "m", "max_tokens": 4, "messages": [{ "role": "user", "content": text.join(" ") }] })
}

/// What is predicted of each engine, and by whom; and who would be chosen.
async fn explain(gateway: &Gateway, request: &Value) -> (Vec<(u64, String)>, String) {
    let response = gateway
        .client
        .post(format!("{}/admin/v1/route/explain", gateway.admin_url))
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({ "account": super::ACCOUNT, "request": request }))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let explained: Value = response.json().await.unwrap();
    let engines = explained["engines"].as_array().unwrap().iter().map(|engine| {
        let estimate = &engine["estimate"];
        let tokens = estimate["predicted_cached_tokens"].as_u64().unwrap();
        (tokens, estimate["source"].as_str().unwrap().to_owned())
    });
    let chosen = explained["chosen"].as_str().unwrap_or("nowhere");
    (engines.collect(), chosen.to_owned())
}

fn by_events(tokens: u64) -> (u64, String) {
    (tokens, "events".into())
}

fn by_sent(tokens: u64) -> (u64, String) {
    (tokens, "sent".into())
}

async fn say(gateway: &Gateway, body: &Value) -> Value {
    let response = gateway.chat_as(SECRET, body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_request_goes_to_the_engine_that_tells_that_it_holds_the_prompt() {
    let (a, b, c) = (
        engine(Settings::default()).await,
        engine(Settings::default()).await,
        engine(Settings::default()).await,
    );
    let (files, mut of_b, mut of_c) = (Files::new(), Publisher::new().await, Publisher::new().await);
    let written = files.models(&[&a, &b, &c], &[None, Some(&of_b), Some(&of_c)]);
    let gateway = Gateway::start(&written).await;
    of_b.is_heard(&gateway, "e1").await;
    of_c.is_heard(&gateway, "e2").await;
    let (one, two) = (chat(0, 320), chat(500, 320));
    assert_eq!(
        explain(&gateway, &one).await.0,
        [by_sent(0), by_sent(0), by_sent(0)]
    );

    of_b.stores(&files.ids(&one), 20, None).await;
    of_c.stores(&files.ids(&two), 12, None).await;
    eventually("both are heard", || {
        is_told(&gateway, "e1") && is_told(&gateway, "e2")
    })
    .await;
    // All of it is there, but the last token is computed.
    let told = [by_sent(0), by_events(19 * 16), by_events(0)];
    assert_eq!(explain(&gateway, &one).await, (told.to_vec(), "e1".into()));
    let told = [by_sent(0), by_events(0), by_events(12 * 16)];
    assert_eq!(explain(&gateway, &two).await, (told.to_vec(), "e2".into()));
    for body in [&one, &two] {
        say(&gateway, body).await;
    }
    let sent = [&a, &b, &c].map(|one| one.engine.counts().len());
    assert_eq!(sent, [0, 1, 1]);
    // The simulated engine holds what it was sent and nothing else; the prediction was the publisher's.
    let outcome = |engine: &str, cached| {
        metric(
            &gateway,
            &format!(
                "farebox_prefix_predictions_total{{cached=\"{cached}\",engine=\"{engine}\",source=\"events\"}}"
            ),
        )
    };
    say(&gateway, &one).await;
    assert!(outcome("e1", "more") + outcome("e1", "fewer") + outcome("e1", "exact") > 0);

    // What the engine says that it has forgotten is gone, whatever was sent there.
    of_b.says(json!([{ "type": "AllBlocksCleared" }])).await;
    let line = "farebox_kv_events_total{engine=\"e1\",what=\"events\"}";
    eventually("it is heard", || metric(&gateway, line) == 2).await;
    assert_eq!(
        explain(&gateway, &one).await.0[1].0.min(1),
        1,
        "no block size: by what was sent"
    );
    of_b.stores(&files.ids(&two), 1, None).await;
    eventually("it is heard", || metric(&gateway, line) == 3).await;
    assert_eq!(explain(&gateway, &one).await.0[1], by_events(0));
}

#[tokio::test]
async fn a_salt_a_picture_and_a_second_prompt_are_not_taken_for_what_the_engine_tells() {
    let a = engine(Settings::default()).await;
    let (files, mut of_a) = (Files::new(), Publisher::new().await);
    let gateway = Gateway::start(&files.models(&[&a], &[Some(&of_a)])).await;
    of_a.is_heard(&gateway, "e0").await;
    let plain = chat(0, 100);
    of_a.stores(&files.ids(&plain), 5, Some("tenant \"a\"")).await;
    eventually("it is heard", || is_told(&gateway, "e0")).await;
    assert_eq!(explain(&gateway, &plain).await.0, [by_events(0)]);
    let mut salted = plain.clone();
    salted["cache_salt"] = json!("tenant \"a\"");
    assert_eq!(explain(&gateway, &salted).await.0, [by_events(80)]);
    let mut shown = salted.clone();
    shown["messages"][0]["content"] =
        json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } }]);
    assert_eq!(explain(&gateway, &shown).await.0, [by_sent(0)]);
}

#[tokio::test]
async fn an_engine_that_is_not_heard_is_guessed_at_until_it_is_again() {
    let a = engine(Settings::default()).await;
    let (files, mut of_a) = (Files::new(), Publisher::new().await);
    let gateway = Gateway::start(&files.models(&[&a], &[Some(&of_a)])).await;
    of_a.is_heard(&gateway, "e0").await;
    assert!(!is_told(&gateway, "e0"));
    let body = chat(0, 200);
    of_a.stores(&files.ids(&body), 10, None).await;
    eventually("it is heard", || is_told(&gateway, "e0")).await;
    assert_eq!(explain(&gateway, &body).await.0, [by_events(160)]);
    say(&gateway, &body).await;
    drop(of_a);
    eventually("it is known to be gone", || !is_told(&gateway, "e0")).await;
    let (predicted, _) = explain(&gateway, &body).await;
    assert_eq!(predicted[0].1, "sent");
    assert!(predicted[0].0 > 150, "{predicted:?}: it was sent there");
    // An engine that went down comes back with nothing, and tells so only when it has something.
    a.engine.set_healthy(false);
    gateway.app.registry().engines()[0].probe().await;
    assert_eq!(
        explain(&gateway, &body).await,
        (vec![by_sent(0)], "nowhere".into())
    );
}

#[tokio::test]
async fn an_engine_is_heard_as_models_yaml_says_now() {
    let a = engine(Settings::default()).await;
    let (files, mut of_a) = (Files::new(), Publisher::new().await);
    let first = files.models(&[&a], &[Some(&of_a)]);
    let gateway = Gateway::start(&first).await;
    let body = chat(0, 100);
    let ids = files.ids(&body);
    let mut other = body.clone();
    other["model"] = json!("n");
    of_a.is_known(&gateway, &body, &ids).await;

    // Called otherwise, and for one model more: it is followed anew, for both.
    let narrow = first.replace("kind: vllm", "kind: vllm, max_concurrent: 9");
    reload(&gateway, &narrow).await;
    of_a.is_known(&gateway, &body, &ids).await;
    let (from, to) = (
        narrow.find("  - id: m\n").unwrap(),
        narrow.find("engines:\n  - {").unwrap(),
    );
    let second = narrow[from..to].replace("id: m", "id: n");
    let two = [&narrow[..to], &second, &narrow[to..]].concat();
    reload(&gateway, &two).await;
    of_a.is_known(&gateway, &other, &ids).await;
    of_a.is_known(&gateway, &body, &ids).await;

    // Read again as it is: what is known stays.
    reload(&gateway, &two).await;
    assert_eq!(explain(&gateway, &other).await.0, [by_events(96)]);
    let silent = files.models(&[&a], &[None]);
    reload(&gateway, &silent).await;
    assert_eq!(explain(&gateway, &body).await.0, [by_sent(0)]);
    reload(&gateway, &first).await;
    of_a.is_known(&gateway, &body, &ids).await;
}
