//! The export's queue in SQLite: `undelivered`, filled by triggers that are there only while export is switched on.
//!
//! What was rejected: triggers that are always there and ask a setting (`WHEN EXISTS (...)`). That costs every entry of
//! every farebox 0.3 us, of the 5 that an entry costs in SQLite; a trigger that is not there costs nothing.

use super::super::{EventId, ExportItem, ExportQueue, LedgerFault, QueueCounts, RefusedEvent};
use super::SqliteLedger;
use super::columns::{ADJUSTMENT_COLUMNS, COLUMNS, adjustment_of, entry_of};
use super::query::{bound, lowest_id};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Executor, QueryBuilder, Row};
use std::collections::BTreeMap;
use std::time::Duration;

/// In `settings` while export is switched on.
const SETTING: &str = "export";
/// `OR IGNORE` would not do: the conflict rule of the statement that books comes before a trigger's own, and a booking
/// that failed because its event waits already would be worse than an event that is told twice.
const FILL_FROM_ENTRIES: &str = "CREATE TRIGGER IF NOT EXISTS entries_are_exported AFTER INSERT ON entries
    BEGIN INSERT INTO undelivered VALUES (NEW.id) ON CONFLICT DO NOTHING; END";
const FILL_FROM_ADJUSTMENTS: &str =
    "CREATE TRIGGER IF NOT EXISTS adjustments_are_exported AFTER INSERT ON adjustments
    BEGIN INSERT INTO undelivered VALUES (NEW.id) ON CONFLICT DO NOTHING; END";
/// Ids of one statement of `delivered`; SQLite takes 32,766 arguments.
const IDS_AT_ONCE: usize = 1000;
/// Ids that one statement of `backfill` puts in, so that it does not keep settlements waiting.
const BACKFILLED_AT_ONCE: i64 = 2000;
/// Refused events that are shown.
const REFUSED_SHOWN: i64 = 20;

#[async_trait::async_trait]
impl ExportQueue for SqliteLedger {
    async fn is_switched_on(&self) -> Result<bool, LedgerFault> {
        Ok(self.store.setting(SETTING).await?.is_some())
    }

    async fn switch_on(&self) -> Result<(), LedgerFault> {
        self.write(async |writer| {
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            transaction.execute(FILL_FROM_ENTRIES).await?;
            transaction.execute(FILL_FROM_ADJUSTMENTS).await?;
            sqlx::query("INSERT INTO settings VALUES (?, x'01') ON CONFLICT (name) DO NOTHING")
                .bind(SETTING)
                .execute(&mut *transaction)
                .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    async fn switch_off(&self) -> Result<(), LedgerFault> {
        self.write(async |writer| {
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            for statement in [
                "DROP TRIGGER IF EXISTS entries_are_exported",
                "DROP TRIGGER IF EXISTS adjustments_are_exported",
                "DELETE FROM undelivered",
                "DELETE FROM export_refused",
            ] {
                transaction.execute(statement).await?;
            }
            sqlx::query("DELETE FROM settings WHERE name = ?")
                .bind(SETTING)
                .execute(&mut *transaction)
                .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// One farebox owns the file, so nobody else can be given them and `hold` means nothing.
    async fn undelivered(&self, limit: u32, _hold: Duration) -> Result<Vec<ExportItem>, LedgerFault> {
        let mut snapshot = self.store.pool().begin().await?;
        let ids: Vec<Vec<u8>> = sqlx::query_scalar("SELECT id FROM undelivered ORDER BY id LIMIT ?")
            .bind(i64::from(limit))
            .fetch_all(&mut *snapshot)
            .await?;
        let entries = rows_of(&mut snapshot, "entries", &COLUMNS, &ids).await?;
        let adjustments = rows_of(&mut snapshot, "adjustments", &ADJUSTMENT_COLUMNS, &ids).await?;
        snapshot.rollback().await?;
        let item = |id: &Vec<u8>| {
            let event =
                EventId::try_from(id.as_slice()).map_err(|_| LedgerFault::Unreadable("an event's id"))?;
            let entry = entries.get(id).and_then(|row| entry_of(row).ok());
            let adjustment = adjustments.get(id).and_then(|row| adjustment_of(row).ok());
            Ok(match (entry, adjustment) {
                (Some(entry), _) => ExportItem::Entry(entry),
                (None, Some(adjustment)) => ExportItem::Adjustment(adjustment),
                (None, None) => ExportItem::Unreadable(event),
            })
        };
        ids.iter().map(item).collect()
    }

    async fn delivered(&self, ids: &[EventId]) -> Result<(), LedgerFault> {
        for some in ids.chunks(IDS_AT_ONCE) {
            self.write(async |writer| {
                let mut delete = QueryBuilder::new("DELETE FROM undelivered WHERE id IN (");
                list(&mut delete, some);
                delete.build().execute(writer).await?;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn give_back(&self, _ids: &[EventId]) -> Result<(), LedgerFault> {
        Ok(())
    }

    async fn set_aside(&self, refused: &RefusedEvent) -> Result<(), LedgerFault> {
        self.write(async |writer| {
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("DELETE FROM undelivered WHERE id = ?")
                .bind(refused.id.as_slice())
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "INSERT INTO export_refused VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                 status = excluded.status, reason = excluded.reason, refused_at_ms = excluded.refused_at_ms",
            )
            .bind(refused.id.as_slice())
            .bind(refused.status)
            .bind(refused.reason.as_str())
            .bind(bound(Some(refused.refused_at_ms)))
            .execute(&mut *transaction)
            .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    async fn retry_refused(&self) -> Result<u64, LedgerFault> {
        self.write(async |writer| {
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            transaction
                .execute("INSERT OR IGNORE INTO undelivered SELECT id FROM export_refused")
                .await?;
            let retried = transaction.execute("DELETE FROM export_refused").await?;
            transaction.commit().await?;
            Ok(retried.rows_affected())
        })
        .await
    }

    async fn backfill(&self, since_ms: u64) -> Result<u64, LedgerFault> {
        let from_id = lowest_id(Some(since_ms)).as_bytes().to_vec();
        let mut added = 0_u64;
        for (table, time) in [("entries", "admitted_at_ms"), ("adjustments", "booked_at_ms")] {
            let mut from = from_id.clone();
            while let Some((last, more)) = self
                .write(async |writer| backfill_some(writer, table, time, since_ms, &from).await)
                .await?
            {
                (from, added) = (last, added.saturating_add(more));
            }
        }
        Ok(added)
    }

    async fn counts(&self) -> Result<QueueCounts, LedgerFault> {
        let pool = self.store.pool();
        let count = |table| AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let rows = sqlx::query(
            "SELECT refused.*, EXISTS (SELECT 1 FROM adjustments WHERE id = refused.id) AS is_adjustment
             FROM export_refused AS refused ORDER BY id LIMIT ?",
        )
        .bind(REFUSED_SHOWN)
        .fetch_all(pool)
        .await?;
        Ok(QueueCounts {
            switched_on: self.is_switched_on().await?,
            pending: sqlx::query_scalar(count("undelivered")).fetch_one(pool).await?,
            refused: sqlx::query_scalar(count("export_refused"))
                .fetch_one(pool)
                .await?,
            first_refused: rows.iter().map(refused_of).collect::<Result<_, _>>()?,
        })
    }
}

/// The rows with these ids, by id.
async fn rows_of(
    connection: &mut SqliteConnection,
    table: &str,
    columns: &[&str],
    ids: &[Vec<u8>],
) -> Result<BTreeMap<Vec<u8>, SqliteRow>, LedgerFault> {
    let mut rows = BTreeMap::new();
    for some in ids.chunks(IDS_AT_ONCE) {
        let mut select = QueryBuilder::new(format!(
            "SELECT {} FROM {table} WHERE id IN (",
            columns.join(", ")
        ));
        list(&mut select, some);
        for row in select.build().fetch_all(&mut *connection).await? {
            rows.insert(row.try_get("id")?, row);
        }
    }
    Ok(rows)
}

/// `?, ?, ...)` with these ids.
fn list(query: &mut QueryBuilder<sqlx::Sqlite>, ids: &[impl AsRef<[u8]>]) {
    let mut ids_of = query.separated(", ");
    for id in ids {
        ids_of.push_bind(id.as_ref().to_vec());
    }
    query.push(")");
}

/// The last id that was looked at and how many were put in; `None` at the table's end.
async fn backfill_some(
    writer: &mut SqliteConnection,
    table: &str,
    time: &str,
    since_ms: u64,
    from: &[u8],
) -> Result<Option<(Vec<u8>, u64)>, LedgerFault> {
    let page = format!("SELECT id, {time} AS at FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2");
    let last: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT max(id) FROM ({page})")))
        .bind(from)
        .bind(BACKFILLED_AT_ONCE)
        .fetch_one(&mut *writer)
        .await?;
    let Some(last) = last else { return Ok(None) };
    let insert = format!(
        "INSERT OR IGNORE INTO undelivered SELECT page.id FROM ({page}) AS page
         WHERE page.at >= ?3 AND NOT EXISTS (SELECT 1 FROM export_refused AS refused WHERE refused.id = page.id)"
    );
    let inserted = sqlx::query(AssertSqlSafe(insert))
        .bind(from)
        .bind(BACKFILLED_AT_ONCE)
        .bind(bound(Some(since_ms)))
        .execute(writer)
        .await?;
    Ok(Some((last, inserted.rows_affected())))
}

fn refused_of(row: &SqliteRow) -> Result<(String, RefusedEvent), LedgerFault> {
    let id: &[u8] = row.try_get("id")?;
    let refused = RefusedEvent {
        id: id
            .try_into()
            .map_err(|_| LedgerFault::Unreadable("an event's id"))?,
        status: row.try_get("status")?,
        reason: row.try_get("reason")?,
        refused_at_ms: row.try_get("refused_at_ms")?,
    };
    Ok((refused.id_text(row.try_get("is_adjustment")?), refused))
}
