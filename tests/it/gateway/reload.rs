//! models.yaml read again while requests are served: nothing that runs or waits notices.

use super::money::entries;
use super::prefix::{explain, predicted};
use super::{ACCOUNT, ADMIN_TOKEN, Gateway, Listening, client, engine, eventually, models};
use crate::crash::Process;
use farebox::simulate::Settings;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::task::JoinSet;

/// Writes models.yaml, and has it read: the answer's status and body.
async fn reload_with(gateway: &Gateway, models: &str, dry_run: bool) -> (u16, Value) {
    std::fs::write(gateway.models_yaml(), models).unwrap();
    let url = format!("{}/admin/v1/reload", gateway.admin_url);
    let asked = gateway.client.post(url).bearer_auth(ADMIN_TOKEN);
    let response = asked.json(&json!({ "dry_run": dry_run })).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

pub(super) async fn reload(gateway: &Gateway, models: &str) -> Value {
    let (status, plan) = reload_with(gateway, models, false).await;
    assert_eq!(status, 200, "{plan}");
    plan
}

fn streamed(max_tokens: u32) -> Value {
    json!({
        "model": "m", "stream": true, "max_tokens": max_tokens, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "hi" }],
    })
}

/// An engine whose streams end when their clients leave.
async fn slow() -> Listening {
    engine(Settings {
        decode_rate: 1,
        ..Settings::default()
    })
    .await
}

fn one_at_a_time(models: &str) -> String {
    models.replace("kind: vllm", "kind: vllm, max_concurrent: 1")
}

fn waiting(gateway: &Gateway) -> usize {
    gateway.app.registry().find("m").unwrap().room.waiting()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_times_under_load_no_stream_is_cut_and_no_request_fails() {
    let settings = Settings {
        decode_rate: 400,
        ..Settings::default()
    };
    let engines = [
        engine(settings.clone()).await,
        engine(settings.clone()).await,
        engine(settings).await,
    ];
    let [a, b, c] = [&engines[0].url, &engines[1].url, &engines[2].url].map(String::as_str);
    let both = models(&[a, b], "");
    let variants = [
        // An engine less, another address, narrow, dear, by prefix, with other times.
        models(&[a], ""),
        models(&[b, c], ""),
        one_at_a_time(&both),
        both.replace("\"0.10\"", "\"0.20\""),
        both.replace("    task: chat\n", "    task: chat\n    routing: prefix\n"),
        models(
            &[c],
            "timeouts: { connect: 1s, first_event: 30s }\nqueue: { size: 5000 }",
        ),
    ];
    let gateway = Arc::new(Gateway::start(&both).await);
    let (ended, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..24 {
        let (gateway, ended, served) = (Arc::clone(&gateway), Arc::clone(&ended), Arc::clone(&served));
        clients.spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let response = gateway.chat(&streamed(20)).send().await.unwrap();
                let status = response.status();
                let text = response.text().await.unwrap();
                assert_eq!(status, 200, "{text}");
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
                assert!(text.contains("\"completion_tokens\":20"), "{text}");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for number in 0..100 {
        reload(&gateway, &variants[number % variants.len()]).await;
        // Some are served under each reading.
        let before = served.load(Ordering::Relaxed);
        eventually("requests are served", || {
            served.load(Ordering::Relaxed) > before || clients.is_empty()
        })
        .await;
    }
    ended.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    assert_eq!(gateway.app.registry().leaving().count(), 0);
    let (app, _data) = Arc::into_inner(gateway).unwrap().stop().await;
    let booked = entries(app.ledger.as_ref()).await;
    assert_eq!(booked.len(), served.load(Ordering::Relaxed));
    for entry in &booked {
        assert_eq!(entry.state.as_str(), "completed");
    }
    let mut versions: Vec<_> = booked.iter().map(|entry| entry.price_version.0).collect();
    versions.sort_unstable();
    versions.dedup();
    assert!(versions.len() > 2, "both prices were charged: {versions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_place_waits_on_for_the_engines_that_there_are_now() {
    let (first, second) = (slow().await, slow().await);
    let gateway = Arc::new(Gateway::start(&one_at_a_time(&models(&[&first.url], ""))).await);
    let running = gateway.chat(&streamed(1000)).send().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..2 {
        let gateway = Arc::clone(&gateway);
        waiters.spawn(async move { gateway.chat(&streamed(1000)).send().await.unwrap() });
    }
    eventually("two wait", || waiting(&gateway) == 2).await;
    // A room for one: who was there before is not turned away.
    let wider = one_at_a_time(&models(&[&first.url, &second.url], "queue: { size: 1 }"));
    reload(&gateway, &wider).await;
    let served = waiters.join_next().await.unwrap().unwrap();
    assert_eq!(served.status(), 200, "the new engine has a place");
    assert_eq!(waiting(&gateway), 1, "and no more than one");
    drop(running);
    let last = waiters.join_next().await.unwrap().unwrap();
    assert_eq!(
        last.status(),
        200,
        "a place that a stream of the old reading gives back is the new one's"
    );
    drop((served, last));
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_ends_what_it_has_and_gets_nothing_new() {
    let (goes, stays) = (slow().await, slow().await);
    let gateway = Gateway::start(&models(&[&goes.url], "")).await;
    let running = gateway.chat(&streamed(1000)).send().await.unwrap();
    // Another address under the same name is another engine.
    let plan = reload(&gateway, &models(&[&stays.url], "")).await;
    assert_eq!(
        plan["engines"],
        json!([{ "name": "e0", "change": "changed", "keys": ["url"] }])
    );
    let statuses = async || -> Vec<(String, u64)> {
        let engines = gateway.shown("engines").await;
        let each = engines["data"].as_array().unwrap().iter();
        each.map(|engine| {
            (
                engine["status"].as_str().unwrap().to_owned(),
                engine["in_flight"].as_u64().unwrap(),
            )
        })
        .collect()
    };
    assert_eq!(statuses().await, [("up".into(), 0), ("removed".into(), 1)]);
    let next = gateway.chat(&streamed(1000)).send().await.unwrap();
    assert_eq!(statuses().await, [("up".into(), 1), ("removed".into(), 1)]);
    let in_flight = gateway.app.render_metrics();
    assert!(
        in_flight.contains("farebox_engine_in_flight_requests{engine=\"e0\"} 2"),
        "both are called e0: {in_flight}"
    );
    // Back again while its stream runs: the same server, with what is there.
    reload(&gateway, &one_at_a_time(&models(&[&goes.url], ""))).await;
    assert_eq!(statuses().await, [("up".into(), 1), ("removed".into(), 1)]);
    let fast = json!({ "model": "m", "fail_fast": true, "max_tokens": 1, "messages": [{ "role": "user", "content": "hi" }] });
    let refused = gateway.chat(&fast).send().await.unwrap();
    assert_eq!(
        refused.status(),
        429,
        "its one place is taken by the first stream"
    );
    drop((running, next));
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    assert_eq!(statuses().await, [("up".into(), 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_signal_and_from_the_command_line_a_process_reads_its_file_again() {
    let one = engine(Settings::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("models.yaml"), folder.path().join("data"));
    let before = models(&[&one.url], "");
    std::fs::write(&file, &before).unwrap();
    let process = Process::start(&file, &data);
    let client = client();
    let names = async || -> String {
        let asked = client.get(format!("{}/admin/v1/models", process.admin));
        let models: Value = asked
            .bearer_auth(ADMIN_TOKEN)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        models["data"][0]["aliases"].to_string()
    };
    let cli = |arguments: &[&str]| -> (String, bool) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        let command = command
            .args(arguments)
            .env("FAREBOX_ADMIN_URL", &process.admin)
            .env("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8(said).unwrap(), output.status.success())
    };
    let named = |alias: &str| before.replace("  - id: m\n", &format!("  - id: m\n    aliases: [{alias}]\n"));
    std::fs::write(&file, named("by-signal")).unwrap();
    process.signal("-HUP");
    while names().await != "[\"by-signal\"]" {}
    std::fs::write(&file, named("by-command")).unwrap();
    let (said, _) = cli(&["reload", "--dry-run"]);
    assert_eq!(
        said,
        "WHAT   NAME  CHANGE   KEYS\nmodel  m     changed  aliases\n"
    );
    assert_eq!(names().await, "[\"by-signal\"]");
    let (said, _) = cli(&["reload"]);
    assert!(said.ends_with("aliases\nIt is in force.\n"), "{said}");
    assert_eq!(names().await, "[\"by-command\"]");
    let (said, _) = cli(&["reload"]);
    assert_eq!(said, "Nothing changes.\nIt is in force.\n");
    std::fs::write(&file, "models: [").unwrap();
    let (said, done) = cli(&["reload"]);
    assert!(!done && said.contains("models.yaml:2:1: "), "{said}");
    process.signal("-HUP");
    assert_eq!(names().await, "[\"by-command\"]");
    let said = process.end();
    assert!(said.contains("the old one stays in force"), "{said}");
}

#[tokio::test]
async fn what_does_not_hold_changes_nothing_and_is_told_by_its_line() {
    let one = engine(Settings::default()).await;
    let good = models(&[&one.url], "");
    let gateway = Gateway::start(&good).await;
    let bad = good.replace("\"0.32\"", "\"cheap\"");
    let (status, answer) = reload_with(&gateway, &bad, false).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400, "{message}");
    assert!(message.contains("models.yaml:5:"), "{message}");
    assert!(message.contains("models[0].price.output"), "{message}");
    assert!(message.contains("the old one stays in force"), "{message}");
    let keyed = good.replace("kind: vllm", "kind: vllm, api_key_env: NOT_SET_ANYWHERE");
    let (status, answer) = reload_with(&gateway, &keyed, false).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400, "{message}");
    assert!(message.contains("NOT_SET_ANYWHERE"), "{message}");
    let response = gateway.chat(&streamed(2)).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_only_the_act_is_in_the_audit_log() {
    let one = engine(Settings::default()).await;
    let before = models(&[&one.url], "");
    let gateway = Gateway::start(&before).await;
    let after = before
        .replace("  - id: m\n", "  - id: m\n    aliases: [short]\n")
        .replace("\"0.32\"", "\"0.64\"")
        + "limits: { concurrent_requests: 3 }\nserver: { drain_deadline: 7s }\n";
    let (status, plan) = reload_with(&gateway, &after, true).await;
    assert_eq!(status, 200);
    let expected = json!({
        "dry_run": true,
        "models": [{ "name": "m", "change": "changed", "keys": ["aliases", "price"] }],
        "engines": [],
        "settings": ["limits"],
        "needs_restart": ["server"],
    });
    assert_eq!(plan, expected);
    assert!(gateway.app.registry().find("short").is_none());
    assert_eq!(gateway.shown("audit").await["data"], json!([]));
    let done = reload(&gateway, &after).await;
    assert_eq!(done["models"], plan["models"]);
    let served = gateway.app.registry();
    assert!(served.find("short").is_some());
    assert_eq!(served.limits().concurrent_requests, 3);
    assert_eq!(
        gateway.shown("defaults").await["concurrent_requests"],
        3,
        "the admin API tells what is in force"
    );
    let audit = gateway.shown("audit").await;
    assert_eq!(audit["data"][0]["action"], "models.reload");
    assert_eq!(audit["data"].as_array().unwrap().len(), 1);
    let again = reload(&gateway, &after).await;
    assert_eq!(again["models"], json!([]), "it is compared with what is in force");
    assert_eq!(again["needs_restart"], json!(["server"]));
}

#[tokio::test]
async fn an_engine_at_another_address_inherits_nothing_and_one_that_stays_keeps_what_it_holds() {
    let (one, two) = (
        engine(Settings::default()).await,
        engine(Settings::default()).await,
    );
    let routed = |url: &str, more: &str| {
        models(&[url], "").replace(
            "    task: chat\n",
            &format!("    task: chat\n    routing: prefix\n{more}"),
        )
    };
    let gateway = Gateway::start(&routed(&one.url, "")).await;
    let words: String = (0..200).map(|word| format!("word{word} ")).collect();
    let body = json!({ "model": "m", "max_tokens": 2, "messages": [{ "role": "user", "content": words }] });
    assert_eq!(gateway.chat(&body).send().await.unwrap().status(), 200);
    let predicted = async || predicted(&explain(&gateway, ACCOUNT, &body).await, 0);
    let held = predicted().await;
    assert!(held > 0);
    reload(&gateway, &routed(&one.url, "    aliases: [short]\n")).await;
    assert_eq!(predicted().await, held, "the engine is the same");
    reload(
        &gateway,
        &routed(&one.url, "").replace("kind: vllm", "kind: vllm, max_concurrent: 9"),
    )
    .await;
    assert_eq!(predicted().await, held, "and is when it is called otherwise");
    reload(&gateway, &routed(&two.url, "")).await;
    assert_eq!(predicted().await, 0, "at another address there is another");
}
