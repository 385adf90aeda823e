//! What accounts have in flight, over all replicas where that is counted.

use super::App;
use crate::admission::concurrency::GateReading;
use crate::admission::directory::Account;
use crate::admission::shared::InFlightOf;
use farebox_domain::ids::AccountId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What Valkey has counted of some accounts; nothing of those that it was not asked for, or while it is away.
#[derive(Debug, Default)]
pub struct OverReplicas(BTreeMap<AccountId, InFlightOf>);

impl OverReplicas {
    /// What the account may have and has in flight.
    pub fn read(&self, account: &Account, default: u32) -> GateReading {
        let reading = account.gate.read(default);
        match self.0.get(&account.id) {
            Some(counted) => reading.over_replicas(counted),
            None => reading,
        }
    }
}

impl App {
    /// Asks what these accounts have in flight.
    pub async fn over_replicas(&self, accounts: &[Arc<Account>]) -> OverReplicas {
        let Some(shared) = &self.pipeline.shared else {
            return OverReplicas::default();
        };
        let ids: Vec<_> = accounts.iter().map(|account| account.id.clone()).collect();
        let counted = shared.read(ids.clone()).await.unwrap_or_default();
        OverReplicas(ids.into_iter().zip(counted).collect())
    }
}
