//! The ledger in the embedded store: one connection that writes, the store's pool for reading.
//!
//! A commit is one statement, which is its own transaction: one trip to SQLite's thread and one write to the disk.
//! `ON CONFLICT DO NOTHING` leaves alone what is booked, and a trigger moves each roll-up with each entry that was
//! really added. What was rejected: balances kept in memory and written next to the entries. That takes four
//! statements a commit (twice the CPU time, as each one's end wakes the runtime), a way to find out which entries
//! were there before, and a rule for what the memory is worth after a commit whose outcome was not seen.

mod columns;
mod insert;
mod write;
mod query;
mod usage;

use super::writer::{BatchSql, Writer, at_most_a_batch, checkpoints};
use super::{
    AdjustmentPage, Balance, EntryPage, Journal, KeySpending, Ledger, LedgerFault, UsageQuery, UsageRow,
    Verification,
};
use crate::store::{Store, StoreFault};
use columns::COLUMNS;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Adjustment, Entry};
use farebox_domain::month::Month;

/// The ledger of a [`Store`]. The store's directory stays claimed as long as this lives.
pub struct SqliteLedger {
    store: Store,
    sql: BatchSql,
    /// The one connection that writes entries.
    writer: Writer,
}

impl SqliteLedger {
    /// The ledger in this store.
    pub async fn open(store: &Store) -> Result<Self, LedgerFault> {
        Ok(Self {
            store: store.clone(),
            sql: BatchSql::new("entries", &COLUMNS),
            writer: Writer::open(store.connect_options()).await?,
        })
    }
}

#[async_trait::async_trait]
impl Journal for SqliteLedger {
    async fn record(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        self.commit(entries).await
    }

    async fn checkpoint(&self, open: &[Entry]) -> Result<(), LedgerFault> {
        checkpoints::keep(&self.writer, open, |entry| entry.id).await
    }

    async fn recover(&self) -> Result<u64, LedgerFault> {
        checkpoints::recover(&self.writer, |left: Vec<Entry>| async move {
            self.commit(&left).await
        })
        .await
    }
}

#[async_trait::async_trait]
impl Ledger for SqliteLedger {
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        if entries.is_empty() {
            return Ok(());
        }
        at_most_a_batch(entries.len())?;
        let arguments = insert::arguments(entries)?;
        let sql = self.sql.for_batch(entries.len());
        self.writer
            .write(async |writer| {
                sqlx::query_with(sql, arguments).execute(writer).await?;
                Ok(())
            })
            .await
    }

    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault> {
        at_most_a_batch(adjustments.len())?;
        self.writer
            .write(async |writer| write::adjust(writer, adjustments).await)
            .await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
        usage::usage(self.store.pool(), query).await
    }

    async fn balances(&self) -> Result<Vec<Balance>, LedgerFault> {
        let mut connection = self.store.pool().acquire().await?;
        query::balances(&mut connection).await
    }

    async fn spent_in(&self, month: Month) -> Result<Vec<KeySpending>, LedgerFault> {
        query::spent_in(self.store.pool(), month).await
    }

    async fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerFault> {
        query::entry(self.store.pool(), id).await
    }

    async fn entries(&self, page: &EntryPage) -> Result<Vec<Entry>, LedgerFault> {
        query::entries(self.store.pool(), page).await
    }

    async fn adjustments(&self, page: &AdjustmentPage) -> Result<Vec<Adjustment>, LedgerFault> {
        query::adjustments(self.store.pool(), page).await
    }

    async fn verify(&self) -> Result<Verification, LedgerFault> {
        query::verify(self.store.pool()).await
    }
}

// === impl LedgerFault ===

impl From<sqlx::Error> for LedgerFault {
    fn from(fault: sqlx::Error) -> Self {
        Self::Database(Box::new(fault))
    }
}

impl From<StoreFault> for LedgerFault {
    fn from(fault: StoreFault) -> Self {
        Self::Database(Box::new(fault))
    }
}
