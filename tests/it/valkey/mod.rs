//! Places and rates over replicas, counted by a real Valkey or Redis.

mod server;
mod scripts;
mod cap;
mod dead;
mod away;
mod rates;
mod measure;

use crate::gateway::Gateway;
use crate::postgres::Database;
use farebox::clock::Clock;
use server::Server;
use std::sync::Arc;

/// So many replicas on a database and a Valkey, which they have reached.
async fn replicas(models: &str, database: &Database, valkey: &Server, count: usize) -> Vec<Arc<Gateway>> {
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
    replicas
}

fn is_up(replica: &Gateway) -> bool {
    replica.app.pipeline.shared.as_ref().unwrap().is_up()
}
