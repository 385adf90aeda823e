//! The ledger in the embedded store: one connection that writes, the store's pool for reading.
//!
//! A commit is one trip to SQLite: `BEGIN`, balances, entries, `COMMIT` as one cached statement text. It assumes
//! that no entry is booked yet, which is so but after a commit whose outcome was not seen. Where SQLite says that
//! an id is there, everything is rolled back, the ids that are there are asked for, and the rest is booked. The
//! alternatives, asking first or `RETURNING`, cost every commit what only that one needs.

mod columns;
mod insert;
mod query;

use super::verify::Tally;
use super::{Balance, Ledger, LedgerFault, MAX_BATCH, UsageQuery, UsageRow, Verification};
use crate::store::{Store, StoreFault};
use farebox_domain::ids::{AccountId, RequestId};
use farebox_domain::ledger::Entry;
use insert::{CommitSql, commit_arguments};
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use std::collections::{HashMap, HashSet};
use tokio::sync::Mutex;

/// The ledger of a [`Store`]. The store's directory stays claimed as long as this lives.
pub struct SqliteLedger {
    store: Store,
    sql: CommitSql,
    /// `None` after a commit whose outcome is not known: the next one opens a new connection and reads the balances
    /// again, so that what is in memory is never older or newer than what is on disk.
    writer: Mutex<Option<Writer>>,
}

/// The one connection that writes entries, with the balances as its last commit left them.
struct Writer {
    connection: SqliteConnection,
    balances: HashMap<AccountId, Tally>,
}

/// What a commit would do to the balances: the new ones, of the accounts that it touches.
type Moved = HashMap<AccountId, Tally>;

enum Attempt {
    Booked,
    /// An id is booked already, or twice in the batch. Rolled back.
    Duplicate,
}

impl SqliteLedger {
    /// Opens the ledger and reads the balances.
    pub async fn open(store: &Store) -> Result<Self, LedgerFault> {
        let writer = Writer::open(store).await?;
        Ok(Self {
            store: store.clone(),
            sql: CommitSql::new(),
            writer: Mutex::new(Some(writer)),
        })
    }

    async fn book(&self, writer: &mut Writer, entries: &[Entry]) -> Result<(), LedgerFault> {
        match writer.attempt(&self.sql, entries).await? {
            Attempt::Booked => Ok(()),
            Attempt::Duplicate => {
                let fresh = writer.without_booked(entries).await?;
                if fresh.is_empty() {
                    return Ok(());
                }
                match writer.attempt(&self.sql, &fresh).await? {
                    Attempt::Booked => Ok(()),
                    Attempt::Duplicate => Err(LedgerFault::Unreadable("which entries are booked")),
                }
            }
        }
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
        let mut slot = self.writer.lock().await;
        // Taken, not borrowed: whatever ends this call early, an error or its future being dropped, leaves no
        // writer behind that is inside a transaction.
        let mut writer = match slot.take() {
            Some(writer) => writer,
            None => Writer::open(&self.store).await?,
        };
        let booked = self.book(&mut writer, entries).await;
        if matches!(
            booked,
            Ok(()) | Err(LedgerFault::OutOfRange { .. } | LedgerFault::Overflow)
        ) {
            *slot = Some(writer);
        }
        booked
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
        query::usage(self.store.pool(), query).await
    }

    async fn balances(&self) -> Result<Vec<Balance>, LedgerFault> {
        let mut connection = self.store.pool().acquire().await?;
        query::balances(&mut connection).await
    }

    async fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerFault> {
        query::entry(self.store.pool(), id).await
    }

    async fn verify(&self) -> Result<Verification, LedgerFault> {
        query::verify(self.store.pool()).await
    }
}

// === impl Writer ===

impl Writer {
    async fn open(store: &Store) -> Result<Self, LedgerFault> {
        let mut connection = store
            .connect_options()
            .clone()
            .statement_cache_capacity(CommitSql::STATEMENTS + 8)
            .connect()
            .await?;
        // Immediate: a commit of the connection before this one is over when the balances are read.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let balances = query::balances(&mut transaction).await?;
        transaction.commit().await?;
        let tally = |row: Balance| {
            let tally = Tally {
                sum: row.balance,
                entries: row.entries,
            };
            (row.account, tally)
        };
        Ok(Self {
            connection,
            balances: balances.into_iter().map(tally).collect(),
        })
    }

    /// Books all of the entries or none; the balances in memory move with those on disk.
    async fn attempt(&mut self, sql: &CommitSql, entries: &[Entry]) -> Result<Attempt, LedgerFault> {
        let moved = self.moved(entries)?;
        let arguments = commit_arguments(&moved, entries)?;
        let committed = sqlx::query_with(sql.for_batch(entries.len()), arguments)
            .execute(&mut self.connection)
            .await;
        match committed {
            Ok(_) => {
                self.balances.extend(moved);
                Ok(Attempt::Booked)
            }
            Err(sqlx::Error::Database(refused)) if refused.is_unique_violation() => {
                sqlx::query("ROLLBACK").execute(&mut self.connection).await?;
                Ok(Attempt::Duplicate)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    fn moved(&self, entries: &[Entry]) -> Result<Moved, LedgerFault> {
        let mut moved = Moved::new();
        for entry in entries {
            if let Some(tally) = moved.get_mut(&entry.account) {
                *tally = tally.with(entry.cost)?;
            } else {
                let before = self.balances.get(&entry.account).copied().unwrap_or_default();
                moved.insert(entry.account.clone(), before.with(entry.cost)?);
            }
        }
        Ok(moved)
    }

    /// The entries that are not booked, the first of each id.
    async fn without_booked(&mut self, entries: &[Entry]) -> Result<Vec<Entry>, LedgerFault> {
        let mut seen: HashSet<RequestId> = query::booked(&mut self.connection, entries).await?;
        let fresh = entries.iter().filter(|entry| seen.insert(entry.id));
        Ok(fresh.cloned().collect())
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
