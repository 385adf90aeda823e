//! The text and the arguments of a commit.
//!
//! A text exists for 1, 2, 4, ... 512 rows, so that SQLite's compiled form of it is found again; a batch takes the
//! next larger one, and the rows that it has too many are NULL and filtered out. All arguments of a commit of 512
//! are 11,264, below SQLite's 32,766.

use super::super::{LedgerFault, MAX_BATCH, Numbers};
use super::Moved;
use super::columns::COLUMNS;
use farebox_domain::ids::EngineName;
use farebox_domain::ledger::Entry;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};
use std::sync::Arc;

const BALANCE_COLUMNS: usize = 3;

/// The texts, by the binary logarithm of the rows that they have room for.
pub(super) struct CommitSql(Vec<Arc<str>>);

impl CommitSql {
    /// How many texts there are.
    pub(super) const STATEMENTS: usize = rank(MAX_BATCH) + 1;

    pub(super) fn new() -> Self {
        Self((0..Self::STATEMENTS).map(|rank| text(1 << rank).into()).collect())
    }

    /// The text for so many entries, 1 to [`MAX_BATCH`].
    pub(super) fn for_batch(&self, entries: usize) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.0[rank(entries)]))
    }
}

/// The binary logarithm of the next power of two.
const fn rank(entries: usize) -> usize {
    entries.next_power_of_two().trailing_zeros() as usize
}

/// The entries come last: the arguments of rows that a batch has too few are then left out at the end, and SQLite
/// takes them as NULL. A batch never has more accounts than entries.
fn text(rows: usize) -> String {
    let values = |columns: usize| {
        let row = format!("(?{})", ", ?".repeat(columns - 1));
        format!("{row}{}", format!(", {row}").repeat(rows - 1))
    };
    format!(
        "BEGIN IMMEDIATE;
        INSERT INTO account_balances (account, balance_picodollars, entries)
        SELECT * FROM (VALUES {balances}) WHERE column1 IS NOT NULL
        ON CONFLICT (account) DO UPDATE
        SET balance_picodollars = excluded.balance_picodollars, entries = excluded.entries;
        INSERT INTO entries ({columns})
        SELECT * FROM (VALUES {entries}) WHERE column1 IS NOT NULL;
        COMMIT",
        balances = values(BALANCE_COLUMNS),
        columns = COLUMNS.join(", "),
        entries = values(COLUMNS.len()),
    )
}

/// The arguments that go with the text for these entries.
pub(super) fn commit_arguments(moved: &Moved, entries: &[Entry]) -> Result<SqliteArguments, LedgerFault> {
    let rows = 1 << rank(entries.len());
    let mut row = Row(SqliteArguments::default());
    row.0.reserve(rows * (BALANCE_COLUMNS + COLUMNS.len()), 0);
    for (account, tally) in moved {
        row.add(account.as_str())?;
        row.add(tally.sum.get().to_string())?;
        row.add(i64::try_from(tally.entries).map_err(|_| LedgerFault::Overflow)?)?;
    }
    for _ in 0..(rows - moved.len()) * BALANCE_COLUMNS {
        row.add(None::<i64>)?;
    }
    for entry in entries {
        row.entry(entry)?;
    }
    Ok(row.0)
}

struct Row(SqliteArguments);

impl Row {
    /// In the order of [`COLUMNS`].
    fn entry(&mut self, entry: &Entry) -> Result<(), LedgerFault> {
        let numbers = Numbers::of(entry)?;
        self.add(entry.id.as_bytes().to_vec())?;
        self.add(entry.client_request_id.as_deref())?;
        self.add(entry.account.as_str())?;
        self.add(entry.key.as_str())?;
        self.add(entry.model.as_str())?;
        self.add(entry.engine.as_ref().map(EngineName::as_str))?;
        self.add(entry.endpoint.as_str())?;
        self.add(entry.state.as_str())?;
        self.add(numbers.prompt_tokens)?;
        self.add(numbers.cached_tokens)?;
        self.add(numbers.completion_tokens)?;
        self.add(numbers.reasoning_tokens)?;
        self.add(entry.usage_source.as_str())?;
        self.add(entry.price_version.0)?;
        self.add(numbers.cost_picodollars)?;
        self.add(numbers.admitted_at_ms)?;
        self.add(numbers.queue_us)?;
        self.add(numbers.ttft_us)?;
        self.add(numbers.total_us)
    }

    fn add<'t>(&mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) -> Result<(), LedgerFault> {
        self.0.add(value).map_err(LedgerFault::Database)
    }
}
