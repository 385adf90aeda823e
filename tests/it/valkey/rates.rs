//! Rates over two replicas: one limit, one allowance.

use super::cap::all_know_the_account;
use super::{is_up, replicas, server::Server};
use crate::gateway::{Gateway, engine, eventually, limited_models, models};
use crate::postgres::{self, Database};
use crate::replicas::{chat, stop_all};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

async fn limited_to(limits: &str) -> (Vec<Arc<Gateway>>, Database, Server) {
    let limits = format!("limits: {{ {limits} }}\n");
    two_of(|engine| models(&[engine], &limits)).await
}

/// Two replicas that sell the same from one engine.
async fn two_of(models: impl FnOnce(&str) -> String) -> (Vec<Arc<Gateway>>, Database, Server) {
    let engine = engine(crate::replicas::quick()).await;
    let (database, valkey) = (postgres::Server::shared().database().await, Server::start());
    let replicas = replicas(&models(&engine.url), &database, &valkey, 2).await;
    all_know_the_account(&replicas).await;
    valkey.settle().await;
    (replicas, database, valkey)
}

/// The status, and what is said to be left of this unit.
async fn send(replica: &Gateway, tokens: u64, unit: &str) -> (u16, u64) {
    let response = replica
        .chat(&chat(json!({ "max_tokens": tokens })))
        .send()
        .await
        .unwrap();
    let left = &response.headers()[&format!("x-ratelimit-remaining-{unit}")];
    let left = left.to_str().unwrap().parse().unwrap();
    let status = response.status().as_u16();
    // The answer's end is when it is settled.
    response.bytes().await.unwrap();
    (status, left)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minutes_requests_are_let_in_once_over_both() {
    let (replicas, _database, _valkey) = limited_to("requests_per_minute: 60").await;
    assert_eq!(send(&replicas[0], 1, "requests").await, (200, 59));
    let (status, left) = send(&replicas[1], 1, "requests").await;
    assert!(
        status == 200 && (58..=59).contains(&left),
        "it knows of the other's: {left}"
    );
    let (begun, granted) = (Instant::now(), Arc::new(AtomicU64::new(2)));
    let mut clients = JoinSet::new();
    for number in 0..200usize {
        let (replica, granted) = (Arc::clone(&replicas[number % 2]), Arc::clone(&granted));
        clients.spawn(async move {
            let (status, _) = send(&replica, 1, "requests").await;
            assert!(status == 200 || status == 429, "{status}");
            granted.fetch_add(u64::from(status == 200), Ordering::SeqCst);
        });
    }
    clients.join_all().await;
    let (granted, leaked) = (granted.load(Ordering::SeqCst), begun.elapsed().as_secs() + 2);
    assert!((60..=60 + leaked).contains(&granted), "{granted}");
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_not_used_are_free_for_the_other() {
    let (replicas, _database, _valkey) = limited_to("tokens_per_minute: 1000, requests_per_minute: 6").await;
    // Each holds more than half of it, for its prompt could have hundreds of tokens, and uses a ninth.
    for number in 0..4 {
        let replica = &replicas[number % 2];
        crate::replicas::until(async || send(replica, 100, "tokens").await.0 == 200).await;
    }
    // One that asks for more than is left is refused at both, and takes no request of the six.
    let (refused, _) = send(&replicas[0], 995, "requests").await;
    let (also, left) = send(&replicas[1], 995, "requests").await;
    assert_eq!((refused, also), (429, 429));
    assert_eq!(left, 2);
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_s_rate_on_a_model_is_one_over_both_and_shared_out_while_nobody_counts() {
    let limits = "requests_per_minute: 2, tokens_per_minute: 100000";
    let (replicas, _database, mut valkey) = two_of(|engine| limited_models(engine, limits, "")).await;
    for replica in &replicas {
        assert_eq!(send_to(replica, "m").await, None);
    }
    for replica in &replicas {
        let refused = send_to(replica, "m").await.unwrap();
        let wanted = "2 of 2 requests a minute are used for this account on m.";
        assert!(refused.starts_with(wanted), "{refused}");
    }
    valkey.kill();
    eventually("both go by their shares", || {
        replicas.iter().all(|replica| !is_up(replica))
    })
    .await;
    for replica in &replicas {
        assert_eq!(send_to(replica, "n").await, None);
        let refused = send_to(replica, "n").await.unwrap();
        assert!(refused.contains("used for this account on n."), "{refused}");
    }
    stop_all(replicas).await;
}

/// What it was refused for, if it was.
async fn send_to(replica: &Gateway, model: &str) -> Option<String> {
    let body = chat(json!({ "model": model, "max_tokens": 1 }));
    let response = replica.chat(&body).send().await.unwrap();
    let status = response.status();
    let answer: serde_json::Value = response.json().await.unwrap();
    let message = answer["error"]["message"].as_str().map(str::to_owned);
    assert_eq!(status, if message.is_some() { 429 } else { 200 }, "{answer}");
    message
}
