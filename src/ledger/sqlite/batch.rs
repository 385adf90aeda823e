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
        let of_rank = |rank: usize| text(table, columns, 1 << rank).into();
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

fn text(table: &str, columns: &[&str], rows: usize) -> String {
    let row = format!("(?{})", ", ?".repeat(columns.len() - 1));
    format!(
        "INSERT INTO {table} ({columns})
        SELECT * FROM (VALUES {row}{more_rows}) WHERE column1 IS NOT NULL
        ON CONFLICT (id) DO NOTHING",
        columns = columns.join(", "),
        more_rows = format!(", {row}").repeat(rows - 1),
    )
}

/// The values of a batch, row by row.
pub(in crate::ledger) struct BatchArguments(SqliteArguments);

impl BatchArguments {
    /// With room for so many values.
    pub(in crate::ledger) fn with_capacity(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self(arguments)
    }

    /// As an `Arc<str>`, which sqlx takes over; a `&str` it would copy into an `Arc<String>`, two allocations.
    pub(in crate::ledger) fn text(&mut self, text: &str) -> Result<(), LedgerFault> {
        self.add(Arc::<str>::from(text))
    }

    pub(in crate::ledger) fn add<'t>(
        &mut self,
        value: impl Encode<'t, Sqlite> + Type<Sqlite>,
    ) -> Result<(), LedgerFault> {
        self.0.add(value).map_err(LedgerFault::Database)
    }

    pub(in crate::ledger) fn finish(self) -> SqliteArguments {
        self.0
    }
}
