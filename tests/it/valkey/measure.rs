//! What it costs a request: `cargo nextest run --release --run-ignored only --no-capture --test it valkey::measure`.
#![expect(clippy::print_stderr, reason = "a measurement is told")]

use super::{replicas, server::Server};
use crate::gateway::{Gateway, engine, models};
use crate::postgres;
use crate::replicas::chat;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const REQUESTS: usize = 4_000;

/// Processor time of this process, which has all but Valkey and PostgreSQL in it.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<i64> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .filter_map(|f| f.parse().ok())
        .collect();
    // After the name: state is no number, so user time is the eleventh number from here, in hundredths.
    Duration::from_millis(10 * u64::try_from(fields[10] + fields[11]).unwrap())
}

async fn one(replica: &Gateway) {
    let response = replica
        .chat(&chat(json!({ "max_tokens": 1 })))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap();
}

async fn measure(what: &str, replica: &Arc<Gateway>) {
    for _ in 0..500 {
        one(replica).await;
    }
    let mut took = Vec::new();
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        one(replica).await;
        took.push(begun.elapsed());
    }
    took.sort();
    let (half, most) = (took[REQUESTS / 2], took[REQUESTS * 99 / 100]);
    let (begun, used) = (Instant::now(), cpu());
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        let replica = Arc::clone(replica);
        clients.spawn(async move {
            for _ in 0..REQUESTS / 32 {
                one(&replica).await;
            }
        });
    }
    clients.join_all().await;
    let used = (cpu() - used) / u32::try_from(REQUESTS).unwrap();
    let rate = REQUESTS as u128 * 1_000_000 / begun.elapsed().as_micros();
    eprintln!(
        "{what}: one at a time p50 {half:?}, p99 {most:?}; 32 at once {rate}/s, {used:?} of CPU a request"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_request_with_and_without() {
    let engine = engine(crate::replicas::quick()).await;
    let models = models(&[&engine.url], "");
    for round in 1..=3 {
        let (database, valkey) = (postgres::Server::shared().database().await, Server::start());
        let with = replicas(&models, &database, &valkey, 1).await;
        let database = postgres::Server::shared().database().await;
        let without = crate::replicas::replicas(&models, &database, 1).await;
        measure(&format!("{round} without"), &without[0]).await;
        measure(&format!("{round} with   "), &with[0]).await;
        crate::replicas::stop_all(with).await;
        crate::replicas::stop_all(without).await;
    }
}
