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
mod export;
mod counters;

use super::{
    AdjustmentPage, Balance, EntryPage, Journal, KeySpending, Ledger, LedgerFault, MAX_BATCH, UsageQuery,
    UsageRow, Verification,
};
use crate::store::{Store, StoreFault};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Adjustment, Entry};
use farebox_domain::month::Month;
use insert::InsertSql;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;

/// The ledger of a [`Store`]. The store's directory stays claimed as long as this lives.
pub struct SqliteLedger {
    store: Store,
    sql: InsertSql,
    /// The one connection that writes entries. `None` after a commit that did not end well: the next one opens
    /// another.
    writer: Mutex<Option<SqliteConnection>>,
}

impl SqliteLedger {
    /// The ledger in this store.
    pub async fn open(store: &Store) -> Result<Self, LedgerFault> {
        Ok(Self {
            store: store.clone(),
            sql: InsertSql::new(),
            writer: Mutex::new(Some(open_writer(store).await?)),
        })
    }

    async fn write<T>(
        &self,
        what: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, LedgerFault>,
    ) -> Result<T, LedgerFault> {
        let mut slot = self.writer.lock().await;
        // Taken, not borrowed: if this call ends early, by an error or because its future is dropped, its
        // connection is not used again. What it was about to do is then done or undone by SQLite.
        let mut writer = match slot.take() {
            Some(writer) => writer,
            None => open_writer(&self.store).await?,
        };
        let done = what(&mut writer).await?;
        *slot = Some(writer);
        Ok(done)
    }
}

async fn open_writer(store: &Store) -> Result<SqliteConnection, LedgerFault> {
    let options = store.connect_options().clone();
    Ok(options
        .statement_cache_capacity(InsertSql::STATEMENTS)
        .connect()
        .await?)
}

#[async_trait::async_trait]
impl Journal for SqliteLedger {
    async fn record(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        self.commit(entries).await
    }

    async fn checkpoint(&self, open: &[Entry]) -> Result<(), LedgerFault> {
        if open.len() > MAX_BATCH {
            return Err(LedgerFault::TooMany(open.len()));
        }
        self.write(async |writer| write::checkpoint(writer, open).await)
            .await
    }

    async fn recover(&self) -> Result<u64, LedgerFault> {
        let left = self
            .write(async |writer| write::checkpoints(writer).await)
            .await?;
        for batch in left.chunks(MAX_BATCH) {
            self.commit(batch).await?;
        }
        if !left.is_empty() {
            self.write(async |writer| write::drop_checkpoints(writer).await)
                .await?;
        }
        Ok(u64::try_from(left.len()).unwrap_or(u64::MAX))
    }
}

#[async_trait::async_trait]
impl Ledger for SqliteLedger {
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        if entries.is_empty() {
            return Ok(());
        }
        if entries.len() > MAX_BATCH {
            return Err(LedgerFault::TooMany(entries.len()));
        }
        let arguments = insert::arguments(entries)?;
        let sql = self.sql.for_batch(entries.len());
        self.write(async |writer| {
            sqlx::query_with(sql, arguments).execute(writer).await?;
            Ok(())
        })
        .await
    }

    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault> {
        if adjustments.len() > MAX_BATCH {
            return Err(LedgerFault::TooMany(adjustments.len()));
        }
        self.write(async |writer| write::adjust(writer, adjustments).await)
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
