//! The ledger: one entry a request, booked durably and once, and balances that are the sum of their entries.
//!
//! [`Ledger`] is what a database must do; [`sqlite`] does it in the embedded store. Requests do not call it: they
//! hand their entry to the [`settler`], which books many in one transaction. [`verify`] recomputes all of it.
//! The policy is in docs/LEDGER.md.
//!
//! Architecture invariant: entries are only ever added. There is no call that changes or removes one, and the
//! database refuses it too.

pub mod usage;
pub mod verify;
pub mod sqlite;
pub mod settler;

pub use settler::{SettleFault, Settler, SettlerObserver};
pub use sqlite::SqliteLedger;
pub use usage::{GroupBy, UsageQuery, UsageRow};
pub use verify::{Discrepancy, Verification};

use farebox_domain::ids::{AccountId, RequestId};
use farebox_domain::ledger::Entry;
use farebox_domain::money::Picodollars;
use serde::Serialize;

/// The most entries that one commit takes.
pub const MAX_BATCH: usize = 512;

/// Where entries are booked. Its conformance suite is `tests/it/ledger.rs`, which every implementation passes.
#[async_trait::async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Books entries in one durable transaction and moves the balances with them: all of it or nothing. An id that
    /// is already booked is left as it is, whatever the new entry says, so that repeating a commit is harmless.
    ///
    /// At most [`MAX_BATCH`] entries. Errors: [`LedgerFault::OutOfRange`], [`LedgerFault::TooMany`] and
    /// [`LedgerFault::Overflow`] are about what was asked; the others pass with time, and the same call is then
    /// right to make again.
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault>;

    /// Requests, tokens and cost, summed by what the query names and sorted by it.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault>;

    /// Every account that has an entry, by id.
    async fn balances(&self) -> Result<Vec<Balance>, LedgerFault>;

    /// One request's entry.
    async fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerFault>;

    /// Recomputes every entry from its raw usage and price version, and every balance from its entries, in one
    /// snapshot. Reads the whole ledger; commits go on meanwhile.
    async fn verify(&self) -> Result<Verification, LedgerFault>;
}

/// What an account's entries come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Whose.
    pub account: AccountId,
    /// The sum of its entries' costs: what it owes.
    pub balance: Picodollars,
    /// How many entries that is.
    pub entries: u64,
}

/// Why the ledger did not do what was asked. Nothing was booked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    /// A number of an entry does not fit 64 signed bits: it can never be booked.
    #[error("entry {id} cannot be booked: its {column} is outside the range that can be stored")]
    OutOfRange {
        /// The entry.
        id: RequestId,
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
    /// The database refused, or is away. It may be there again later.
    #[error("the ledger's database refused")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
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
        let fault = |column| LedgerFault::OutOfRange { id: entry.id, column };
        let fit = |value: u64, column| i64::try_from(value).map_err(|_| fault(column));
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
