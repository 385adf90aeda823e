//! A replica's outbox: what it has settled and the ledger that replicas share does not have yet.
//!
//! A request waits for this replica's own disk and for no server: [`Outbox`] is the [`Journal`] of a replica, in a
//! SQLite file of its own. The [`Shipper`] takes the oldest to the ledger and removes them once they are booked there.
//! In between, and after any crash, a settlement may be in both; its request's id makes the second booking nothing.
//!
//! The policy is in docs/LEDGER.md, "The outbox".

mod mark;
mod rows;
mod shipper;

pub use rows::Refused;
pub use shipper::{Bookkeeper, Shipper};

use super::sql::batch;
use super::sql::writer::Writer;
use super::sqlite::batch::{BatchArguments, BatchSql};
use super::sqlite::checkpoints::{self, Checkpoints};
use super::sqlite::log::{Log, left_to_log};
use super::{Journal, LedgerFault, Numbers};
use crate::clock::Clock;
use crate::store::file::{self, Check};
use crate::store::{DataDirectory, Form, StoreFault};
use farebox_domain::ledger::Settlement;
use mark::{Mark, Standing};
use parking_lot::Mutex;
use sqlx::sqlite::{SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqlitePool};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

const FORMS: [Form; 1] = [(
    1,
    "init",
    include_str!("../../../migrations/outbox/0001_init.sql"),
)];

/// The batches', the checkpoints', and those of reading and removing.
const STATEMENTS: usize = BatchSql::STATEMENTS + Checkpoints::STATEMENTS + 16;

const COLUMNS: [&str; 2] = ["id", "body"];

/// For the shipper, and for whoever looks at what was refused.
const READERS: u32 = 2;

/// Why an outbox was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OutboxFault {
    /// The file: damaged, not writable, of a newer farebox.
    #[error(transparent)]
    File(#[from] StoreFault),
    /// The file was opened, and then refused.
    #[error(transparent)]
    Database(#[from] LedgerFault),
    /// The mark cannot be opened or read.
    #[error(
        "the outbox's mark {} cannot be used. Look at its owner and mode; if its text is damaged, remove it: it only \
         tells whether the disk has lost something", .0.display()
    )]
    Mark(PathBuf, #[source] std::io::Error),
    /// Settlements that requests were told of are not in the file.
    #[error(
        "{} has lost up to {} settlements that requests were told of (numbers {first} to {last}): the disk did not \
         keep what it had confirmed, or an older copy of the file was put back. Put back the file together with its \
         -wal file; or, to go on without them, remove {}", .file.display(), .last - .first + 1, .mark.display()
    )]
    Lost {
        /// The outbox.
        file: PathBuf,
        /// What tells.
        mark: PathBuf,
        /// The first that may be lost.
        first: u64,
        /// The last of them.
        last: u64,
    },
}

/// The outbox of one data directory, which stays claimed as long as this lives.
pub struct Outbox {
    clock: Clock,
    sql: BatchSql,
    checkpoints: Checkpoints,
    /// Records and removes.
    writer: Writer<SqliteConnectOptions>,
    readers: SqlitePool,
    log: Log,
    mark: Mutex<Mark>,
    /// Something was recorded.
    arrived: Notify,
    pending: AtomicU64,
    /// A write has begun and nobody saw it end: the next one counts anew.
    in_doubt: AtomicBool,
    refused: AtomicU64,
    /// When the oldest that the shipper has seen was settled, in milliseconds since 1970; 0 if there is none.
    oldest_at_ms: AtomicU64,
    _directory: DataDirectory,
}

impl Outbox {
    /// Opens `outbox.sqlite` in this directory, checks it, and brings it to this version's form. A record is on disk
    /// when it returns (WAL, `synchronous=FULL`).
    pub async fn open(directory: &DataDirectory, clock: Clock) -> Result<Self, OutboxFault> {
        let path = directory.path().join("outbox.sqlite");
        let options = file::options(&path).auto_vacuum(SqliteAutoVacuum::Incremental);
        let readers = file::open(&options, READERS, Check::Whole, &FORMS).await?;
        let mark_path = Mark::path_in(directory.path());
        let mark =
            Mark::open(directory.path()).map_err(|fault| OutboxFault::Mark(mark_path.clone(), fault))?;
        let outbox = Self {
            clock,
            sql: BatchSql::new("outbox", &COLUMNS),
            checkpoints: Checkpoints::new("outbox"),
            writer: Writer::new(left_to_log(options).statement_cache_capacity(STATEMENTS)),
            log: Log::new(readers.clone()),
            readers,
            mark: Mutex::new(mark),
            arrived: Notify::new(),
            pending: AtomicU64::new(0),
            in_doubt: AtomicBool::new(true),
            refused: AtomicU64::new(0),
            oldest_at_ms: AtomicU64::new(0),
            _directory: directory.clone(),
        };
        outbox.check_against_mark(path, mark_path).await?;
        Ok(outbox)
    }

    /// Refuses a file that lacks what requests were told of, and counts what is there.
    async fn check_against_mark(&self, file: PathBuf, mark: PathBuf) -> Result<(), OutboxFault> {
        let Standing {
            acknowledged,
            shipped,
        } = self.mark.lock().standing();
        let last = self
            .writer
            .write(async |connection| rows::last_number(connection).await)
            .await?;
        let kept = last.max(shipped);
        if kept < acknowledged {
            return Err(OutboxFault::Lost {
                file,
                mark,
                first: kept + 1,
                last: acknowledged,
            });
        }
        if last < acknowledged {
            tracing::warn!(
                last,
                acknowledged,
                "the outbox has lost what the ledger has already"
            );
        }
        self.writer
            .write(async |connection| {
                rows::continue_after(connection, acknowledged).await?;
                self.refused
                    .store(rows::count_refused(connection).await?, Ordering::Relaxed);
                self.end_write(connection, true, Change::default()).await
            })
            .await?;
        Ok(())
    }

    async fn add(&self, settlements: &[Settlement]) -> Result<(), LedgerFault> {
        let Some(settlements) = batch(settlements)? else {
            return Ok(());
        };
        let arguments = arguments(settlements)?;
        let sql = self.sql.for_batch(settlements.len());
        self.writer
            .write(async |connection| {
                let in_doubt = self.begin_write();
                let inserted = sqlx::query_with(sql, arguments).execute(&mut *connection).await?;
                let added = inserted.rows_affected();
                let last = u64::try_from(inserted.last_insert_rowid()).unwrap_or(0);
                let change = Change {
                    added,
                    // Without a new row it is the number of some earlier one.
                    acknowledged: if added > 0 { last } else { 0 },
                    ..Change::default()
                };
                self.end_write(connection, in_doubt, change).await
            })
            .await?;
        self.log.grew(settlements.len());
        self.arrived.notify_one();
        Ok(())
    }

    /// Settlements that the ledger does not have yet.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// How long ago the oldest that waits was settled, in milliseconds; `None` if none waits. The shipper knows, so this
    /// stands still while none runs.
    pub fn oldest_ms(&self) -> Option<u64> {
        let at_ms = self.oldest_at_ms.load(Ordering::Relaxed);
        (at_ms > 0).then(|| self.clock.unix_ms().saturating_sub(at_ms))
    }

    /// Settlements that the ledger refused for themselves: somebody must look at them.
    pub fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Begins a write. True if nobody saw the one before it end.
    fn begin_write(&self) -> bool {
        self.in_doubt.swap(true, Ordering::Relaxed)
    }

    /// Ends a write that is durable: the count and the mark move by what it changed. Where the one before it was in
    /// doubt, both are taken anew from what is there.
    async fn end_write(
        &self,
        connection: &mut SqliteConnection,
        in_doubt: bool,
        change: Change,
    ) -> Result<(), LedgerFault> {
        let (pending, acknowledged) = if in_doubt {
            (
                rows::count(connection).await?,
                rows::last_number(connection).await?,
            )
        } else {
            let before = self.pending.load(Ordering::Relaxed);
            let after = (before + change.added).saturating_sub(change.removed);
            (after, change.acknowledged)
        };
        self.pending.store(pending, Ordering::Relaxed);
        self.mark.lock().move_to(acknowledged, change.shipped);
        self.in_doubt.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// What a write did.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    /// Rows.
    added: u64,
    /// Rows.
    removed: u64,
    /// The highest number that is durable by it, or 0.
    acknowledged: u64,
    /// The highest number that the ledger is known to have by it, or 0.
    shipped: u64,
}

/// The arguments that go with the text for these settlements.
fn arguments(settlements: &[Settlement]) -> Result<SqliteArguments, LedgerFault> {
    let mut rows = BatchArguments::with_capacity(settlements.len() * COLUMNS.len());
    for settlement in settlements {
        // What the ledger could never book is refused here, as it would be there.
        Numbers::of(&settlement.entry)?;
        rows.add(settlement.entry.id.as_bytes().to_vec())?;
        rows.add(checkpoints::json(settlement)?)?;
    }
    Ok(rows.finish())
}

#[async_trait::async_trait]
impl Journal for Outbox {
    async fn record(&self, settled: &[Settlement]) -> Result<(), LedgerFault> {
        self.add(settled).await
    }

    async fn checkpoint(&self, open: &[Settlement]) -> Result<(), LedgerFault> {
        self.checkpoints
            .keep(&self.writer, open, |open| open.entry.id)
            .await?;
        self.log.grew(open.len());
        Ok(())
    }

    async fn recover(&self) -> Result<u64, LedgerFault> {
        let record = |left: Vec<Settlement>| async move { self.add(&left).await };
        checkpoints::recover(&self.writer, record).await
    }

    async fn upkeep(&self) {
        self.log.keep_short(&self.writer).await;
    }
}

#[cfg(test)]
mod tests;
