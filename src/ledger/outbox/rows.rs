//! The outbox's rows: reading the oldest, removing what was shipped, putting aside what was refused.

use super::{Change, LedgerFault, Outbox};
use farebox_domain::ledger::Settlement;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use std::sync::atomic::Ordering;

/// Free pages (4 KiB) that a file keeps, to be written again. What an outage left beyond that is given back.
const KEPT_PAGES: u64 = 1_024;
/// Pages that are given back at once; a record waits for that long at the most.
const PAGES_A_STEP: u64 = 2_048;

/// What is to be shipped next.
#[derive(Debug)]
pub(super) enum Oldest {
    /// Nothing.
    None,
    /// These, of which the last has this number.
    Batch(Vec<Settlement>, u64),
    /// A row that is no settlement; its number.
    Unreadable(u64),
}

/// A settlement that the ledger refused for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the order.
    pub number: u64,
    /// The settlement (JSON).
    pub body: String,
    /// What the ledger said.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub refused_at_ms: u64,
}

impl Outbox {
    /// The oldest settlements, at most so many, in the order in which they were recorded.
    pub(super) async fn oldest(&self, at_most: usize) -> Result<Oldest, LedgerFault> {
        let rows = sqlx::query("SELECT seq, body FROM outbox ORDER BY seq LIMIT ?")
            .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        let mut settlements = Vec::with_capacity(rows.len());
        let mut last = 0;
        for row in &rows {
            let number: u64 = row.try_get("seq")?;
            match settlement_of(row) {
                Some(settlement) => settlements.push(settlement),
                None if settlements.is_empty() => return Ok(Oldest::Unreadable(number)),
                // Its turn comes after those before it.
                None => break,
            }
            last = number;
        }
        let settled_at = settlements.first().map_or(0, settled_at_ms);
        self.oldest_at_ms.store(settled_at, Ordering::Relaxed);
        Ok(match settlements.is_empty() {
            true => Oldest::None,
            false => Oldest::Batch(settlements, last),
        })
    }

    /// Removes all up to and with this number: the ledger has them.
    ///
    /// This is not flushed to the disk by itself, only with the next record: a removal that is lost is made again after
    /// the same settlements were booked again, which changes nothing.
    pub(super) async fn remove_through(&self, number: u64) -> Result<(), LedgerFault> {
        let last = i64::try_from(number).map_err(|_| LedgerFault::Overflow)?;
        self.writer
            .write(async |connection| {
                let in_doubt = self.begin_write();
                set_synchronous(connection, "NORMAL").await?;
                let removed = sqlx::query("DELETE FROM outbox WHERE seq <= ?")
                    .bind(last)
                    .execute(&mut *connection)
                    .await?
                    .rows_affected();
                set_synchronous(connection, "FULL").await?;
                let change = Change {
                    removed,
                    shipped: number,
                    ..Change::default()
                };
                self.end_write(connection, in_doubt, change).await
            })
            .await
    }

    /// Puts one aside, durably: it is no longer in the way of those behind it.
    pub(super) async fn refuse(&self, number: u64, reason: &str) -> Result<(), LedgerFault> {
        let seq = i64::try_from(number).map_err(|_| LedgerFault::Overflow)?;
        let now = i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX);
        self.writer
            .write(async |connection| {
                let in_doubt = self.begin_write();
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                sqlx::query(
                    "INSERT INTO refused (seq, id, body, reason, refused_at_ms)
                     SELECT seq, id, body, ?, ? FROM outbox WHERE seq = ?",
                )
                .bind(reason)
                .bind(now)
                .bind(seq)
                .execute(&mut *transaction)
                .await?;
                let removed = sqlx::query("DELETE FROM outbox WHERE seq = ?")
                    .bind(seq)
                    .execute(&mut *transaction)
                    .await?
                    .rows_affected();
                transaction.commit().await?;
                self.refused.fetch_add(removed, Ordering::Relaxed);
                let change = Change {
                    removed,
                    ..Change::default()
                };
                self.end_write(connection, in_doubt, change).await
            })
            .await
    }

    /// What the ledger refused for itself, the oldest first.
    pub async fn refused(&self) -> Result<Vec<Refused>, LedgerFault> {
        let rows = sqlx::query(
            "SELECT seq, CAST(body AS BLOB) AS body, reason, refused_at_ms FROM refused ORDER BY seq",
        )
        .fetch_all(&self.readers)
        .await?;
        let read = |row: &SqliteRow| {
            Ok(Refused {
                number: row.try_get("seq")?,
                body: String::from_utf8_lossy(row.try_get("body")?).into_owned(),
                reason: row.try_get("reason")?,
                refused_at_ms: row.try_get("refused_at_ms")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Gives the disk back what an outage took and nobody needs any more, a step at a time.
    pub(super) async fn give_back(&self) -> Result<(), LedgerFault> {
        loop {
            let given = self.writer.write(async |connection| give_back(connection).await);
            if !given.await? {
                return Ok(());
            }
        }
    }
}

fn settlement_of(row: &SqliteRow) -> Option<Settlement> {
    serde_json::from_str(row.try_get("body").ok()?).ok()
}

fn settled_at_ms(settlement: &Settlement) -> u64 {
    let entry = &settlement.entry;
    entry
        .admitted_at_ms
        .saturating_add(entry.timings.total_us / 1_000)
}

/// SQLite acts on this when it compiles it, so it must be compiled each time.
async fn set_synchronous(connection: &mut SqliteConnection, level: &'static str) -> Result<(), LedgerFault> {
    sqlx::query(AssertSqlSafe(format!("PRAGMA synchronous = {level}")))
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(())
}

/// One step. False if there was nothing to do.
async fn give_back(connection: &mut SqliteConnection) -> Result<bool, LedgerFault> {
    let free: u64 = sqlx::query_scalar("PRAGMA freelist_count")
        .fetch_one(&mut *connection)
        .await?;
    let spare = free.saturating_sub(KEPT_PAGES).min(PAGES_A_STEP);
    if spare == 0 {
        return Ok(false);
    }
    sqlx::query(AssertSqlSafe(format!("PRAGMA incremental_vacuum({spare})")))
        .persistent(false)
        .execute(&mut *connection)
        .await?;
    let left: u64 = sqlx::query_scalar("PRAGMA freelist_count")
        .fetch_one(connection)
        .await?;
    // A file that was made without it gives nothing back.
    Ok(left < free)
}

/// The highest number that was ever given.
pub(super) async fn last_number(connection: &mut SqliteConnection) -> Result<u64, LedgerFault> {
    let last = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        .fetch_optional(connection)
        .await?;
    Ok(last.unwrap_or(0))
}

/// Sees to it that every new number is above this one.
pub(super) async fn continue_after(
    connection: &mut SqliteConnection,
    number: u64,
) -> Result<(), LedgerFault> {
    let last = last_number(connection).await?.max(number);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)")
        .bind(i64::try_from(last).map_err(|_| LedgerFault::Overflow)?)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// Rows that wait.
pub(super) async fn count(connection: &mut SqliteConnection) -> Result<u64, LedgerFault> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM outbox")
        .fetch_one(connection)
        .await?)
}

/// Rows that were put aside.
pub(super) async fn count_refused(connection: &mut SqliteConnection) -> Result<u64, LedgerFault> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM refused")
        .fetch_one(connection)
        .await?)
}
