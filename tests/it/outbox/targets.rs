//! Ledgers to ship to: one that does what the test says, and the embedded one behind it.

use super::VERSION;
use crate::ledger::samples::{model, price};
use farebox::ledger::{Bookkeeper, Ledger, LedgerFault, SqliteLedger};
use farebox::store::{PriceSource, Store};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Entry, Settlement};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::Notify;

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Booked,
    /// The ledger is away.
    FailsBefore,
    /// It was booked, and the answer was lost.
    FailsAfter,
}

/// A ledger that fails as it is told.
#[derive(Default)]
pub(super) struct Target {
    embedded: Option<SqliteLedger>,
    /// Of the next batches; after them all are booked.
    fates: Mutex<VecDeque<Fate>>,
    /// Nothing is booked while it is away.
    away: Mutex<bool>,
    /// These are refused for themselves.
    refuses: HashMap<RequestId, fn() -> LedgerFault>,
    booked: Mutex<Vec<Settlement>>,
    /// Each attempt.
    pub(super) attempted: Notify,
}

impl Target {
    /// One that books in memory.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// One that books in an embedded ledger too, which has the price of the samples.
    pub(super) async fn embedded() -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let version = store
            .add_price(&model(), &price(), Some(1), PriceSource::Catalog, 1)
            .await
            .unwrap();
        assert_eq!(version, VERSION);
        let target = Self {
            embedded: Some(SqliteLedger::open(&store).await.unwrap()),
            ..Self::default()
        };
        (target, folder)
    }

    pub(super) fn with_fates(self, fates: impl IntoIterator<Item = Fate>) -> Self {
        self.fates.lock().unwrap().extend(fates);
        self
    }

    pub(super) fn refusing(mut self, id: RequestId, fault: fn() -> LedgerFault) -> Self {
        self.refuses.insert(id, fault);
        self
    }

    pub(super) fn set_away(&self, away: bool) {
        *self.away.lock().unwrap() = away;
    }

    /// What was booked, in order, as often as it was.
    pub(super) fn booked(&self) -> Vec<Settlement> {
        self.booked.lock().unwrap().clone()
    }

    pub(super) fn ledger(&self) -> &SqliteLedger {
        self.embedded.as_ref().unwrap()
    }
}

fn away() -> LedgerFault {
    LedgerFault::Database("the ledger is away".into())
}

#[async_trait::async_trait]
impl Bookkeeper for Target {
    async fn book(&self, batch: &[Settlement]) -> Result<(), LedgerFault> {
        self.attempted.notify_one();
        if *self.away.lock().unwrap() {
            return Err(away());
        }
        let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Booked);
        if fate == Fate::FailsBefore {
            return Err(away());
        }
        let refused = batch
            .iter()
            .find_map(|settled| self.refuses.get(&settled.entry.id));
        if let Some(fault) = refused {
            return Err(fault());
        }
        if let Some(ledger) = &self.embedded {
            let entries: Vec<Entry> = batch.iter().map(|settled| settled.entry.clone()).collect();
            ledger.commit(&entries).await?;
        }
        self.booked.lock().unwrap().extend_from_slice(batch);
        match fate {
            Fate::FailsAfter => Err(away()),
            _ => Ok(()),
        }
    }
}

/// A shared one, to look at while it is shipped to.
pub(super) fn shared(target: Target) -> (Arc<Target>, Arc<dyn Bookkeeper>) {
    let target = Arc::new(target);
    (Arc::clone(&target), target)
}
