//! The ledger: one entry a request, booked durably and once, and balances that are the sum of their entries.
//!
//! [`Ledger`] is what a database must do, [`Journal`] what a request waits for; [`sqlite`] is both in the embedded
//! store. Where replicas share a database [`postgres`] is the first and an [`outbox`] the second. [`sql`] is what the
//! two ledgers have in common. Requests call neither: they hand their entry to the [`settler`], which records many in
//! one transaction.
//! [`verify`] recomputes all of it; [`rerate`] and [`refund`] are how something is put right that was booked.
//! [`reconcile`] holds it against the engines' [`counters`]. [`export`] is the queue of what a receiver is still to be told.
//! The policy is in docs/LEDGER.md.
//!
//! Architecture invariant: entries are only ever added. There is no call that changes or removes one, and the
//! database refuses it too.

pub mod usage;
pub mod verify;
pub mod export;
pub mod counters;
pub mod reconcile;
pub mod sql;
pub mod sqlite;
pub mod postgres;
pub mod outbox;
pub mod rerate;
pub mod refund;
pub mod settler;
pub mod lease;

pub use counters::{CounterSample, EngineCounters};
pub use export::{EventId, ExportItem, ExportQueue, QueueCounts, RefusedEvent};
pub use lease::{Beat, LeaseAnswer, Lessor, Scope, Standing};
pub use outbox::{Bookkeeper, Outbox, OutboxFault, Shipper};
pub use postgres::{PgLedger, PgLessor, ReplicaBooks};
pub use settler::{SettleFault, Settler, SettlerObserver};
pub use sqlite::SqliteLedger;
pub use usage::{Bucket, GroupBy, UsageQuery, UsageRow};
pub use verify::{Discrepancy, SpendingRow, Verification};

use crate::store::Store;
use crate::store::database::Database;
use farebox_domain::ids::{AccountId, AdjustmentId, KeyId, RequestId};
use farebox_domain::ledger::{Adjustment, Entry, Settlement};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use std::sync::Arc;

/// The most entries that one commit takes.
pub const MAX_BATCH: usize = 512;

/// The most entries or adjustments on one page.
pub const MAX_PAGE: u32 = 10_000;

/// What a request waits for before its client is told that it is complete: the disk of this process. In the embedded
/// store it is the ledger itself.
#[async_trait::async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Records settlements in one durable transaction: all of it or nothing. An id that is already there is left as it is,
    /// so that repeating it is harmless. The checkpoints of what is recorded are gone with it.
    ///
    /// At most [`MAX_BATCH`] entries. Errors: as [`Ledger::commit`].
    async fn record(&self, settled: &[Settlement]) -> Result<(), LedgerFault>;

    /// Keeps, durably, what requests that are still open would be booked as if farebox ended now, with the leases that this
    /// would use up; a later checkpoint of the same request replaces it. At most [`MAX_BATCH`].
    async fn checkpoint(&self, open: &[Settlement]) -> Result<(), LedgerFault>;

    /// Records every checkpoint that a process which died has left, as it stands, and returns how many requests that
    /// was. To be called before the first record of a new process.
    async fn recover(&self) -> Result<u64, LedgerFault>;

    /// What is to be done beside the records, as long as there are any: it does not end.
    async fn upkeep(&self) {
        std::future::pending().await
    }
}

/// Where entries are booked. Its conformance suite is `tests/it/ledger`, which every implementation passes.
#[async_trait::async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Books entries in one durable transaction and moves the roll-ups with them: all of it or nothing. An id that
    /// is already booked is left as it is, whatever the new entry says, so that repeating a commit is harmless.
    ///
    /// At most [`MAX_BATCH`] entries. Errors: [`LedgerFault::OutOfRange`], [`LedgerFault::TooMany`] and
    /// [`LedgerFault::Overflow`] are about what was asked; the others pass with time, and the same call is then
    /// right to make again.
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault>;

    /// Books adjustments in one durable transaction. One whose reference its account has already is left out.
    /// Returns those that were booked now. At most [`MAX_BATCH`].
    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault>;

    /// Requests, tokens and cost, summed by what the query names and sorted by it. Read from roll-ups, but for parts
    /// of hours and buckets of minutes.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault>;

    /// Every account that has an entry or an adjustment, by id.
    async fn balances(&self) -> Result<Vec<Balance>, LedgerFault>;

    /// The same of these accounts alone: as many as are on a page.
    async fn balances_of(&self, accounts: &[AccountId]) -> Result<Vec<Balance>, LedgerFault>;

    /// What each key spent on requests that were admitted in this month, by account and key.
    async fn spent_in(&self, month: Month) -> Result<Vec<KeySpending>, LedgerFault>;

    /// One request's entry.
    async fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerFault>;

    /// The entries of these requests, in any order; those that are not booked are left out. At most [`MAX_PAGE`].
    async fn entries_of(&self, ids: &[RequestId]) -> Result<Vec<Entry>, LedgerFault>;

    /// Entries in the order of their ids, a page at a time.
    async fn entries(&self, page: &EntryPage) -> Result<Vec<Entry>, LedgerFault>;

    /// Adjustments in the order of their ids, a page at a time.
    async fn adjustments(&self, page: &AdjustmentPage) -> Result<Vec<Adjustment>, LedgerFault>;

    /// Waits for the turn to book what depends on what was booked before, a refund or a correction. One at a time has it,
    /// of all replicas. Errors: those of the database, and where another has had it for a minute.
    async fn turn_to_correct(&self) -> Result<Turn, LedgerFault>;

    /// Recomputes every entry from its raw usage and price version, every correction from the entry and the price that
    /// it names, and every roll-up from its entries, in one snapshot. Reads the whole ledger; commits go on
    /// meanwhile.
    async fn verify(&self) -> Result<Verification, LedgerFault>;
}

/// The turn of [`Ledger::turn_to_correct`]; it ends when this is dropped. In PostgreSQL it is a connection's, so it ends with
/// its process too. An embedded ledger is of one process, which has an order of its own.
#[derive(Debug, Default)]
pub struct Turn {
    _connection: Option<PgConnection>,
}

impl Turn {
    fn of(connection: PgConnection) -> Self {
        Self {
            _connection: Some(connection),
        }
    }
}

/// Where a store's entries are booked.
pub enum Books {
    /// In the file that is the store: journal and ledger in one.
    Embedded(Arc<SqliteLedger>),
    /// In the database that replicas share: each has an outbox for its journal.
    Shared(Arc<PgLedger>),
}

impl Books {
    /// The books of this store.
    pub async fn open(store: &Store) -> Result<Self, LedgerFault> {
        Ok(match store.database() {
            Database::Sqlite(_) => Self::Embedded(Arc::new(SqliteLedger::open(store).await?)),
            Database::Postgres(_) => Self::Shared(Arc::new(PgLedger::open(store).await?)),
        })
    }

    /// What is kept in the same database.
    pub fn beside(&self) -> Beside {
        match self {
            Self::Embedded(ledger) => (ledger.clone(), ledger.clone()),
            Self::Shared(ledger) => (ledger.clone(), ledger.clone()),
        }
    }
}

/// What is kept beside a ledger: the export's queue and the engines' counters.
pub type Beside = (Arc<dyn ExportQueue>, Arc<dyn EngineCounters>);

/// What an account's entries and adjustments come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Whose.
    pub account: AccountId,
    /// The sum of its entries' costs.
    pub spent: Picodollars,
    /// The sum of its adjustments: credit, refunds, corrections.
    pub adjusted: Picodollars,
    /// How many entries there are.
    pub entries: u64,
}

impl Balance {
    /// What the account has: adjustments less costs. Below zero it owes.
    pub fn balance(&self) -> Result<Picodollars, LedgerFault> {
        self.adjusted
            .checked_sub(self.spent)
            .map_err(|_| LedgerFault::Overflow)
    }
}

/// What a key spent in a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySpending {
    /// Whose key.
    pub account: AccountId,
    /// The key.
    pub key: KeyId,
    /// The sum of its entries' costs.
    pub spent: Picodollars,
}

/// Which entries, and where their page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Only those admitted at this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only those admitted before this time.
    pub until_ms: Option<u64>,
    /// Only those with a higher id.
    pub after: Option<RequestId>,
    /// How many, at most [`MAX_PAGE`].
    pub limit: u32,
}

/// Which adjustments, and where their page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdjustmentPage {
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Only those about this request.
    pub request: Option<RequestId>,
    /// Only those booked at this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only those booked before this time.
    pub until_ms: Option<u64>,
    /// Only those that come behind this one.
    pub after: Option<AdjustmentId>,
    /// From the newest to the oldest, and not from the lowest id to the highest.
    pub newest_first: bool,
    /// How many, at most [`MAX_PAGE`].
    pub limit: u32,
}

/// Why the ledger did not do what was asked. Nothing was booked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    /// A number does not fit 64 signed bits, or is beyond belief: it can never be booked.
    #[error("{id} cannot be booked: its {column} is outside the range that can be stored")]
    OutOfRange {
        /// The entry's or adjustment's id.
        id: String,
        /// What does not fit.
        column: &'static str,
    },
    /// More than [`MAX_BATCH`] entries at once.
    #[error("{0} entries are more than one commit takes")]
    TooMany(usize),
    /// A sum outside of its type.
    #[error("a sum is outside the range that can be represented")]
    Overflow,
    /// A stored value that the ledger would not have written.
    #[error("{0} cannot be read back from the ledger")]
    Unreadable(&'static str),
    /// The store is not in the database that this ledger is for.
    #[error("the store is not in {0}")]
    OtherDatabase(&'static str),
    /// The database refused, or is away. It may be there again later.
    #[error("the ledger's database refused")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// PostgreSQL's classes of errors about a row itself: "data exception" (a text with a NUL in it, a number out of range)
/// and "integrity constraint violation" (a price version that there is not, a number below zero).
const ABOUT_A_ROW: [&str; 2] = ["22", "23"];
/// The length of PostgreSQL's codes; SQLite's are shorter.
const SQLSTATE_LEN: usize = 5;

impl LedgerFault {
    /// Whether the same call may succeed later. The others are about what was asked, and stay what they are.
    pub fn passes_with_time(&self) -> bool {
        match self {
            Self::OutOfRange { .. } | Self::TooMany(_) | Self::Overflow => false,
            Self::Unreadable(_) | Self::OtherDatabase(_) => true,
            Self::Database(cause) => !is_about_a_row(cause.as_ref()),
        }
    }
}

/// PostgreSQL's class of errors about a session that somebody ended, or a server that shuts down.
const OPERATOR_INTERVENTION: &str = "57";

impl LedgerFault {
    /// Whether a connection was lost, of which it is not known since when: another one may do.
    pub(crate) fn is_lost_connection(&self) -> bool {
        let Self::Database(cause) = self else { return false };
        match cause.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Io(_)) => true,
            Some(sqlx::Error::Database(refused)) => refused
                .code()
                .is_some_and(|code| code.len() == SQLSTATE_LEN && code.starts_with(OPERATOR_INTERVENTION)),
            _ => false,
        }
    }
}

fn is_about_a_row(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    cause
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .and_then(|refused| refused.code())
        .is_some_and(|code| {
            code.len() == SQLSTATE_LEN && ABOUT_A_ROW.iter().any(|class| code.starts_with(class))
        })
}

/// An entry's numbers as 64 signed bits, which is what databases have. That they fit is what makes an entry
/// bookable, so the settler asks for them before it queues one: a queue never waits for an entry that cannot go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) prompt_tokens: i64,
    pub(crate) cached_tokens: i64,
    pub(crate) completion_tokens: i64,
    pub(crate) reasoning_tokens: i64,
    pub(crate) cost_picodollars: i64,
    pub(crate) admitted_at_ms: i64,
    pub(crate) queue_us: i64,
    pub(crate) ttft_us: Option<i64>,
    pub(crate) total_us: i64,
}

impl Numbers {
    pub(crate) fn of(entry: &Entry) -> Result<Self, LedgerFault> {
        let fault = |column| LedgerFault::OutOfRange {
            id: entry.id.to_string(),
            column,
        };
        let fit = |value: u64, column| i64::try_from(value).map_err(|_| fault(column));
        if !entry.usage.is_credible() {
            return Err(fault("tokens"));
        }
        let (usage, timings) = (&entry.usage, &entry.timings);
        Ok(Self {
            prompt_tokens: fit(usage.prompt_tokens, "prompt_tokens")?,
            cached_tokens: fit(usage.cached_tokens, "cached_tokens")?,
            completion_tokens: fit(usage.completion_tokens, "completion_tokens")?,
            reasoning_tokens: fit(usage.reasoning_tokens, "reasoning_tokens")?,
            cost_picodollars: entry.cost.to_i64().map_err(|_| fault("cost"))?,
            admitted_at_ms: fit(entry.admitted_at_ms, "admitted_at_ms")?,
            queue_us: fit(timings.queue_us, "queue_us")?,
            ttft_us: timings.ttft_us.map(|ttft| fit(ttft, "ttft_us")).transpose()?,
            total_us: fit(timings.total_us, "total_us")?,
        })
    }
}
