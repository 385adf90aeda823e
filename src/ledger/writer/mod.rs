//! The one connection that writes to a SQLite file: what the embedded ledger and a replica's outbox have in common.
//!
//! [`Writer`] is the connection, [`BatchSql`] the texts of its inserts, [`checkpoints`] what requests that are open
//! leave behind.

mod batch;
pub(super) mod checkpoints;

pub(super) use batch::{BatchArguments, BatchSql};

use super::{LedgerFault, MAX_BATCH};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::Mutex;

/// A connection that one writer at a time has.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    /// `None` after a write that did not end well: the next one opens another.
    slot: Mutex<Option<SqliteConnection>>,
}

impl Writer {
    /// Opens the connection.
    pub(super) async fn open(options: &SqliteConnectOptions) -> Result<Self, LedgerFault> {
        let options = options.clone().statement_cache_capacity(BatchSql::STATEMENTS);
        let connection = options.connect().await?;
        Ok(Self {
            options,
            slot: Mutex::new(Some(connection)),
        })
    }

    /// Does this with the connection, after those who came before.
    pub(super) async fn write<T>(
        &self,
        what: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, LedgerFault>,
    ) -> Result<T, LedgerFault> {
        let mut slot = self.slot.lock().await;
        // Taken, not borrowed: if this call ends early, by an error or because its future is dropped, its
        // connection is not used again. What it was about to do is then done or undone by SQLite.
        let mut writer = match slot.take() {
            Some(writer) => writer,
            None => self.options.connect().await?,
        };
        let done = what(&mut writer).await?;
        *slot = Some(writer);
        Ok(done)
    }
}

/// Refuses what is more than a batch.
pub(super) fn at_most_a_batch(rows: usize) -> Result<(), LedgerFault> {
    if rows > MAX_BATCH {
        return Err(LedgerFault::TooMany(rows));
    }
    Ok(())
}
