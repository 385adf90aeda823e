//! The embedded store: one SQLite file in a directory that one farebox owns.
//!
//! It holds what must outlive the process and is not in models.yaml: accounts, keys, limits, settings and price
//! versions. All of it is read into memory at start; nothing here is asked before a request's first byte.
//! The ledger keeps its tables in the same file, through a connection of its own (`crate::ledger`).
//!
//! Architecture invariant: `sqlx` is named under `store` and `ledger` only, and every fault of it ends as a
//! [`StoreFault`] or a `LedgerFault`.

mod directory;
mod migrations;
pub(crate) mod file;
mod accounts;
mod limits;
pub(crate) mod prices;

pub use accounts::{AccountRow, KeyRow};
pub use directory::DataDirectory;
pub use limits::LimitRow;
pub(crate) use migrations::Form;
pub use prices::PriceSource;

use file::Check;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use std::path::{Path, PathBuf};

/// Connections for reading and for administrators' writes; the ledger writes through one of its own.
const POOL_CONNECTIONS: u32 = 4;

/// Entries are too many to be looked through at every start: above a second's worth they are left to
/// `farebox ledger verify`, which reads them all.
const CHECK: Check = Check::Except {
    above: 128 << 20,
    tables: &["entries", "usage_rollups"],
};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The directory belongs to a farebox that runs.
    #[error("another farebox uses the data directory {}", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be made, opened or locked.
    #[error("the data directory {} cannot be used", .0.display())]
    Directory(PathBuf, #[source] std::io::Error),
    /// An account has this name already.
    #[error("the name is taken")]
    NameTaken,
    /// The account that a key or a limit is for does not exist.
    #[error("there is no such account")]
    NoSuchAccount,
    /// A number that the database's 64 signed bits do not hold.
    #[error("{0} is outside the range that can be stored")]
    OutOfRange(&'static str),
    /// A stored value that farebox would not have written.
    #[error("{0} cannot be read back from the store")]
    Unreadable(&'static str),
    /// A file that SQLite cannot read as it wrote it.
    #[error(
        "the database file {} is damaged: {found}. Nothing was changed in it. Keep a copy of it and of its -wal file, \
         then put back a sound copy, or make one with `sqlite3 {} .recover` (docs/LEDGER.md, A damaged file)",
        .path.display(), .path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        found: String,
    },
    /// A file that may not be written, or whose folder may not.
    #[error(
        "the database file {} cannot be opened for writing. Look at the owner and mode of it and of its folder, and \
         whether the disk is mounted read-only", .0.display()
    )]
    NotWritable(PathBuf, #[source] sqlx::Error),
    /// The file was written by a newer farebox, or a migration failed.
    #[error("the store cannot be brought to this version's form")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// SQLite refused.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

/// The store of one data directory. Cheap to clone; the directory is released when the last clone is gone.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
    options: SqliteConnectOptions,
    directory: DataDirectory,
}

impl Store {
    /// Opens the store in `data_dir`, which is made if need be (mode 0700), and brings it to this version's form.
    ///
    /// Every commit is on disk when it returns (WAL, `synchronous=FULL`).
    /// Errors: [`StoreFault::InUse`] where another process holds the directory; [`StoreFault::Directory`],
    /// [`StoreFault::Damaged`], [`StoreFault::NotWritable`], [`StoreFault::Migration`], [`StoreFault::Database`].
    pub async fn open(data_dir: &Path) -> Result<Self, StoreFault> {
        let directory = DataDirectory::claim(data_dir)?;
        let options = file::options(&data_dir.join("farebox.sqlite"));
        let pool = file::open(&options, POOL_CONNECTIONS, CHECK, &migrations::STORE).await?;
        Ok(Self {
            pool,
            options,
            directory,
        })
    }

    /// The directory that it keeps claimed.
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// For reading, and for writes that are not the ledger's.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// How the ledger opens the connection that it alone writes entries through.
    pub(crate) fn connect_options(&self) -> &SqliteConnectOptions {
        &self.options
    }

    /// The setting with this name, if it was ever set.
    pub async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        let value = sqlx::query_scalar("SELECT value FROM settings WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        Ok(value)
    }

    /// Sets the setting with this name, durably.
    pub async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreFault> {
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// A time or count for a column of 64 signed bits.
fn column(value: u64, what: &'static str) -> Result<i64, StoreFault> {
    i64::try_from(value).map_err(|_| StoreFault::OutOfRange(what))
}

#[cfg(test)]
mod tests;
