//! Opening a SQLite file of the data directory: the embedded store's, and a replica's outbox. A file that is damaged or
//! cannot be written is refused here, with what to do about it, and not at the first request that would be lost.

use super::StoreFault;
use super::migrations::{self, Form};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another connection's write to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Rows that are read before they are asked for. A start reads every key, and where it waits for each few of them, waiting is
/// most of what it does.
const ROWS_AHEAD: usize = 1000;

/// `SQLITE_READONLY`, `SQLITE_CANTOPEN`, `SQLITE_PERM`: the file or its folder may not be written.
const NOT_WRITABLE: [i32; 3] = [8, 14, 3];
/// `SQLITE_CORRUPT`, `SQLITE_NOTADB`.
const DAMAGED: [i32; 2] = [11, 26];

/// What of a file is checked when it is opened. SQLite reads 150 MB a second for it where the disk is cold and others are
/// busy, and up to 1 GB.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    /// All of it.
    Whole,
    /// All of it up to this size; of a larger file what is not in these tables.
    Except {
        /// In bytes.
        above: u64,
        /// The large ones.
        tables: &'static [&'static str],
    },
}

/// How every SQLite file is opened: a commit is on disk when it returns (WAL, `synchronous=FULL`).
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging()
}

/// Opens the file, which is made if need be, checks it and brings it to this version's form.
///
/// Errors: [`StoreFault::Damaged`], [`StoreFault::NotWritable`], [`StoreFault::Migration`], [`StoreFault::Database`].
pub(crate) async fn open(
    options: &SqliteConnectOptions,
    connections: u32,
    check: Check,
    forms: &[Form],
) -> Result<SqlitePool, StoreFault> {
    let path = options.get_filename();
    let named = |fault| name_fault(path, fault);
    let mut first = options.connect().await.map_err(named)?;
    let found = look_through(&mut first, path, check).await.map_err(named)?;
    if let Some(found) = found {
        return Err(damaged(path, found));
    }
    // A file that may not be written is opened for reading without a word.
    first
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(named)?
        .rollback()
        .await
        .map_err(named)?;
    first.close().await.map_err(named)?;
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .connect_with(options.clone())
        .await
        .map_err(named)?;
    migrations::run(&pool, forms).await?;
    Ok(pool)
}

/// The first fault that SQLite finds in its own structure, which is all that it knows: a number that became another
/// one it does not see.
async fn look_through(
    connection: &mut SqliteConnection,
    path: &Path,
    check: Check,
) -> Result<Option<String>, sqlx::Error> {
    let (above, large) = match check {
        Check::Whole => (u64::MAX, [].as_slice()),
        Check::Except { above, tables } => (above, tables),
    };
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes <= above {
        return quick_check(connection, "1").await;
    }
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await?;
    for table in tables.iter().filter(|table| !large.contains(&table.as_str())) {
        let found = quick_check(connection, &format!("'{}'", table.replace('\'', "''"))).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn quick_check(connection: &mut SqliteConnection, of: &str) -> Result<Option<String>, sqlx::Error> {
    let found: String = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA quick_check({of})")))
        .fetch_one(connection)
        .await?;
    Ok((found != "ok").then_some(found))
}

/// Says what a fault of opening means.
fn name_fault(path: &Path, fault: sqlx::Error) -> StoreFault {
    let code = fault
        .as_database_error()
        .and_then(|refused| refused.code()?.parse().ok())
        .map(|extended: i32| extended & 0xff);
    match code {
        Some(code) if DAMAGED.contains(&code) => damaged(path, fault.to_string()),
        Some(code) if NOT_WRITABLE.contains(&code) => StoreFault::NotWritable(path.to_path_buf(), fault),
        _ => fault.into(),
    }
}

fn damaged(path: &Path, found: String) -> StoreFault {
    StoreFault::Damaged {
        path: path.to_path_buf(),
        found: found.replace('\n', " "),
    }
}
