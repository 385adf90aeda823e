//! The one place where everything is put together, and taken apart again.
//!
//! Clock, randomness, listeners and the signal to stop are given, so a test owns them all.

mod background;
mod durable;
mod start;
mod drain;
mod gauges;
mod in_flight;
mod refresh;
pub mod reload;
mod serving;
pub mod watch;
mod replica;

use self::background::Background;
pub use self::in_flight::OverReplicas;
use self::replica::Replica;
pub use self::serving::ReadEnv;
pub use self::start::{Given, StartFault, Started};
use self::watch::Seen;
use crate::admission::attempts::Attempts;
use crate::admission::directory::Directory;
use crate::admission::staff::AdminTokens;
use crate::clock::Clock;
use crate::config::Settings;
use crate::engines::registry::Registry;
use crate::export::Exporter;
use crate::ledger::{EngineCounters, ExportQueue, Ledger};
use crate::pipeline::Pipeline;
use crate::reconcile::Sampler;
use crate::secrets::Secrets;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::refusals::Refusals;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything that serves. Shared by every request.
pub struct App {
    /// What time it is.
    pub clock: Clock,
    /// models.yaml, as it was at start; [`registry`](Self::registry) has what is in force.
    pub settings: Arc<Settings>,
    /// Where it is, if it is read again.
    models_yaml: Option<PathBuf>,
    read_env: ReadEnv,
    /// Connections of clients at once.
    connections: usize,
    /// Accounts, keys, limits and prices on disk.
    pub store: Store,
    /// Accounts and keys in memory.
    pub directory: Arc<Directory>,
    /// The bill.
    pub ledger: Arc<dyn Ledger>,
    /// What the engines said that they had counted.
    pub counters: Arc<dyn EngineCounters>,
    /// Asks them.
    pub sampler: Arc<Sampler>,
    /// What a receiver is still to be told of it.
    pub export_queue: Arc<dyn ExportQueue>,
    /// Who tells it; `None` where models.yaml names no receiver.
    pub exporter: Option<Arc<Exporter>>,
    /// What serves a request.
    pub pipeline: Arc<Pipeline>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Where ids and secrets come from.
    pub secrets: Secrets,
    /// SHA-256 of the first admin's token, which is given at start.
    pub admin_token_hash: [u8; 32],
    /// Every other admin token.
    pub admin_tokens: AdminTokens,
    /// Who tried in vain to sign in to the dashboard.
    pub sign_ins: Attempts,
    /// What all processes do, each second.
    pub seen: Seen,
    /// The last refusals.
    pub refusals: Refusals,
    /// What this process is called among the others.
    pub process: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Held by the change of accounts, keys, limits or prices that is being made.
    pub changing: Arc<tokio::sync::Mutex<()>>,
    /// Every task that was spawned; shutdown waits for them.
    pub tasks: TaskTracker,
    /// Cancelled when no new request is to be taken.
    pub draining: CancellationToken,
    background: Background,
    /// What one of several replicas has besides.
    replica: Option<Replica>,
}

impl App {
    /// Models and engines, as models.yaml said when it was last read.
    pub fn registry(&self) -> Arc<Registry> {
        self.pipeline.registry()
    }

    /// Whether requests should be sent here: not while draining, nor while no engine is up.
    pub fn is_ready(&self) -> bool {
        !self.draining.is_cancelled() && self.registry().any_engine_up()
    }

    /// How many settlements the outbox still has, which the ledger lacks; `None` where there is no outbox.
    pub fn in_outbox(&self) -> Option<u64> {
        self.replica.as_ref().map(|replica| replica.outbox.pending())
    }
}
