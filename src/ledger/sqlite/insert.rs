//! The text and the arguments of a commit.
//!
//! A text exists for 1, 2, 4, ... 512 rows, so that SQLite's compiled form of it is found again; a batch takes the
//! next larger one. The arguments that it then has too few are NULL to SQLite, and rows without an id are filtered
//! out. 512 rows are 10,752 arguments, below SQLite's 32,766.

use super::super::sql::columns::{COLUMNS, units_json};
use super::super::{LedgerFault, MAX_BATCH, Numbers};
use farebox_domain::ledger::Entry;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};
use std::sync::Arc;

/// The texts, by the binary logarithm of the rows that they have room for.
pub(super) struct InsertSql(Vec<Arc<str>>);

impl InsertSql {
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

fn text(rows: usize) -> String {
    let row = format!("(?{})", ", ?".repeat(COLUMNS.len() - 1));
    format!(
        "INSERT INTO entries ({columns})
        SELECT * FROM (VALUES {row}{more_rows}) WHERE column1 IS NOT NULL
        ON CONFLICT (id) DO NOTHING",
        columns = COLUMNS.join(", "),
        more_rows = format!(", {row}").repeat(rows - 1),
    )
}

/// The arguments that go with the text for these entries.
pub(super) fn arguments<'e>(
    entries: impl ExactSizeIterator<Item = &'e Entry>,
) -> Result<SqliteArguments, LedgerFault> {
    let mut row = Row(SqliteArguments::default());
    row.0.reserve(entries.len() * COLUMNS.len(), 0);
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
        self.add(entry.client_request_id.as_deref().map(Arc::<str>::from))?;
        self.text(entry.account.as_str())?;
        self.text(entry.key.as_str())?;
        self.text(entry.model.as_str())?;
        self.add(
            entry
                .engine
                .as_ref()
                .map(|engine| Arc::<str>::from(engine.as_str())),
        )?;
        self.text(entry.endpoint.as_str())?;
        self.text(entry.state.as_str())?;
        self.add(numbers.prompt_tokens)?;
        self.add(numbers.cached_tokens)?;
        self.add(numbers.completion_tokens)?;
        self.add(numbers.reasoning_tokens)?;
        self.add(units_json(&entry.units)?)?;
        self.text(entry.service_tier.as_str())?;
        self.text(entry.usage_source.as_str())?;
        self.add(entry.price_version.0)?;
        self.add(numbers.cost_picodollars)?;
        self.add(numbers.admitted_at_ms)?;
        self.add(numbers.queue_us)?;
        self.add(numbers.ttft_us)?;
        self.add(numbers.total_us)
    }

    /// As an `Arc<str>`, which sqlx takes over; a `&str` it would copy into an `Arc<String>`, two allocations.
    fn text(&mut self, text: &str) -> Result<(), LedgerFault> {
        self.add(Arc::<str>::from(text))
    }

    fn add<'t>(&mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) -> Result<(), LedgerFault> {
        self.0.add(value).map_err(LedgerFault::Database)
    }
}
