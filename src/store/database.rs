//! The two databases: SQLite, embedded, and PostgreSQL, which replicas share.
//!
//! The store's SQL is one text for both: parameters are `$1`, `$2`, ..., which both take, and [`on`] compiles what is
//! done with it for each. What was rejected: a trait that each database implements, which says every statement twice,
//! and sqlx's `Any`, which knows neither's settings nor their arrays.

use super::file::{self, Check};
use super::history::History;
use super::migrations::SQLITE;
use super::{DatabaseUrl, StoreFault};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{ConnectOptions, Connection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Connections for reading and for administrators' writes; the ledger writes through one of its own.
const POOL_CONNECTIONS: u32 = 4;

/// Entries are too many to be looked through at every start: above a second's worth they are left to
/// `farebox ledger verify`, which reads them all.
const CHECK: Check = Check::Except {
    above: 128 << 20,
    tables: &["entries", "usage_rollups"],
};

/// How long PostgreSQL may take to give a connection before it is said to be away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one that was given back may take to say that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two attempts at a database that is not the ledger.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// A database that is open.
#[derive(Clone)]
pub(crate) enum Database {
    /// One file.
    Sqlite(Opened<SqlitePool, SqliteConnectOptions>),
    /// A server.
    Postgres(OpenedServer),
}

/// A server, and how each new connection to it is checked.
pub(crate) type OpenedServer = Opened<PgPool, (PgConnectOptions, Arc<History>)>;

/// Connections, and how to make one more.
#[derive(Clone)]
pub(crate) struct Opened<P, O> {
    /// For reading, and for writes that are not the ledger's.
    pub(crate) pool: P,
    /// How the ledger opens the connection that it alone writes entries through.
    pub(crate) options: O,
}

/// Does the same on either database: `on!(database, pool => ...)` is compiled once for each pool.
macro_rules! on {
    ($database:expr, $pool:ident => $body:expr) => {
        match $database {
            $crate::store::database::Database::Sqlite(opened) => {
                let $pool = &opened.pool;
                $body
            }
            $crate::store::database::Database::Postgres(opened) => {
                let $pool = &opened.pool;
                $body
            }
        }
    };
}
pub(crate) use on;

impl Database {
    /// The file, which is made if need be, checked and brought to this version's form.
    pub(super) async fn open_file(
        path: &Path,
    ) -> Result<Opened<SqlitePool, SqliteConnectOptions>, StoreFault> {
        let options = file::options(path);
        let pool = file::open(&options, POOL_CONNECTIONS, CHECK, &SQLITE).await?;
        Ok(Opened { pool, options })
    }

    /// The server. It is connected to when it is first asked.
    pub(super) fn open_server(url: &DatabaseUrl, history: Arc<History>) -> OpenedServer {
        let options = server_options(url);
        let checks = Arc::clone(&history);
        let pool = PgPoolOptions::new()
            .max_connections(POOL_CONNECTIONS)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(move |connection, _| {
                let history = Arc::clone(&checks);
                Box::pin(async move {
                    let checked = history.check(connection).await;
                    if matches!(checked, Err(sqlx::Error::Configuration(_))) {
                        // The pool says so and connects again, ten times a second if it may.
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                    checked
                })
            })
            // The pool does as much, and waits for ever: a connection that is lost without a word would keep its place.
            .after_release(|connection, _| {
                Box::pin(async move {
                    match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
                        Ok(answer) => answer.map(|()| true),
                        Err(_) => Err(sqlx::Error::PoolTimedOut),
                    }
                })
            })
            .connect_lazy_with(options.clone());
        Opened {
            pool,
            options: (options, history),
        }
    }

    /// Begins a transaction in which nobody else adds a price version.
    pub(super) const fn begin_pricing(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN; LOCK TABLE price_versions IN SHARE ROW EXCLUSIVE MODE",
        }
    }
}

/// Whatever the server is set to, a commit is on disk when it returns (`synchronous_commit=on`). Statements are planned
/// for what they are asked, not once for all: a condition that is not asked for costs nothing then.
fn server_options(url: &DatabaseUrl) -> PgConnectOptions {
    url.options()
        .application_name("farebox")
        .options([
            ("synchronous_commit", "on"),
            ("plan_cache_mode", "force_custom_plan"),
            // A sum by account and day over months is made in memory.
            ("work_mem", "32MB"),
            // A migration says what it skips.
            ("client_min_messages", "warning"),
        ])
        .disable_statement_logging()
}

/// One connection to the server, or why there is none: a pool would only say that it waited.
pub(super) async fn connect(url: &DatabaseUrl) -> Result<PgConnection, StoreFault> {
    let away = |cause: Box<dyn std::error::Error + Send + Sync>| StoreFault::Away {
        url: url.clone(),
        cause,
    };
    let options = server_options(url);
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect());
    match connecting.await {
        Ok(connected) => connected.map_err(|cause| away(cause.into())),
        Err(elapsed) => Err(away(elapsed.into())),
    }
}
