//! Putting everything together.

use super::background::Background;
use super::durable::Durable;
use super::serving::{ReadEnv, join_registry, set_up_engines};
use super::watch::{self, Seen};
use super::{App, refresh};
use crate::admission::attempts::Attempts;
use crate::admission::directory::hash_secret;
use crate::admission::shared::{Keeper, ValkeyUrl};
use crate::admission::staff::AdminTokens;
use crate::clock::Clock;
use crate::config::{Faults, Settings};
use crate::engines::client::EngineFault;
use crate::engines::prompt;
use crate::export::receiver::ReceiverFault;
use crate::export::{Exporter, Pauses};
use crate::ledger::outbox::OutboxFault;
use crate::ledger::{ExportQueue, LedgerFault, Settler, SettlerObserver};
use crate::pipeline::checkpoint::checkpoint_open;
use crate::pipeline::{Pipeline, Retries, settle_abandoned};
use crate::reconcile::Sampler;
use crate::secrets::Secrets;
use crate::store::{DatabaseUrl, Store, StoreFault};
use crate::telemetry::log;
use crate::telemetry::metrics::{MetricFault, Metrics};
use crate::telemetry::refusals::Refusals;
use crate::telemetry::request_log::{RequestLog, Style};
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The name under which the store keeps the hash of the admin token.
const ADMIN_TOKEN_SETTING: &str = "admin_token_sha256";
/// How long a start waits for Valkey, so that its first request is counted with the others'.
const VALKEY_PATIENCE: Duration = Duration::from_secs(2);

/// What an `App` is given.
pub struct Given<'a> {
    /// What time it is.
    pub clock: Clock,
    /// Where ids and secrets come from.
    pub secrets: Secrets,
    /// The folder of what is this process's alone: the store too, unless a database is given.
    pub data_dir: &'a Path,
    /// The PostgreSQL that holds the store, where replicas share one.
    pub database: Option<DatabaseUrl>,
    /// The Valkey or Redis that counts places and rates over all replicas. Without a database there is one process, and
    /// nothing to count.
    pub valkey: Option<ValkeyUrl>,
    /// The admin token, if the operator gives one.
    pub admin_token: Option<String>,
    /// How request lines look; they go to standard error.
    pub request_log: Style,
    /// Reads the environment, for engines' keys.
    pub read_env: ReadEnv,
    /// The file that the settings were read from; `None`: it is not read again.
    pub models_yaml: Option<PathBuf>,
    /// How many connections of clients there may be at once; who comes then waits until one ends.
    pub connections: usize,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxFault),
    /// What an earlier process left could not be booked: the shared ledger does not take it.
    #[error(
        "{0} settlements of the last run are still in the outbox and the shared database does not take them; they are \
         kept. Start again when it does"
    )]
    OutboxNotShipped(u64),
    /// Engines that could not be set up: all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Engines(Vec<EngineFault>),
    /// Tokenizers and chat templates of no use, each at the line that names it.
    #[error(transparent)]
    Prompts(#[from] Faults),
    /// The receiver of the export.
    #[error(transparent)]
    Export(#[from] ReceiverFault),
    /// The thread that counts with Valkey.
    #[error("a thread for Valkey could not be started: {0}")]
    Runtime(std::io::Error),
    /// The metrics.
    #[error("metrics: {0}")]
    Metrics(#[from] MetricFault),
}

/// An app that has started, and the admin token if it was made just now. It is shown this once.
pub struct Started {
    /// The app.
    pub app: Arc<App>,
    /// The new admin token.
    pub new_admin_token: Option<String>,
}

struct CommitMetrics(Arc<Metrics>);

impl SettlerObserver for CommitMetrics {
    fn commit_finished(&self, entries: usize, took: Duration, ok: bool) {
        self.0
            .committed(u32::try_from(entries).unwrap_or(u32::MAX), took, ok);
    }
}

impl App {
    /// Puts everything together.
    pub async fn start(settings: Settings, given: Given<'_>) -> Result<Started, StartFault> {
        let Given {
            clock,
            secrets,
            data_dir,
            database,
            valkey,
            admin_token,
            request_log,
            read_env,
            models_yaml,
            connections,
        } = given;
        let settings = Arc::new(settings);
        let metrics = Arc::new(Metrics::new()?);
        let engines = set_up_engines(&settings, &clock, &read_env, None).map_err(StartFault::Engines)?;
        let prompts = prompt::load_all(&settings, &clock)?;
        let Durable {
            store,
            directory,
            ledger,
            journal,
            export_queue,
            counters,
            replica,
        } = Durable::open(data_dir, database.as_ref(), (&clock, &secrets)).await?;
        let (shared, keeper) = match (&replica, valkey) {
            (Some(replica), Some(url)) => {
                let name = replica.name_of_run(clock.unix_ms(), &secrets);
                let (shared, keeper) = Keeper::new(url, name, clock.clone(), Arc::clone(&metrics));
                (Some(shared), Some(keeper))
            }
            _ => (None, None),
        };
        let registry = join_registry(
            Arc::clone(&settings),
            (engines, &prompts),
            &store,
            (&metrics, &clock),
            None,
        );
        let registry = Arc::new(ArcSwap::from_pointee(registry.await?));
        registry.load().take_over();
        let admin_tokens = AdminTokens::default();
        admin_tokens.refresh(store.admin_tokens().await?);
        let (admin_token_hash, new_admin_token) = admin_token_of(&store, &secrets, admin_token).await?;

        let background = Background::default();
        let observer = Arc::new(CommitMetrics(Arc::clone(&metrics)));
        let (settler, settling) = Settler::new(journal, clock.clone(), observer);
        background.settling.spawn(settling);
        let (abandoned, unsettled) = mpsc::unbounded_channel();
        let pipeline = Arc::new(Pipeline {
            clock: clock.clone(),
            began: clock.now(),
            directory: Arc::clone(&directory),
            registry: Arc::clone(&registry),
            retries: Retries::new(clock.clone()),
            settler,
            leases: replica.as_ref().map(|replica| Arc::clone(&replica.leases)),
            shared,
            in_flight: Default::default(),
            metrics: Arc::clone(&metrics),
            request_log: Arc::new(RequestLog::new(request_log)),
            abandoned,
        });
        let (lines, stop) = (Arc::clone(&pipeline.request_log), background.stop_log.clone());
        background
            .log
            .spawn(async move { lines.run(tokio::io::stderr(), stop).await });
        background.spawn(|stop| settle_abandoned(Arc::clone(&pipeline), unsettled, stop));
        background.spawn(|stop| checkpoint_open(Arc::clone(&pipeline), stop));
        let replica_id = replica.as_ref().map(|replica| replica.id.clone());
        let sampler = Arc::new(Sampler::new(
            Arc::clone(&registry),
            Arc::clone(&counters),
            clock.clone(),
            replica_id.clone().unwrap_or_default(),
        ));
        background.spawn(|stop| Arc::clone(&sampler).run(stop));
        let exporter = set_up_export(&settings, &export_queue, &clock, &metrics, &*read_env).await?;
        if let Some(exporter) = &exporter {
            background.spawn(|stop| Arc::clone(exporter).run(stop));
        }
        let started_at_ms = clock.unix_ms();
        let app = Arc::new(Self {
            started_at_ms,
            clock,
            settings,
            models_yaml,
            read_env,
            connections,
            store,
            directory,
            ledger,
            counters,
            sampler,
            export_queue,
            exporter,
            pipeline,
            metrics,
            secrets,
            admin_token_hash,
            changing: Arc::default(),
            admin_tokens,
            sign_ins: Attempts::default(),
            seen: Seen::default(),
            refusals: Refusals::default(),
            process: replica_id.unwrap_or_else(|| format!("process_{started_at_ms}")),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            background,
            replica,
        });
        for engine in app.registry().engines() {
            app.look_after(Arc::clone(engine));
        }
        app.background.spawn(|stop| watch::watch(Arc::clone(&app), stop));
        if let Some(replica) = &app.replica {
            replica.run(keeper)?;
            if let Some(shared) = &app.pipeline.shared {
                shared.until_up(VALKEY_PATIENCE).await;
            }
            app.background
                .spawn(|stop| refresh::refresh(Arc::clone(&app), stop));
        }
        Ok(Started { app, new_admin_token })
    }
}

/// Switches the export on where models.yaml names a receiver. Where it does not any more, what is booked waits on: a
/// section that is taken out for an hour must not lose an hour.
async fn set_up_export(
    settings: &Settings,
    queue: &Arc<dyn ExportQueue>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    read_env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Arc<Exporter>>, StartFault> {
    let Some(export) = &settings.export else {
        if queue.is_switched_on().await? {
            log::export_unsent();
        }
        return Ok(None);
    };
    let exporter = Exporter::new(
        export,
        Arc::clone(queue),
        Pauses::default(),
        (clock.clone(), Arc::clone(metrics)),
        read_env,
    )?;
    queue.switch_on().await?;
    Ok(Some(Arc::new(exporter)))
}

/// The token's hash: of the one that is given, else of the one that the store knows, else of a new one.
async fn admin_token_of(
    store: &Store,
    secrets: &Secrets,
    given: Option<String>,
) -> Result<([u8; 32], Option<String>), StoreFault> {
    if let Some(token) = given {
        return Ok((hash_secret(&token), None));
    }
    let kept = store.setting(ADMIN_TOKEN_SETTING).await?;
    if let Some(hash) = kept.and_then(|hash| <[u8; 32]>::try_from(hash).ok()) {
        return Ok((hash, None));
    }
    let token = secrets.admin_token();
    let hash = hash_secret(&token);
    store.set_setting(ADMIN_TOKEN_SETTING, &hash).await?;
    Ok((hash, Some(token)))
}
