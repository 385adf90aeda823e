//! Reading rows, whichever database they are of: what is read is the same, so it is read in one place.

use farebox_domain::money::Picodollars;
use sqlx::Row;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// Why a column was not read.
#[derive(Debug, thiserror::Error)]
#[error("the column {column} cannot be read")]
pub(crate) struct ColumnFault {
    /// Its name.
    pub(crate) column: &'static str,
    /// What the database's driver says.
    #[source]
    pub(crate) cause: BoxDynError,
}

/// A row of either database.
pub(crate) trait Columns {
    /// A number, with its sign.
    fn integer(&self, column: &'static str) -> Result<i64, ColumnFault>;
    /// A number, where there is one.
    fn integer_if_any(&self, column: &'static str) -> Result<Option<i64>, ColumnFault>;
    /// A text.
    fn text(&self, column: &'static str) -> Result<&str, ColumnFault>;
    /// A text, where there is one.
    fn text_if_any(&self, column: &'static str) -> Result<Option<&str>, ColumnFault>;
    /// Bytes.
    fn bytes(&self, column: &'static str) -> Result<&[u8], ColumnFault>;
    /// Bytes, where there are some.
    fn bytes_if_any(&self, column: &'static str) -> Result<Option<&[u8]>, ColumnFault>;
    /// A sum of money, in the form in which this database keeps sums.
    fn sum(&self, name: &'static str) -> Result<Picodollars, ColumnFault>;

    /// A time or a count: a number without a sign.
    fn count(&self, column: &'static str) -> Result<u64, ColumnFault> {
        let read = self.integer(column)?;
        u64::try_from(read).map_err(fault_of(column))
    }

    /// A time or a count, where there is one.
    fn count_if_any(&self, column: &'static str) -> Result<Option<u64>, ColumnFault> {
        let read = self.integer_if_any(column)?;
        read.map(|read| u64::try_from(read).map_err(fault_of(column)))
            .transpose()
    }

    /// An amount of 64 bits, where there is one.
    fn amount_if_any(&self, column: &'static str) -> Result<Option<Picodollars>, ColumnFault> {
        let read = self.integer_if_any(column)?;
        Ok(read.map(|picodollars| Picodollars::new(picodollars.into())))
    }
}

pub(super) fn fault_of<E: Into<BoxDynError>>(column: &'static str) -> impl Fn(E) -> ColumnFault {
    move |cause| ColumnFault {
        column,
        cause: cause.into(),
    }
}

macro_rules! read {
    ($($function:ident -> $type:ty),*) => {
        $(fn $function(&self, column: &'static str) -> Result<$type, ColumnFault> {
            self.try_get(column).map_err(fault_of(column))
        })*
    };
}

/// Everything but a sum, which each database keeps in its own way.
macro_rules! read_columns {
    () => {
        read! {
            integer -> i64, integer_if_any -> Option<i64>,
            text -> &str, text_if_any -> Option<&str>,
            bytes -> &[u8], bytes_if_any -> Option<&[u8]>
        }
    };
}

impl Columns for SqliteRow {
    read_columns!();

    /// Two columns, `..._high` and `..._low`: high * 2^32 + low picodollars. A sum does not fit into 64 bits, and SQLite
    /// would go on with a float.
    fn sum(&self, name: &'static str) -> Result<Picodollars, ColumnFault> {
        let half = |which: &str| -> Result<i64, ColumnFault> {
            self.try_get(format!("{name}_{which}").as_str())
                .map_err(fault_of(name))
        };
        let (high, low) = (half("high")?, half("low")?);
        Ok(Picodollars::new((i128::from(high) << 32) + i128::from(low)))
    }
}

impl Columns for PgRow {
    read_columns!();

    /// A NUMERIC, shown as text: it has as many digits as it needs, and none behind a point.
    fn sum(&self, name: &'static str) -> Result<Picodollars, ColumnFault> {
        let digits = self.text(name)?;
        Picodollars::parse(digits)
            .ok_or_else(|| fault_of(name)(format!("`{digits}` is no sum of picodollars")))
    }
}
