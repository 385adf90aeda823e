//! What the ledger does alike in both databases, which is all but booking.
//!
//! The statements are one text for both (`crate::store::database`); where sums of money differ, a `Sums` says how.
//! [`Write`] is what each does in its own way.

pub(super) mod columns;
pub(super) mod writer;
pub(super) mod pages;
mod balances;
mod usage;
mod verify;
pub(super) mod export;
mod counters;

use super::usage::HOUR_MS;
use super::{
    AdjustmentPage, Balance, EntryPage, KeySpending, Ledger, LedgerFault, MAX_BATCH, Turn, UsageQuery,
    UsageRow, Verification,
};
use crate::store::database::Database;
use crate::store::row::ColumnFault;
use crate::store::{Store, StoreFault};
use farebox_domain::ids::{AccountId, RequestId};
use farebox_domain::ledger::{Adjustment, Entry};
use farebox_domain::month::Month;

/// The ledger of a [`Store`]. The store's directory stays claimed as long as this lives.
pub struct SqlLedger<W> {
    pub(super) store: Store,
    pub(super) writer: W,
}

/// How entries and adjustments are booked. Each call has 1 to [`MAX_BATCH`] of them.
#[async_trait::async_trait]
pub trait Write: Send + Sync + 'static {
    /// [`Ledger::commit`].
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault>;
    /// [`Ledger::adjust`].
    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault>;
}

/// The lock's number is farebox's own ("turn"); the connection keeps it until it is closed.
const TAKE_TURN: &str = "SET lock_timeout = '60s'; SELECT pg_advisory_lock(1953854062)";

/// Nothing, or a batch that one commit takes.
pub(super) fn batch<T>(of: &[T]) -> Result<Option<&[T]>, LedgerFault> {
    if of.len() > MAX_BATCH {
        return Err(LedgerFault::TooMany(of.len()));
    }
    Ok(Some(of).filter(|of| !of.is_empty()))
}

#[async_trait::async_trait]
impl<W: Write> Ledger for SqlLedger<W> {
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        match batch(entries)? {
            Some(entries) => self.writer.commit(entries).await,
            None => Ok(()),
        }
    }

    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault> {
        match batch(adjustments)? {
            Some(adjustments) => self.writer.adjust(adjustments).await,
            None => Ok(Vec::new()),
        }
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
        usage::usage(self.store.database(), query).await
    }

    async fn balances(&self) -> Result<Vec<Balance>, LedgerFault> {
        balances::balances(self.store.database(), None).await
    }

    async fn balances_of(&self, accounts: &[AccountId]) -> Result<Vec<Balance>, LedgerFault> {
        balances::balances(self.store.database(), Some(accounts)).await
    }

    async fn spent_in(&self, month: Month) -> Result<Vec<KeySpending>, LedgerFault> {
        balances::spent_in(self.store.database(), month).await
    }

    async fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerFault> {
        pages::entry(self.store.database(), id).await
    }

    async fn entries_of(&self, ids: &[RequestId]) -> Result<Vec<Entry>, LedgerFault> {
        pages::entries_of(self.store.database(), ids).await
    }

    async fn entries(&self, page: &EntryPage) -> Result<Vec<Entry>, LedgerFault> {
        pages::entries(self.store.database(), page).await
    }

    async fn adjustments(&self, page: &AdjustmentPage) -> Result<Vec<Adjustment>, LedgerFault> {
        pages::adjustments(self.store.database(), page).await
    }

    async fn turn_to_correct(&self) -> Result<Turn, LedgerFault> {
        let Database::Postgres(opened) = self.store.database() else {
            return Ok(Turn::default());
        };
        let mut connection = opened.pool.acquire().await?.detach();
        sqlx::raw_sql(TAKE_TURN).execute(&mut connection).await?;
        Ok(Turn::of(connection))
    }

    async fn verify(&self) -> Result<Verification, LedgerFault> {
        verify::verify(self.store.database()).await
    }
}

/// A table of what was used.
struct Source {
    table: &'static str,
    /// The column that says when, and what it counts in.
    time: &'static str,
    unit_ms: u64,
}

const ENTRIES: Source = Source {
    table: "entries",
    time: "admitted_at_ms",
    unit_ms: 1,
};
const HOURS: Source = Source {
    table: "usage_rollups",
    time: "hour",
    unit_ms: HOUR_MS,
};
/// In PostgreSQL alone: a SQLite file is of one farebox, and has fewer hours than a database of many.
const DAYS: Source = Source {
    table: "usage_days",
    time: "day",
    unit_ms: 24 * HOUR_MS,
};

impl Source {
    /// The roll-ups that are read where whole months will do.
    const fn coarsest(database: &Database) -> &'static Self {
        match database {
            Database::Sqlite(_) => &HOURS,
            Database::Postgres(_) => &DAYS,
        }
    }

    /// Whether its rows are entries, which are found by their ids.
    const fn has_ids(&self) -> bool {
        self.unit_ms == 1
    }

    /// This time in what the table counts in.
    fn unit_at(&self, unix_ms: u64) -> i64 {
        i64::try_from(unix_ms / self.unit_ms).unwrap_or(i64::MAX)
    }
}

/// Selects a sum of money, so that `Columns::sum` reads it by its name. A sum of 64-bit numbers may leave 64 bits.
/// SQLite has no more, so it keeps the upper part and the lower 32 bits apart; PostgreSQL has NUMERIC, told as text.
struct Sums {
    /// The sum of entries' costs, `cost`.
    of_entries: &'static str,
    /// The sum of roll-ups' costs, `cost`.
    of_rollups: &'static str,
    /// One roll-up's cost, `cost`.
    of_rollup: &'static str,
    /// The sum of adjustments' amounts, `amount`.
    of_adjustments: &'static str,
}

impl Sums {
    const fn of(database: &Database) -> &'static Self {
        match database {
            Database::Sqlite(_) => &Self {
                of_entries: "sum(cost_picodollars >> 32) AS cost_high, sum(cost_picodollars & 4294967295) AS cost_low",
                of_rollups: "sum(cost_high) AS cost_high, sum(cost_low) AS cost_low",
                of_rollup: "cost_high, cost_low",
                of_adjustments: "sum(amount_picodollars >> 32) AS amount_high, \
                                 sum(amount_picodollars & 4294967295) AS amount_low",
            },
            Database::Postgres(_) => &Self {
                of_entries: "sum(cost_picodollars)::text AS cost",
                of_rollups: "sum(cost)::text AS cost",
                of_rollup: "cost::text AS cost",
                of_adjustments: "sum(amount_picodollars)::text AS amount",
            },
        }
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

impl From<ColumnFault> for LedgerFault {
    fn from(fault: ColumnFault) -> Self {
        Self::Unreadable(fault.column)
    }
}
