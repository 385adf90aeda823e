//! The ledger held against what the engines themselves counted.

use super::{ADMIN_TOKEN, Gateway, engine, eventually, models};
use crate::place::{Place, on_both};
use farebox::simulate::{self, Engine, Settings};
use serde_json::{Value, json};
use sqlx::Executor;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

on_both! {
    what_ran_to_its_end_is_equal_to_the_token,
    what_a_client_left_behind_is_explained,
    tries_that_failed_are_a_reason,
    a_restart_of_the_engine_is_seen_and_what_it_forgot_is_explained,
    somebody_else_at_the_engine_is_not_explained_and_the_command_says_so,
}

fn ask(stream: bool, max_tokens: u64, trouble: Option<&str>) -> Value {
    let mut body = json!({
        "model": "m", "stream": stream, "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": "Tell me of the sea"}],
    });
    if let Some(trouble) = trouble {
        body["simulate"] = trouble.into();
    }
    body
}

async fn complete(gateway: &Gateway, stream: bool) {
    let answer = gateway.chat(&ask(stream, 9, None)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
}

/// The report once a replica's outbox has nothing left that it should have.
async fn reconcile(gateway: &Gateway) -> Value {
    loop {
        let report = reconcile_now(gateway).await;
        if report["in_outbox"].as_u64().unwrap_or(0) == 0 {
            return report;
        }
    }
}

/// The report, which samples the engines first.
async fn reconcile_now(gateway: &Gateway) -> Value {
    let answer = gateway
        .client
        .post(format!("{}/admin/v1/ledger/reconcile", gateway.admin_url))
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// `farebox ledger reconcile`: its exit code, output and errors.
async fn command(gateway: &Gateway) -> (u8, String, String) {
    let admin = gateway.admin_url.clone();
    tokio::task::spawn_blocking(move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let line = [
            "farebox",
            "ledger",
            "reconcile",
            "--engine",
            "e0",
            "--admin-url",
            &admin,
            "--admin-token",
            ADMIN_TOKEN,
        ];
        let code = farebox::cli::run(line.map(Into::into), &mut out, &mut err);
        (
            code,
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    })
    .await
    .unwrap()
}

/// A gateway whose engines have been sampled once.
async fn sampled(place: &Place, models: &str) -> Gateway {
    let gateway = place.gateway(models).await;
    reconcile(&gateway).await;
    gateway
}

fn counts(report: &Value, kind: &str) -> (u64, u64, i64) {
    let kind = &report["data"][0]["span"][kind];
    let number = |name: &str| kind[name].as_u64().unwrap();
    (
        number("engine"),
        number("ledger"),
        kind["unexplained"].as_i64().unwrap(),
    )
}

fn why<'r>(report: &'r Value, kind: &str, name: &str) -> Option<&'r Value> {
    let reasons = report["data"][0]["span"][kind]["reasons"].as_array().unwrap();
    reasons.iter().find(|reason| reason["why"] == name)
}

async fn what_ran_to_its_end_is_equal_to_the_token(place: Place) {
    let engine = engine(Settings::default()).await;
    let gateway = sampled(&place, &models(&[&engine.url], "")).await;
    for stream in [false, true, true] {
        complete(&gateway, stream).await;
    }
    let report = reconcile(&gateway).await;
    let truth = engine.engine.counts();
    let prompt: u64 = truth.iter().map(|count| count.prompt_tokens).sum();
    let cached: u64 = truth.iter().map(|count| count.cached_tokens).sum();
    assert_eq!(counts(&report, "prompt"), (prompt, prompt, 0));
    assert_eq!(counts(&report, "generation"), (27, 27, 0));
    let span = &report["data"][0]["span"];
    assert_eq!(
        (&span["cached_by_engine"], &span["cached_by_ledger"]),
        (&json!(cached), &json!(cached))
    );
    assert_eq!(
        (&report["explained"], &span["restarts"]),
        (&json!(true), &json!(0))
    );
    gateway.stop().await;
}

async fn what_a_client_left_behind_is_explained(place: Place) {
    let engine = engine(Settings {
        decode_rate: 200,
        ..Settings::default()
    })
    .await;
    let gateway = sampled(&place, &models(&[&engine.url], "")).await;
    let mut stream = gateway.chat(&ask(true, 2000, None)).send().await.unwrap();
    stream.chunk().await.unwrap();
    let open = reconcile(&gateway).await;
    assert_eq!(why(&open, "generation", "open").unwrap()["count"], 1);
    assert_eq!(open["explained"], true, "{open}");
    drop(stream);
    eventually("nothing is in flight", || gateway.in_flight() == (0, 0, 0)).await;
    eventually("the engine stopped", || engine.engine.in_flight() == 0).await;
    let mut report = reconcile(&gateway).await;
    while report["data"][0]["span"]["requests"] == 0 {
        report = reconcile(&gateway).await;
    }
    assert_eq!(
        why(&report, "generation", "cut_short").unwrap()["count"],
        1,
        "{report}"
    );
    assert_eq!(report["explained"], true, "{report}");
    gateway.stop().await;
}

async fn tries_that_failed_are_a_reason(place: Place) {
    let engine = engine(Settings::default()).await;
    let gateway = sampled(
        &place,
        &models(&[&engine.url], "retries: { attempts: 3, backoff: 1ms }"),
    )
    .await;
    let body = ask(false, 9, Some("once/k:status:503:retry-after-ms=5"));
    assert_eq!(gateway.chat(&body).send().await.unwrap().status(), 200);
    let report = reconcile(&gateway).await;
    let reason = why(&report, "generation", "failed_attempts").unwrap();
    assert_eq!(
        (&reason["count"], &reason["least"]),
        (&json!(1), &json!(0)),
        "{report}"
    );
    assert_eq!(report["explained"], true, "{report}");
    gateway.stop().await;
}

/// Serves a simulated engine there until it is told to stop.
async fn engine_at(at: SocketAddr) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let running = Engine::new(simulate::Settings::default()).serve(listener, stop.clone().cancelled_owned());
    let task = tokio::spawn(async move {
        running.await.unwrap();
    });
    (at, stop, task)
}

async fn a_restart_of_the_engine_is_seen_and_what_it_forgot_is_explained(place: Place) {
    let (at, stop, task) = engine_at(([127, 0, 0, 1], 0).into()).await;
    let gateway = sampled(&place, &models(&[&format!("http://{at}")], "")).await;
    for _ in 0..3 {
        complete(&gateway, false).await;
    }
    reconcile(&gateway).await;
    // This one the engine counts and forgets before anybody asks.
    complete(&gateway, false).await;
    stop.cancel();
    task.await.unwrap();
    let (_, stop, task) = engine_at(at).await;
    complete(&gateway, false).await;
    let report = reconcile(&gateway).await;
    assert_eq!(report["data"][0]["span"]["restarts"], 1);
    let (by_engine, by_ledger, unexplained) = counts(&report, "generation");
    assert_eq!((by_engine, by_ledger, unexplained), (36, 45, 0));
    assert!(why(&report, "generation", "restart").is_some());
    assert_eq!(report["explained"], true, "{report}");
    gateway.stop().await;
    stop.cancel();
    task.await.unwrap();
}

async fn somebody_else_at_the_engine_is_not_explained_and_the_command_says_so(place: Place) {
    let engine = engine(Settings::default()).await;
    let gateway = sampled(&place, &models(&[&engine.url], "")).await;
    complete(&gateway, false).await;
    let past =
        json!({"model": "simulated", "max_tokens": 50, "messages": [{"role": "user", "content": "psst"}]});
    let answer = gateway
        .client
        .post(format!("{}/v1/chat/completions", engine.url))
        .json(&past)
        .send()
        .await
        .unwrap();
    answer.bytes().await.unwrap();
    reconcile(&gateway).await;
    let (code, told, cause) = command(&gateway).await;
    assert_eq!(code, 2, "{told}{cause}");
    assert!(
        told.contains("- generation: 50 UNEXPLAINED: the engine made these for somebody else"),
        "{told}"
    );
    assert!(cause.contains("nothing explains"), "{cause}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_the_outbox_is_said_and_explains_what_it_can() {
    let engine = engine(Settings::default()).await;
    let place = Place::postgres().await;
    let gateway = sampled(&place, &models(&[&engine.url], "")).await;
    let Place::Postgres(database) = &place else {
        unreachable!()
    };
    let mut raw = database.raw().await;
    raw.execute("BEGIN; LOCK TABLE entries IN EXCLUSIVE MODE")
        .await
        .unwrap();
    complete(&gateway, false).await;
    let report = reconcile_now(&gateway).await;
    assert_eq!(
        (&report["in_outbox"], &report["explained"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(counts(&report, "generation"), (9, 0, 0));
    assert_eq!(why(&report, "generation", "outbox").unwrap()["count"], 1);
    let told = command(&gateway).await.1;
    assert!(
        told.ends_with(
            "1 settlement in this replica's outbox: not in the ledger yet, so their tokens are missing from it\n"
        ),
        "{told}"
    );
    raw.execute("ROLLBACK").await.unwrap();
    let report = reconcile(&gateway).await;
    assert_eq!(counts(&report, "generation"), (9, 9, 0));
    gateway.stop().await;
}
