//! The store: a SQLite file in a directory that one farebox owns, or a PostgreSQL that replicas share.
//!
//! It holds what must outlive the process and is not in models.yaml: accounts, keys, limits, settings and price
//! versions. All of it is read into memory at start; nothing here is asked before a request's first byte.
//! The ledger keeps its tables in the same database, through a connection of its own (`crate::ledger`).
//!
//! `database` is the two of them, `row` how their rows are read alike; what is asked of them is written once.
//!
//! Architecture invariant: `sqlx` is named under `store` and `ledger` only, and every fault of it ends as a
//! [`StoreFault`] or a `LedgerFault`.

mod directory;
mod url;
pub(crate) mod database;
pub(crate) mod row;
mod packed;
mod migrations;
pub(crate) mod file;
mod accounts;
mod keys;
mod limits;
mod rates;
mod requests;
mod drained;
mod staff;
mod audit;
pub(crate) mod prices;
mod revision;
mod sessions;
mod series;
pub(crate) mod history;

pub use accounts::AccountRow;
pub use audit::{AuditPage, AuditRow, NewAudit};
pub use directory::DataDirectory;
pub use history::HistoryFault;
pub use keys::{JwtVerifier, KeyRow, PreviousSecret};
pub use limits::LimitRow;
pub(crate) use migrations::Form;
pub use migrations::{Step, migrate, missing};
pub use prices::PriceSource;
pub use rates::RateRow;
pub use requests::{Decision, LimitRequestRow, RequestState};
pub use revision::Changes;
pub use series::{ProcessRow, SeriesRow};
pub use sessions::SessionRow;
pub use staff::AdminTokenRow;
pub use url::DatabaseUrl;

use database::{Database, on};
use history::History;
use row::ColumnFault;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
         then put back a sound copy, or make one of what can still be read: `sqlite3 {} .dump` (docs/LEDGER.md, A damaged \
         file)",
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
        "the database file {} cannot be opened for writing. Look at the owner and mode of it, of its -wal and -shm files \
         and of its folder, and whether the disk is mounted read-only", .0.display()
    )]
    NotWritable(PathBuf, #[source] sqlx::Error),
    /// The file was written by a newer farebox, or a migration failed.
    #[error("the store cannot be brought to this version's form: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The PostgreSQL is of an older farebox. It is not changed by a start: another replica may be running on it.
    #[error(
        "the database is of an older farebox: it lacks {0}. Run `farebox migrate` with the same --database first"
    )]
    OldForm(Step),
    /// The PostgreSQL is of a newer farebox.
    #[error(
        "the database is of a newer farebox: it has the form {0}, which this one does not know. Run the version that \
         migrated it, or a later one"
    )]
    NewerForm(i64),
    /// No PostgreSQL is named by this.
    #[error("the database's URL does not hold: {0}")]
    Url(String),
    /// Nobody answers there, or not to us.
    #[error("no PostgreSQL can be used at {url}: {cause}")]
    Away {
        /// Where it should be.
        url: DatabaseUrl,
        /// What it said, or the socket did.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The PostgreSQL is not the one that this data directory books in, or lacks what it had.
    #[error(transparent)]
    History(#[from] HistoryFault),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

impl From<ColumnFault> for StoreFault {
    fn from(fault: ColumnFault) -> Self {
        Self::Unreadable(fault.column)
    }
}

/// The store, and the data directory that comes with it. Cheap to clone; the directory is released when the last clone
/// is gone.
#[derive(Clone)]
pub struct Store {
    database: Database,
    directory: DataDirectory,
}

impl Store {
    /// Opens the store in `data_dir`, which is made if need be (mode 0700), and brings it to this version's form.
    ///
    /// Every commit is on disk when it returns.
    /// Errors: [`StoreFault::InUse`] where another process holds the directory; [`StoreFault::Directory`],
    /// [`StoreFault::Damaged`], [`StoreFault::NotWritable`], [`StoreFault::Migration`], [`StoreFault::Database`].
    pub async fn open(data_dir: &Path) -> Result<Self, StoreFault> {
        let directory = DataDirectory::claim(data_dir)?;
        let opened = Database::open_file(&data_dir.join("farebox.sqlite")).await?;
        Ok(Self {
            database: Database::Sqlite(opened),
            directory,
        })
    }

    /// Opens the store in the PostgreSQL at this URL, which must be of this version's form. The data directory is
    /// claimed all the same: it holds what is this replica's alone.
    ///
    /// Every commit is on disk when it returns.
    /// Errors: [`StoreFault::InUse`], [`StoreFault::Directory`]; [`StoreFault::OldForm`], [`StoreFault::NewerForm`],
    /// [`StoreFault::Migration`] where the form is another; [`StoreFault::History`] where it is not this directory's ledger
    /// or lacks some of it; [`StoreFault::Away`], [`StoreFault::Database`].
    pub async fn connect(data_dir: &Path, url: &DatabaseUrl) -> Result<Self, StoreFault> {
        let directory = DataDirectory::claim(data_dir)?;
        migrations::require_current(url).await?;
        let history = Arc::new(History::open(&directory)?);
        let checked = history.check(&mut database::connect(url).await?).await;
        checked.map_err(history::fault_of)?;
        Ok(Self {
            database: Database::Postgres(Database::open_server(url, history)),
            directory,
        })
    }

    /// The directory that it keeps claimed.
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The setting with this name, if it was ever set.
    pub async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        let value = on!(&self.database, pool => {
            sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
                .bind(name)
                .fetch_optional(pool)
                .await
        });
        Ok(value?)
    }

    /// The setting with this name; if it was never set, it is set to this, durably. Of several who set it at once, all get
    /// what one of them gave.
    pub async fn setting_or(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreFault> {
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        on!(&self.database, pool => {
            sqlx::query(sql).bind(name).bind(value).execute(pool).await?;
        });
        self.setting(name)
            .await?
            .ok_or(StoreFault::Unreadable("a setting"))
    }

    /// Sets the setting with this name, durably.
    pub async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreFault> {
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2)
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        on!(&self.database, pool => {
            sqlx::query(sql).bind(name).bind(value).execute(pool).await?;
        });
        Ok(())
    }
}

/// A time or count for a column of 64 signed bits.
fn column(value: u64, what: &'static str) -> Result<i64, StoreFault> {
    i64::try_from(value).map_err(|_| StoreFault::OutOfRange(what))
}
