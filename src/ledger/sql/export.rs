//! The export's queue, `undelivered`: what is alike in both databases. [`WriteQueue`] is what each does in its own way, and
//! [`write_queue`] the part of it whose statements are the same again.

use super::super::{EventId, ExportItem, ExportQueue, LedgerFault, QueueCounts, RefusedEvent};
use super::columns::{ADJUSTMENT_COLUMNS, COLUMNS, adjustment_of, entry_of};
use super::pages::{bound, lowest_id};
use super::{SqlLedger, Write};
use crate::store::database::{Database, on};
use crate::store::row::Columns;
use sqlx::{Encode, QueryBuilder, Type};
use std::collections::BTreeMap;
use std::time::Duration;

/// In `settings` while export is switched on.
pub(in crate::ledger) const SETTING: &str = "export";
/// Ids of one statement; SQLite takes 32,766 arguments.
pub(in crate::ledger) const IDS_AT_ONCE: usize = 1000;
/// Ids that one statement of `backfill` puts in, so that it does not keep settlements waiting.
const BACKFILLED_AT_ONCE: i64 = 2000;
/// Refused events that are shown.
const REFUSED_SHOWN: i64 = 20;

pub(in crate::ledger) const DELETE_LISTED: &str = "DELETE FROM undelivered WHERE id IN (";
pub(in crate::ledger) const SET_ASIDE: &str =
    "INSERT INTO export_refused (id, status, reason, refused_at_ms) VALUES ($1, $2, $3, $4)
     ON CONFLICT (id) DO UPDATE SET
     status = excluded.status, reason = excluded.reason, refused_at_ms = excluded.refused_at_ms";
/// `WHERE true`: without it SQLite takes `ON` for a join's.
pub(in crate::ledger) const PUT_BACK_REFUSED: &str =
    "INSERT INTO undelivered (id) SELECT id FROM export_refused WHERE true ON CONFLICT DO NOTHING";

/// The writes.
pub trait WriteQueue: Send + Sync + 'static {
    /// From now on triggers fill the queue, or they do not and it is emptied.
    fn switch(&self, on: bool) -> impl Future<Output = Result<(), LedgerFault>> + Send;
    /// [`ExportQueue::undelivered`], ids alone.
    fn take(
        &self,
        limit: u32,
        hold: Duration,
    ) -> impl Future<Output = Result<Vec<Vec<u8>>, LedgerFault>> + Send;
    /// [`ExportQueue::give_back`].
    fn give_back(&self, ids: &[EventId]) -> impl Future<Output = Result<(), LedgerFault>> + Send;
    /// [`ExportQueue::delivered`].
    fn delivered(&self, ids: &[EventId]) -> impl Future<Output = Result<(), LedgerFault>> + Send;
    /// [`ExportQueue::set_aside`].
    fn set_aside(&self, refused: &RefusedEvent) -> impl Future<Output = Result<(), LedgerFault>> + Send;
    /// [`ExportQueue::retry_refused`].
    fn retry_refused(&self) -> impl Future<Output = Result<u64, LedgerFault>> + Send;
    /// Puts in one page of what is booked. Returns the page's last id and how many were put in; `None` at the end.
    fn backfill(
        &self,
        page: &BackfillPage,
    ) -> impl Future<Output = Result<Option<(Vec<u8>, u64)>, LedgerFault>> + Send;
}

/// What one step of a backfill looks at.
pub struct BackfillPage {
    /// The last id of the next rows: `$1` is the id before them, `$2` how many.
    pub(in crate::ledger) last_id: String,
    /// Puts them in: `$1` is the id before them, `$2` their last, `$3` the earliest time.
    pub(in crate::ledger) put_in: String,
    /// The id before them.
    pub(in crate::ledger) after: Vec<u8>,
    /// How many.
    pub(in crate::ledger) rows: i64,
    /// The earliest time.
    pub(in crate::ledger) since_ms: Option<i64>,
}

/// The methods of a [`WriteQueue`] that say the same to both databases, through the writer's `write_beside`. `$begin`
/// begins a transaction whose statements all see the same rows.
macro_rules! write_queue {
    ($database:ty, $begin:literal) => {
        async fn delivered(&self, ids: &[EventId]) -> Result<(), LedgerFault> {
            for some in ids.chunks(export::IDS_AT_ONCE) {
                self.write_beside(async |writer| {
                    let mut delete = export::listed::<$database>(export::DELETE_LISTED, some);
                    delete.build().execute(writer).await?;
                    Ok(())
                })
                .await?;
            }
            Ok(())
        }

        async fn set_aside(&self, refused: &RefusedEvent) -> Result<(), LedgerFault> {
            // PostgreSQL has no text with a NUL in it, and a receiver may say one.
            let reason = refused.reason.replace('\0', "\u{fffd}");
            self.write_beside(async |writer| {
                let mut transaction = writer.begin_with($begin).await?;
                let mut delete = export::listed::<$database>(export::DELETE_LISTED, &[refused.id]);
                delete.build().execute(&mut *transaction).await?;
                sqlx::query(export::SET_ASIDE)
                    .bind(refused.id.as_slice())
                    .bind(i64::from(refused.status))
                    .bind(reason)
                    .bind(bound(Some(refused.refused_at_ms)))
                    .execute(&mut *transaction)
                    .await?;
                Ok(transaction.commit().await?)
            })
            .await
        }

        async fn retry_refused(&self) -> Result<u64, LedgerFault> {
            self.write_beside(async |writer| {
                let mut transaction = writer.begin_with($begin).await?;
                transaction.execute(export::PUT_BACK_REFUSED).await?;
                let retried = transaction.execute("DELETE FROM export_refused").await?;
                transaction.commit().await?;
                Ok(retried.rows_affected())
            })
            .await
        }

        async fn backfill(&self, page: &BackfillPage) -> Result<Option<(Vec<u8>, u64)>, LedgerFault> {
            self.write_beside(async |writer| {
                let last: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(page.last_id.as_str()))
                    .bind(page.after.as_slice())
                    .bind(page.rows)
                    .fetch_optional(&mut *writer)
                    .await?;
                let Some(last) = last else { return Ok(None) };
                let inserted = sqlx::query(AssertSqlSafe(page.put_in.as_str()))
                    .bind(page.after.as_slice())
                    .bind(last.as_slice())
                    .bind(page.since_ms)
                    .execute(writer)
                    .await?;
                Ok(Some((last, inserted.rows_affected())))
            })
            .await
        }
    };
}
pub(in crate::ledger) use write_queue;

/// A statement that ends with `IN (`, and these ids.
pub(in crate::ledger) fn listed<D: sqlx::Database>(sql: &str, ids: &[EventId]) -> QueryBuilder<D>
where
    Vec<u8>: for<'q> Encode<'q, D> + Type<D>,
{
    let mut query = QueryBuilder::new(sql);
    let mut ids_of = query.separated(", ");
    for id in ids {
        ids_of.push_bind(id.to_vec());
    }
    query.push(")");
    query
}

#[async_trait::async_trait]
impl<W: Write + WriteQueue> ExportQueue for SqlLedger<W> {
    async fn is_switched_on(&self) -> Result<bool, LedgerFault> {
        Ok(self.store.setting(SETTING).await?.is_some())
    }

    async fn switch_on(&self) -> Result<(), LedgerFault> {
        self.writer.switch(true).await
    }

    async fn switch_off(&self) -> Result<(), LedgerFault> {
        self.writer.switch(false).await
    }

    async fn undelivered(&self, limit: u32, hold: Duration) -> Result<Vec<ExportItem>, LedgerFault> {
        let taken = self.writer.take(limit, hold).await?;
        let ids: Vec<EventId> = taken.iter().map(|id| event_id(id)).collect::<Result<_, _>>()?;
        let mut items = items(self.store.database(), &ids).await?;
        let item = |id| items.remove(&id).unwrap_or(ExportItem::Unreadable(id));
        Ok(ids.into_iter().map(item).collect())
    }

    async fn delivered(&self, ids: &[EventId]) -> Result<(), LedgerFault> {
        self.writer.delivered(ids).await
    }

    async fn give_back(&self, ids: &[EventId]) -> Result<(), LedgerFault> {
        self.writer.give_back(ids).await
    }

    async fn set_aside(&self, refused: &RefusedEvent) -> Result<(), LedgerFault> {
        self.writer.set_aside(refused).await
    }

    async fn retry_refused(&self) -> Result<u64, LedgerFault> {
        self.writer.retry_refused().await
    }

    async fn backfill(&self, since_ms: u64) -> Result<u64, LedgerFault> {
        let mut added = 0_u64;
        for (table, time) in [("entries", "admitted_at_ms"), ("adjustments", "booked_at_ms")] {
            let mut page = BackfillPage {
                last_id: format!(
                    "SELECT id FROM (SELECT id FROM {table} WHERE id > $1 ORDER BY id LIMIT $2) AS page
                     ORDER BY id DESC LIMIT 1"
                ),
                // By its last id, not by its length: another replica may book between the two.
                put_in: format!(
                    "INSERT INTO undelivered (id) SELECT id FROM {table} AS booked
                     WHERE id > $1 AND id <= $2 AND {time} >= $3
                     AND NOT EXISTS (SELECT 1 FROM export_refused AS refused WHERE refused.id = booked.id)
                     ON CONFLICT DO NOTHING"
                ),
                after: lowest_id(Some(since_ms)).as_bytes().to_vec(),
                rows: BACKFILLED_AT_ONCE,
                since_ms: bound(Some(since_ms)),
            };
            while let Some((last, more)) = self.writer.backfill(&page).await? {
                (page.after, added) = (last, added.saturating_add(more));
            }
        }
        Ok(added)
    }

    async fn counts(&self) -> Result<QueueCounts, LedgerFault> {
        let switched_on = self.is_switched_on().await?;
        on!(self.store.database(), pool => {
            let counts = sqlx::query(
                "SELECT (SELECT count(*) FROM undelivered) AS pending, (SELECT count(*) FROM export_refused) AS refused",
            )
            .fetch_one(pool)
            .await?;
            let refused = sqlx::query(
                "SELECT refused.*, (SELECT count(*) FROM adjustments WHERE id = refused.id) AS adjustments
                 FROM export_refused AS refused ORDER BY id LIMIT $1",
            )
            .bind(REFUSED_SHOWN)
            .fetch_all(pool)
            .await?;
            Ok(QueueCounts {
                switched_on,
                pending: counts.count("pending")?,
                refused: counts.count("refused")?,
                first_refused: refused.iter().map(refused_of).collect::<Result<_, _>>()?,
            })
        })
    }
}

/// Those of these that can be read. What is booked never changes, so they need not be of one snapshot.
async fn items(database: &Database, ids: &[EventId]) -> Result<BTreeMap<EventId, ExportItem>, LedgerFault> {
    let select =
        |table, columns: &[&str]| format!("SELECT {} FROM {table} WHERE id IN (", columns.join(", "));
    let (entries, adjustments) = (
        select("entries", &COLUMNS),
        select("adjustments", &ADJUSTMENT_COLUMNS),
    );
    let mut items = BTreeMap::new();
    on!(database, pool => {
        for some in ids.chunks(IDS_AT_ONCE) {
            let rows = listed(&adjustments, some).build().fetch_all(pool).await?;
            let read = rows.iter().filter_map(|row| adjustment_of(row).ok().map(ExportItem::Adjustment));
            items.extend(read.map(|item| (item.id(), item)));
            let rows = listed(&entries, some).build().fetch_all(pool).await?;
            let read = rows.iter().filter_map(|row| entry_of(row).ok().map(ExportItem::Entry));
            items.extend(read.map(|item| (item.id(), item)));
        }
    });
    Ok(items)
}

fn event_id(id: &[u8]) -> Result<EventId, LedgerFault> {
    id.try_into()
        .map_err(|_| LedgerFault::Unreadable("an event's id"))
}

fn refused_of(row: &impl Columns) -> Result<(String, RefusedEvent), LedgerFault> {
    let status = row.integer("status")?;
    let refused = RefusedEvent {
        id: event_id(row.bytes("id")?)?,
        status: u16::try_from(status).map_err(|_| LedgerFault::Unreadable("status"))?,
        reason: row.text("reason")?.to_owned(),
        refused_at_ms: row.count("refused_at_ms")?,
    };
    Ok((refused.id_text(row.integer("adjustments")? > 0), refused))
}
