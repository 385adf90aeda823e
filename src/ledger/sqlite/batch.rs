//! The text and the arguments of an insert of many rows.
//!
//! A text exists for 1, 2, 4, ... 512 rows, so that SQLite's compiled form of it is found again; a batch takes the
//! next larger one. The arguments that it then has too few are NULL to SQLite, and rows without an id, which is the
//! first column, are filtered out. A row has at most 63 columns, so 512 of them are below SQLite's 32,766 arguments.

use super::super::{LedgerFault, MAX_BATCH};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};
use std::sync::Arc;

/// The texts, by the binary logarithm of the rows that they have room for.
pub(in crate::ledger) struct BatchSql(Vec<Arc<str>>);

impl BatchSql {
    /// How many texts there are.
    pub(in crate::ledger) const STATEMENTS: usize = rank(MAX_BATCH) + 1;

    /// For rows of these columns, the first of which is `id`. A row whose id is there is left alone.
    pub(in crate::ledger) fn new(table: &str, columns: &[&str]) -> Self {
        Self::with(table, columns, "true", "DO NOTHING")
    }

    /// For those of the rows that are `wanted`, a condition on `column1` and so on. Where a row's id is there, this is done about the
    /// conflict.
    pub(in crate::ledger) fn with(table: &str, columns: &[&str], wanted: &str, conflict: &str) -> Self {
        let of_rank = |rank: usize| text(table, columns, 1 << rank, wanted, conflict).into();
        Self((0..Self::STATEMENTS).map(of_rank).collect())
    }

    /// The text for so many rows, 1 to [`MAX_BATCH`].
    pub(in crate::ledger) fn for_batch(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.0[rank(rows)]))
    }
}

/// The binary logarithm of the next power of two.
const fn rank(rows: usize) -> usize {
    rows.next_power_of_two().trailing_zeros() as usize
}

fn text(table: &str, columns: &[&str], rows: usize, wanted: &str, conflict: &str) -> String {
    let row = format!("(?{})", ", ?".repeat(columns.len() - 1));
    format!(
        "INSERT INTO {table} ({columns})
        SELECT * FROM (VALUES {row}{more_rows}) WHERE column1 IS NOT NULL AND {wanted}
        ON CONFLICT (id) {conflict}",
        columns = columns.join(", "),
        more_rows = format!(", {row}").repeat(rows - 1),
    )
}

/// Texts that are looked for before another is made.
const RECENT: usize = 16;

/// The values of a batch, row by row. Most of its texts are those of the row before, and are one with them: each that is made here
/// is dropped by SQLite's thread, which costs more than to look for it.
pub(in crate::ledger) struct BatchArguments {
    arguments: SqliteArguments,
    recent: Vec<Arc<str>>,
    /// Which of the recent ones gives way.
    oldest: usize,
}

impl BatchArguments {
    /// With room for so many values.
    pub(in crate::ledger) fn with_capacity(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self {
            arguments,
            recent: Vec::with_capacity(RECENT),
            oldest: 0,
        }
    }

    /// As an `Arc<str>`, which sqlx takes over; a `&str` it would copy into an `Arc<String>`, two allocations.
    pub(in crate::ledger) fn text(&mut self, text: &str) -> Result<(), LedgerFault> {
        let text = self.shared(text);
        self.add(text)
    }

    /// The same of one that may be NULL.
    pub(in crate::ledger) fn text_if_any(&mut self, text: Option<&str>) -> Result<(), LedgerFault> {
        let text = text.map(|text| self.shared(text));
        self.add(text)
    }

    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.recent.iter().find(|known| &***known == text) {
            return Arc::clone(known);
        }
        let new = Arc::<str>::from(text);
        match self.recent.get_mut(self.oldest) {
            Some(oldest) => *oldest = Arc::clone(&new),
            None => self.recent.push(Arc::clone(&new)),
        }
        self.oldest = (self.oldest + 1) % RECENT;
        new
    }

    pub(in crate::ledger) fn add<'t>(
        &mut self,
        value: impl Encode<'t, Sqlite> + Type<Sqlite>,
    ) -> Result<(), LedgerFault> {
        self.arguments.add(value).map_err(LedgerFault::Database)
    }

    pub(in crate::ledger) fn finish(self) -> SqliteArguments {
        self.arguments
    }
}
