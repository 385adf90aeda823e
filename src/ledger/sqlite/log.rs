//! SQLite's log (WAL), copied into its file beside those who commit.
//!
//! SQLite would do it with the first commit that leaves a thousand pages in the log: all who wait for that one then wait for the pages to
//! be copied, and for two flushes. Here a connection that nobody waits for copies them. The log begins anew only where all of it was
//! copied, so what came meanwhile is copied between two commits; that is little.

use super::super::LedgerFault;
use super::super::sql::writer::Writer;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqliteExecutor, SqlitePool};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Pages from which on the log is to begin anew: 48 MiB.
const LONG_PAGES: i64 = 12_000;
/// Rows after which it is asked how long it is. One makes a page at the most, of its own roll-up.
const LOOKED_AT_AFTER_ROWS: usize = 2_000;
/// What a commit writes besides its rows, in rows.
const OF_A_COMMIT: usize = 2;
/// Pages from which on the connection that commits does as SQLite would, should nobody have done it before.
const MUCH_TOO_LONG_PAGES: &str = "32000";

/// What is known here of the log of one file.
pub(in crate::ledger) struct Log {
    /// Who copies.
    pool: SqlitePool,
    /// Written since it was last asked how long it is.
    rows: AtomicUsize,
    has_grown: Notify,
}

/// How the connection that commits is opened, where a [`Log`] is kept short beside it.
pub(in crate::ledger) fn left_to_log(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.pragma("wal_autocheckpoint", MUCH_TOO_LONG_PAGES)
}

impl Log {
    /// Of the file that the pool has open.
    pub(in crate::ledger) fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            rows: AtomicUsize::new(0),
            has_grown: Notify::new(),
        }
    }

    /// So many rows were committed at once.
    pub(in crate::ledger) fn grew(&self, rows: usize) {
        let grown = rows + OF_A_COMMIT;
        if self.rows.fetch_add(grown, Ordering::Relaxed) + grown >= LOOKED_AT_AFTER_ROWS {
            self.rows.store(0, Ordering::Relaxed);
            self.has_grown.notify_one();
        }
    }

    /// Keeps it short, for ever.
    pub(in crate::ledger) async fn keep_short(&self, writer: &Writer<SqliteConnectOptions>) {
        loop {
            self.has_grown.notified().await;
            if let Err(fault) = self.shorten(writer).await {
                let cause: &(dyn std::error::Error + 'static) = &fault;
                tracing::warn!(cause, "SQLite's log could not be copied into its file; it grows");
            }
        }
    }

    /// Copies it where it is long, so that it begins anew.
    async fn shorten(&self, writer: &Writer<SqliteConnectOptions>) -> Result<(), LedgerFault> {
        if log(&self.pool, "NOOP").await? < LONG_PAGES {
            return Ok(());
        }
        log(&self.pool, "PASSIVE").await?;
        // What came meanwhile, and then what came with that.
        log(&self.pool, "PASSIVE").await?;
        writer
            .write(async |connection| log(&mut *connection, "PASSIVE").await.map(drop))
            .await
    }
}

/// How many pages the log has. `NOOP` looks, and `PASSIVE` copies what nobody still reads; neither waits for anybody.
async fn log(connection: impl SqliteExecutor<'_>, mode: &str) -> Result<i64, LedgerFault> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let (_busy, pages, _copied): (i64, i64, i64) =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(pages)
}
