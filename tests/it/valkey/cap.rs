//! An account's cap over three replicas: never above it, and no refusal below it.

use super::load::Load;
use super::{all_is_given_back, replicas, server::Server};
use crate::gateway::{ACCOUNT, engine, models};
use crate::postgres;
use crate::replicas::{admin, stop_all};
use farebox::simulate::Settings;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_of_one_account_have_two_hundred_at_once_over_three_replicas() {
    let engine = engine(Settings {
        decode_rate: 50,
        slots: 2_000,
        ..Settings::default()
    })
    .await;
    let (database, valkey) = (postgres::Server::shared().database().await, Server::start());
    let replicas = replicas(&models(&[&engine.url], ""), &database, &valkey, 3).await;
    all_know_the_account(&replicas).await;
    valkey.settle().await;
    let load = Load::begin(&replicas, 1_000, 100, 100);
    load.until_answered(600).await;
    crate::gateway::eventually("two hundred at once", || engine.engine.peak_in_flight() >= 200).await;
    let account = admin(
        &replicas[0],
        reqwest::Method::GET,
        &format!("accounts/{ACCOUNT}"),
        json!({}),
    )
    .await;
    let shown = account["in_flight"].as_u64().unwrap();
    assert!((100..=200).contains(&shown), "over all replicas: {shown}");
    let seen = load.end().await;
    let fell_back: Vec<String> = replicas.iter().map(|replica| super::fallbacks(replica)).collect();
    let told = format!("{fell_back:?} {:?}", seen.refused.lock());
    assert_eq!(engine.engine.peak_in_flight(), 200, "{told}");
    assert_eq!(*seen.broken.lock(), Vec::<String>::new());
    let refused = seen.refused.lock().clone();
    assert!(!refused.is_empty());
    for message in refused.keys() {
        assert!(message.starts_with("200 of 200 concurrent requests"), "{message}");
    }
    all_is_given_back(&replicas, &valkey).await;
    stop_all(replicas).await;
}

/// A key that was made at one replica holds at all.
pub(super) async fn all_know_the_account(replicas: &[std::sync::Arc<crate::gateway::Gateway>]) {
    crate::gateway::eventually("every replica knows the key", || {
        replicas
            .iter()
            .all(|replica| replica.app.directory.key(&"key_test".into()).is_some())
    })
    .await;
}
