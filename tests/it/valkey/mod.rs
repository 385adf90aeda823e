//! Places and rates over replicas, counted by a real Valkey or Redis.

pub(crate) mod server;
pub(crate) mod load;
mod scripts;
mod cap;
mod dead;
mod away;
mod rates;
mod measure;
mod options;

use crate::gateway::{ACCOUNT, Gateway, eventually};
use crate::postgres::Database;
use farebox::clock::Clock;
use server::Server;
use std::sync::Arc;

/// So many replicas on a database and a Valkey, which they have reached, and where each has heard of all.
pub(crate) async fn replicas(
    models: &str,
    database: &Database,
    valkey: &Server,
    count: usize,
) -> Vec<Arc<Gateway>> {
    let mut replicas = Vec::new();
    for seed in 0..count {
        let data = tempfile::tempdir().unwrap();
        let shared = (Some(database.parsed_url()), Some(valkey.parsed_url()));
        let started = Gateway::try_start_on(Clock::system(), models, data, shared, seed as u64).await;
        let replica = started.unwrap_or_else(|(fault, _)| panic!("{fault}"));
        if seed == 0 {
            replica.make_account().await;
        }
        assert!(is_up(&replica), "it did not reach Valkey");
        replicas.push(Arc::new(replica));
    }
    all_know_each_other(&replicas, valkey).await;
    replicas
}

fn is_up(replica: &Gateway) -> bool {
    replica.app.pipeline.shared.as_ref().unwrap().is_up()
}

/// Each replica has heard of all that have begun: its next sign of life was answered with them.
async fn all_know_each_other(replicas: &[Arc<Gateway>], valkey: &Server) {
    let begun = valkey.heard().await.into_values().max();
    crate::replicas::until(async || valkey.heard().await.into_values().min() > begun).await;
    for replica in replicas {
        // What is told later is done later.
        let shared = replica.app.pipeline.shared.as_ref().unwrap();
        shared.read(Vec::new()).await.unwrap();
    }
}

/// How many requests it judged by its shares.
fn fallbacks(replica: &Gateway) -> String {
    let metrics = replica.app.render_metrics();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("farebox_valkey_fallback_total"));
    line.unwrap().to_owned()
}

/// Nothing is in flight, at any replica or in Valkey.
async fn all_is_given_back(replicas: &[Arc<Gateway>], valkey: &Server) {
    eventually("all replicas have nothing in flight", || {
        replicas.iter().all(|replica| replica.in_flight() == (0, 0, 0))
    })
    .await;
    crate::replicas::until(async || {
        let shared = replicas[0].app.pipeline.shared.as_ref().unwrap();
        shared
            .read(vec![ACCOUNT.into()])
            .await
            .is_some_and(|counted| counted[0].all == 0)
    })
    .await;
    // What lives has no count at all; what is over may have one until somebody asks for a place.
    let living = valkey.heard().await;
    for field in valkey.slots(ACCOUNT).await.keys() {
        let session = field.split('|').next().unwrap();
        assert!(!living.contains_key(session), "{field}");
    }
}
