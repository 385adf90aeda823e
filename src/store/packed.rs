//! Rows of SQLite by the thousand, each thousand as one value: what a start reads by the million.
//!
//! The driver hands every row from one thread to another and makes an allocation of every value, which is most of what
//! reading them costs. So SQLite writes many rows into one text (JSON), which is taken apart here.

use super::StoreFault;
use super::row::{ColumnFault, Columns, fault_of};
use farebox_domain::money::Picodollars;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Row};
use std::borrow::Cow;
use std::fmt;

/// Rows in one value: a few hundred kilobytes.
const ROWS: usize = 1_000;

/// A table whose primary key is `id`, and what is read of it.
pub(super) struct Packed {
    /// Its name.
    pub(super) table: &'static str,
    /// Their names; `true`: bytes, which go as hex digits.
    pub(super) columns: &'static [(&'static str, bool)],
}

impl Packed {
    /// Hands over every row, in the order of their ids.
    pub(super) async fn each(
        &self,
        pool: &SqlitePool,
        mut take: impl FnMut(&PackedRow<'_>) -> Result<(), StoreFault>,
    ) -> Result<(), StoreFault> {
        let sql = self.sql();
        let mut after = String::new();
        loop {
            let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(&after);
            let page = query.fetch_one(pool).await?;
            let Some(last) = page.try_get::<Option<String>, _>(0)? else {
                return Ok(());
            };
            let unreadable = |_| StoreFault::Unreadable("what was packed");
            let rows: Vec<Vec<Cell<'_>>> = serde_json::from_str(page.try_get(1)?).map_err(unreadable)?;
            for cells in rows {
                take(&self.row(cells)?)?;
            }
            after = last;
        }
    }

    fn sql(&self) -> String {
        let columns = self.columns.iter().map(|(name, is_bytes)| match is_bytes {
            // Of nothing, hex() makes no digits.
            true => format!("iif({name} IS NULL, NULL, hex({name}))"),
            false => (*name).to_owned(),
        });
        format!(
            "SELECT max(id), json_group_array(json_array({})) FROM (SELECT * FROM {} WHERE id > $1 ORDER BY id LIMIT {ROWS})",
            columns.collect::<Vec<_>>().join(", "),
            self.table
        )
    }

    fn row<'a>(&self, mut cells: Vec<Cell<'a>>) -> Result<PackedRow<'a>, StoreFault> {
        for (cell, (_, is_bytes)) in cells.iter_mut().zip(self.columns) {
            if let (true, Cell::Text(digits)) = (is_bytes, &*cell) {
                let unreadable = |_| StoreFault::Unreadable("what was packed");
                let bytes = hex::decode(digits.as_bytes()).map_err(unreadable)?;
                *cell = Cell::Bytes(bytes);
            }
        }
        Ok(PackedRow {
            columns: self.columns,
            cells,
        })
    }
}

/// One of the rows.
pub(super) struct PackedRow<'a> {
    columns: &'static [(&'static str, bool)],
    cells: Vec<Cell<'a>>,
}

/// A value, as JSON has it, or bytes that were read from their digits.
enum Cell<'a> {
    Null,
    Integer(i64),
    Text(Cow<'a, str>),
    Bytes(Vec<u8>),
}

impl PackedRow<'_> {
    /// The cell, if there is something in it.
    fn cell(&self, column: &'static str) -> Result<Option<&Cell<'_>>, ColumnFault> {
        let at = self.columns.iter().position(|(name, _)| *name == column);
        let cell = at.and_then(|at| self.cells.get(at));
        let cell = cell.ok_or_else(|| fault_of(column)("it was not read"))?;
        Ok((!matches!(cell, Cell::Null)).then_some(cell))
    }
}

fn missing<T>(column: &'static str, found: Option<T>) -> Result<T, ColumnFault> {
    found.ok_or_else(|| fault_of(column)("it is NULL"))
}

fn of_another_type<T>(column: &'static str) -> Result<T, ColumnFault> {
    Err(fault_of(column)("it is of another type"))
}

impl Columns for PackedRow<'_> {
    fn integer(&self, column: &'static str) -> Result<i64, ColumnFault> {
        missing(column, self.integer_if_any(column)?)
    }

    fn integer_if_any(&self, column: &'static str) -> Result<Option<i64>, ColumnFault> {
        match self.cell(column)? {
            None => Ok(None),
            Some(Cell::Integer(number)) => Ok(Some(*number)),
            Some(_) => of_another_type(column),
        }
    }

    fn text(&self, column: &'static str) -> Result<&str, ColumnFault> {
        missing(column, self.text_if_any(column)?)
    }

    fn text_if_any(&self, column: &'static str) -> Result<Option<&str>, ColumnFault> {
        match self.cell(column)? {
            None => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(_) => of_another_type(column),
        }
    }

    fn bytes(&self, column: &'static str) -> Result<&[u8], ColumnFault> {
        missing(column, self.bytes_if_any(column)?)
    }

    fn bytes_if_any(&self, column: &'static str) -> Result<Option<&[u8]>, ColumnFault> {
        match self.cell(column)? {
            None => Ok(None),
            Some(Cell::Bytes(bytes)) => Ok(Some(bytes)),
            Some(_) => of_another_type(column),
        }
    }

    fn sum(&self, name: &'static str) -> Result<Picodollars, ColumnFault> {
        of_another_type(name)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Cell<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Cell<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, a text or null")
            }

            fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
                Ok(Cell::Null)
            }

            fn visit_i64<E>(self, number: i64) -> Result<Cell<'de>, E> {
                Ok(Cell::Integer(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Cell<'de>, E> {
                i64::try_from(number).map(Cell::Integer).map_err(E::custom)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cell<'de>, E> {
                Ok(Cell::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Cell<'de>, E> {
                Ok(Cell::Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_any(Any)
    }
}
