//! The ledger in the embedded store: one connection that writes, the store's pool for reading.
//!
//! A commit is one statement, which is its own transaction: one trip to SQLite's thread and one write to the disk.
//! `ON CONFLICT DO NOTHING` leaves alone what is booked, and a trigger moves each roll-up with each entry that was
//! really added. What was rejected: balances kept in memory and written next to the entries. That takes four
//! statements a commit (twice the CPU time, as each one's end wakes the runtime), a way to find out which entries
//! were there before, and a rule for what the memory is worth after a commit whose outcome was not seen.

pub(super) mod batch;
pub(super) mod checkpoints;
pub(super) mod log;
pub mod insert;
mod write;
mod export;

use super::sql::columns::COLUMNS;
use super::sql::writer::Writer;
use super::sql::{self, SqlLedger, Write};
use super::{Journal, Ledger, LedgerFault};
use crate::store::Store;
use crate::store::database::Database;
use batch::BatchSql;
use checkpoints::Checkpoints;
use farebox_domain::ledger::{Adjustment, Entry, Settlement};
use log::Log;
use sqlx::sqlite::SqliteConnectOptions;

/// The ledger of the embedded store.
pub type SqliteLedger = SqlLedger<SqliteWriter>;

/// Statements that the connection which books keeps compiled: all of them.
const STATEMENTS: usize = BatchSql::STATEMENTS + Checkpoints::STATEMENTS;

/// Books in SQLite.
pub struct SqliteWriter {
    sql: BatchSql,
    checkpoints: Checkpoints,
    writer: Writer<SqliteConnectOptions>,
    log: Log,
}

impl SqliteLedger {
    /// The ledger in this store. Errors: [`LedgerFault::OtherDatabase`].
    pub async fn open(store: &Store) -> Result<Self, LedgerFault> {
        let Database::Sqlite(opened) = store.database() else {
            return Err(LedgerFault::OtherDatabase("sqlite"));
        };
        let options = log::left_to_log(opened.options.clone());
        let writer = SqliteWriter {
            sql: BatchSql::new("entries", &COLUMNS),
            checkpoints: Checkpoints::new("entries"),
            writer: Writer::new(options.statement_cache_capacity(STATEMENTS)),
            log: Log::new(opened.pool.clone()),
        };
        Ok(Self {
            store: store.clone(),
            writer,
        })
    }
}

impl SqliteWriter {
    async fn insert<'e>(&self, entries: impl ExactSizeIterator<Item = &'e Entry>) -> Result<(), LedgerFault> {
        let sql = self.sql.for_batch(entries.len());
        let rows = entries.len();
        let arguments = insert::arguments(entries)?;
        self.writer
            .write(async |writer| {
                sqlx::query_with(sql, arguments).execute(writer).await?;
                Ok(())
            })
            .await?;
        self.log.grew(rows);
        Ok(())
    }
}

#[async_trait::async_trait]
impl Write for SqliteWriter {
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        self.insert(entries.iter()).await
    }

    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault> {
        self.writer
            .write(async |writer| write::adjust(writer, adjustments).await)
            .await
    }
}

#[async_trait::async_trait]
impl Journal for SqliteLedger {
    async fn record(&self, settled: &[Settlement]) -> Result<(), LedgerFault> {
        match sql::batch(settled)? {
            // One process has no leases.
            Some(settled) => {
                self.writer
                    .insert(settled.iter().map(|settled| &settled.entry))
                    .await
            }
            None => Ok(()),
        }
    }

    async fn checkpoint(&self, open: &[Settlement]) -> Result<(), LedgerFault> {
        let open: Vec<&Entry> = open.iter().map(|open| &open.entry).collect();
        let SqliteWriter {
            checkpoints,
            writer,
            log,
            ..
        } = &self.writer;
        checkpoints.keep(writer, &open, |entry| entry.id).await?;
        log.grew(open.len());
        Ok(())
    }

    async fn recover(&self) -> Result<u64, LedgerFault> {
        let book = |left: Vec<Entry>| async move { self.commit(&left).await };
        checkpoints::recover(&self.writer.writer, book).await
    }

    async fn upkeep(&self) {
        self.writer.log.keep_short(&self.writer.writer).await;
    }
}
