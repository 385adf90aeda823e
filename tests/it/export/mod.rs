//! The export: every entry and adjustment arrives at least once, whatever the receiver does.

mod receiver;
mod delivery;
mod forms;
mod gateway;
mod replicas;

use crate::ledger::samples::{self, entries};
use crate::place::Place;
use farebox::clock::Clock;
use farebox::config::{ExportFormat, ExportSettings};
use farebox::export::{Exporter, Pauses};
use farebox::ledger::{ExportQueue, Ledger, PgLedger, QueueCounts, SqliteLedger};
use farebox::store::PriceSource;
use farebox::telemetry::metrics::Metrics;
use farebox_domain::ids::AdjustmentId;
use farebox_domain::ledger::{Adjustment, AdjustmentKind};
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use receiver::StandIn;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A receiver's `export` section that is quick to give up.
pub(crate) fn settings(receiver: &StandIn, format: ExportFormat) -> ExportSettings {
    ExportSettings {
        url: receiver.url.clone(),
        format,
        api_key_env: Some("RECEIVER_KEY".to_owned()),
        batch: 7,
        timeout: Duration::from_millis(300),
        source: "farebox-test".to_owned(),
        customers: Default::default(),
    }
}

/// A ledger with an export queue.
pub(crate) trait Exported: Ledger + ExportQueue {}
impl<L: Ledger + ExportQueue> Exported for L {}

/// One farebox, or one replica of several.
pub(crate) struct Bench {
    pub(crate) ledger: Arc<dyn Exported>,
    pub(crate) version: PriceVersion,
    _own: TempDir,
}

/// A loop that delivers until it is stopped.
pub(crate) struct Delivering {
    pub(crate) exporter: Arc<Exporter>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn open(place: &Place) -> Self {
        let (store, own) = place.open().await;
        let version = store
            .add_price(
                &samples::model(),
                &samples::price(),
                Some(1),
                PriceSource::Catalog,
                1,
            )
            .await
            .unwrap();
        let ledger: Arc<dyn Exported> = match place {
            Place::Sqlite(_) => Arc::new(SqliteLedger::open(&store).await.unwrap()),
            Place::Postgres(_) => Arc::new(PgLedger::open(&store).await.unwrap()),
        };
        Self {
            ledger,
            version,
            _own: own,
        }
    }

    /// Books entries with these numbers.
    pub(crate) async fn book(&self, numbers: std::ops::Range<u64>) {
        let booked = entries(numbers, "acct_a", self.version);
        for batch in booked.chunks(farebox::ledger::MAX_BATCH) {
            self.ledger.commit(batch).await.unwrap();
        }
    }

    pub(crate) fn deliver(&self, settings: &ExportSettings) -> Delivering {
        // Another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pauses = Pauses {
            idle: Duration::from_millis(2),
            first: Duration::from_millis(1),
            longest: Duration::from_millis(4),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let exporter = Exporter::new(
            settings,
            self.ledger.clone(),
            pauses,
            (Clock::standing_at(1_764_000_100_000), metrics),
            &|name| (name == "RECEIVER_KEY").then(|| "the-key".to_owned()),
        );
        let exporter = Arc::new(exporter.unwrap());
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&exporter).run(stop.clone()));
        Delivering { exporter, stop, task }
    }

    pub(crate) async fn counts(&self) -> QueueCounts {
        self.ledger.counts().await.unwrap()
    }

    /// Waits until the queue stands so.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&QueueCounts) -> bool) {
        let start = Instant::now();
        loop {
            let counts = self.counts().await;
            if holds(&counts) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "never came: {what}: {counts:?}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn until_delivered(&self) {
        self.until("all is delivered", |counts| counts.pending == 0).await;
    }

    /// The ids of all that is booked, as text.
    pub(crate) async fn booked_ids(&self) -> BTreeSet<String> {
        let entries = self
            .ledger
            .entries(&farebox::ledger::EntryPage {
                limit: farebox::ledger::MAX_PAGE,
                ..Default::default()
            })
            .await
            .unwrap();
        let adjustments = self
            .ledger
            .adjustments(&farebox::ledger::AdjustmentPage {
                limit: farebox::ledger::MAX_PAGE,
                ..Default::default()
            })
            .await
            .unwrap();
        let entries = entries.iter().map(|entry| entry.id.to_string());
        entries
            .chain(adjustments.iter().map(|adjustment| adjustment.id.to_string()))
            .collect()
    }
}

impl Delivering {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// An adjustment whose amount follows from its number.
pub(crate) fn adjustment(number: u8, kind: AdjustmentKind) -> Adjustment {
    let mut id = *AdjustmentId::lowest_at_ms(samples::ADMITTED_AT_MS).as_bytes();
    id[14] = 0xff;
    id[15] = number;
    Adjustment {
        id: AdjustmentId::from_bytes(id),
        account: "acct_a".into(),
        kind,
        amount: Picodollars::new(1_000_000 * (i128::from(number) + 1)),
        request: (kind != AdjustmentKind::Credit).then(|| samples::id(u64::from(number))),
        price_version: None,
        reference: format!("reference-{number}"),
        note: "between us: not for others".to_owned(),
        booked_at_ms: samples::ADMITTED_AT_MS + u64::from(number),
    }
}
