//! Valkey away, and back: requests go on, never above the limit, and nothing stays counted.

use super::cap::all_know_the_account;
use super::load::Load;
use super::{all_is_given_back, fallbacks, is_up, replicas, server::Server};
use crate::gateway::{Gateway, engine, eventually, models};
use crate::postgres;
use crate::replicas::{stop_all, until};
use farebox::simulate::Settings;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: usize = 30;

/// Under load, something is done to the server and undone: at no time is there an outage, or more than the limit.
async fn under_load(away: impl AsyncFn(&mut Server, &Load, &[Arc<Gateway>])) {
    let engine = engine(Settings {
        decode_rate: 200,
        slots: 1_000,
        ..Settings::default()
    })
    .await;
    let (database, mut valkey) = (postgres::Server::shared().database().await, Server::start());
    let limits = format!("limits: {{ concurrent_requests: {LIMIT} }}\n");
    let replicas = replicas(&models(&[&engine.url], &limits), &database, &valkey, 3).await;
    all_know_the_account(&replicas).await;
    valkey.settle().await;
    let load = Load::begin(&replicas, 4 * LIMIT, 8, 5);
    load.until_answered(10 * LIMIT).await;
    away(&mut valkey, &load, &replicas).await;
    eventually("all are back with Valkey", || {
        replicas.iter().all(|replica| is_up(replica))
    })
    .await;
    load.until_answered(10 * LIMIT).await;
    until(async || valkey.is_settled().await).await;
    load.until_answered(10 * LIMIT).await;
    let seen = load.end().await;
    assert_eq!(*seen.broken.lock(), Vec::<String>::new());
    let peak = engine.engine.peak_in_flight();
    assert!(
        (LIMIT * 2 / 3..=LIMIT).contains(&peak),
        "{peak}: {:?}",
        seen.refused.lock()
    );
    all_is_given_back(&replicas, &valkey).await;
    stop_all(replicas).await;
}

async fn until_all_fell_back(replicas: &[Arc<Gateway>]) {
    eventually("all go by their shares", || {
        replicas.iter().all(|replica| !is_up(replica))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_killed_and_come_back_with_nothing() {
    under_load(async |valkey, load, replicas| {
        valkey.kill();
        until_all_fell_back(replicas).await;
        load.until_answered(10 * LIMIT).await;
        for replica in replicas {
            assert_ne!(fallbacks(replica), "farebox_valkey_fallback_total 0");
            assert!(replica.app.render_metrics().contains("farebox_valkey_up 0"));
        }
        // Long enough for shares that others did not have to be theirs.
        tokio::time::sleep(Duration::from_secs(6)).await;
        load.until_answered(10 * LIMIT).await;
        valkey.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_silent_for_longer_than_a_session_and_go_on_with_what_it_had() {
    under_load(async |valkey, load, replicas| {
        valkey.pause();
        until_all_fell_back(replicas).await;
        load.until_answered(10 * LIMIT).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        valkey.go_on();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_silent_for_a_moment_again_and_again() {
    under_load(async |valkey, load, _| {
        for pause_ms in [20, 150, 400, 90, 250] {
            valkey.pause();
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            valkey.go_on();
            load.until_answered(LIMIT).await;
        }
    })
    .await;
}
