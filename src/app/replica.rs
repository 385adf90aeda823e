//! One of several replicas on a shared ledger: its outbox, what ships it, and its leases.

use super::StartFault;
use super::drain::LEDGER_DEADLINE;
use crate::admission::directory::Directory;
use crate::admission::shared::Keeper;
use crate::clock::Clock;
use crate::ledger::outbox::{Outbox, Shipper};
use crate::ledger::{Journal, Lessor, PgLedger, PgLessor, ReplicaBooks};
use crate::pipeline::leases::Leases;
use crate::secrets::Secrets;
use crate::store::Store;
use crate::telemetry::log;
use crate::telemetry::metrics::Gauges;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the shared ledger keeps the leases of a replica that says nothing: longer than an outage that requests are to
/// go on through, and so long is also how late what a dead replica's disk holds may come in whole.
const LEASE_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// What a replica has besides its pipeline.
pub(super) struct Replica {
    /// Its name among the others, as long as its data directory lives.
    pub(super) id: String,
    pub(super) outbox: Arc<Outbox>,
    shipper: Arc<Shipper>,
    lessor: Arc<PgLessor>,
    pub(super) leases: Arc<Leases>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Replica {
    /// Books what an earlier process of this replica left in its outbox, and gives back its leases: from then on it has
    /// none.
    pub(super) async fn open(
        store: &Store,
        ledger: &Arc<PgLedger>,
        directory: &Arc<Directory>,
        clock: &Clock,
        new_id: impl FnOnce() -> String,
    ) -> Result<Self, StartFault> {
        let id = store.directory().replica_id(new_id)?;
        let outbox = Arc::new(Outbox::open(store.directory(), clock.clone()).await?);
        log::recovered(outbox.recover().await?);
        let left = outbox.pending();
        let books = Arc::new(ReplicaBooks::new(Arc::clone(ledger), &id));
        let shipper = Arc::new(Shipper::new(Arc::clone(&outbox), books));
        if left > 0 {
            tracing::info!(left, "booking what the last process left in the outbox");
        }
        let still_left = shipper.drain(LEDGER_DEADLINE).await;
        if still_left > 0 {
            return Err(StartFault::OutboxNotShipped(still_left));
        }
        let lessor = Arc::new(PgLessor::new(store, &id)?);
        lessor.give_all_back().await?;
        let leases = Arc::new(Leases::new(
            lessor.clone(),
            Arc::clone(directory),
            clock.clone(),
            LEASE_DEADLINE,
        ));
        Ok(Self {
            id,
            outbox,
            shipper,
            lessor,
            leases,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// What this run of it is called where places are counted: a next run must not be taken for it.
    pub(super) fn name_of_run(&self, begun_ms: u64, secrets: &Secrets) -> String {
        format!("{}:{begun_ms}:{}", self.id, secrets.random_hex(8))
    }

    /// Ships, says that it lives, answers recalls, and counts with Valkey, until [`Replica::stop`].
    pub(super) fn run(&self, keeper: Option<Keeper>) -> Result<(), StartFault> {
        if let Some(keeper) = keeper {
            // On a thread of its own: where requests keep every worker busy, what decides over them must not wait for
            // them, and take its own lateness for Valkey's. Not a blocking task, for which a runtime waits that is dropped.
            let alone = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartFault::Runtime)?;
            let stop = self.stop.clone();
            let (ended, has_ended) = oneshot::channel::<()>();
            let keep = move || {
                alone.block_on(keeper.run(stop));
                drop(ended);
            };
            let thread = std::thread::Builder::new().name("valkey".to_owned());
            thread.spawn(keep).map_err(StartFault::Runtime)?;
            self.tasks.spawn(async { drop(has_ended.await) });
        }
        let (shipper, stop) = (Arc::clone(&self.shipper), self.stop.clone());
        self.tasks.spawn(async move { shipper.run(stop).await });
        self.tasks.spawn(Arc::clone(&self.leases).run(self.stop.clone()));
        Ok(())
    }

    /// What waits in the outbox, and what the ledger refused.
    pub(super) fn read_gauges(&self, gauges: &Gauges) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let entries = [
            ("waiting", self.outbox.pending()),
            ("refused", self.outbox.refused_count()),
        ];
        for (state, count) in entries {
            gauges
                .outbox_entries
                .with_label_values(&[state])
                .set(whole(count));
        }
        let oldest_ms = self.outbox.oldest_ms().unwrap_or(0);
        gauges
            .outbox_oldest_seconds
            .with_label_values::<&str>(&[])
            .set(whole(oldest_ms / 1_000));
    }

    /// After the last settlement: ships what there is, and gives back its leases if that was all of it.
    pub(super) async fn stop(&self) {
        let left = self.shipper.drain(LEDGER_DEADLINE).await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if left > 0 {
            tracing::warn!(
                left,
                "the shared ledger is away: these wait in the outbox for the next start"
            );
        } else if let Err(fault) = self.lessor.give_all_back().await {
            let cause: &(dyn std::error::Error + 'static) = &fault;
            tracing::warn!(
                cause,
                "leases were not given back; they return at the next start, or at their deadline"
            );
        }
    }
}
