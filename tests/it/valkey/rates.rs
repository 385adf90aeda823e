//! Rates over two replicas: one limit, one allowance.

use super::cap::all_know_the_account;
use super::{replicas, server::Server};
use crate::gateway::{Gateway, engine, models};
use crate::postgres::{self, Database};
use crate::replicas::{chat, stop_all};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

async fn limited_to(limits: &str) -> (Vec<Arc<Gateway>>, Database, Server) {
    let engine = engine(crate::replicas::quick()).await;
    let (database, valkey) = (postgres::Server::shared().database().await, Server::start());
    let limits = format!("limits: {{ {limits} }}\n");
    let replicas = replicas(&models(&[&engine.url], &limits), &database, &valkey, 2).await;
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
