//! Entries and adjustments, a page at a time. None of it takes the connection that books, and none of it makes it wait.

use super::super::usage::HOUR_MS;
use super::super::{AdjustmentPage, EntryPage, LedgerFault, MAX_PAGE};
use super::columns::{ADJUSTMENT_COLUMNS, COLUMNS, adjustment_of, entry_of};
use crate::store::database::{Database, on};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Adjustment, Entry};
use sqlx::AssertSqlSafe;

/// An id is made when a request's head has arrived, its admission comes after its body and its waiting: so much later
/// at the most. Where a time bounds ids, they are read from so much earlier.
pub(super) const ADMITTED_AFTER_ID_MS: u64 = HOUR_MS;

pub(super) async fn entry(database: &Database, id: RequestId) -> Result<Option<Entry>, LedgerFault> {
    on!(database, pool => {
        let query = sqlx::query("SELECT * FROM entries WHERE id = $1").bind(id.as_bytes().as_slice());
        let row = query.fetch_optional(pool).await?;
        Ok(row.map(|row| entry_of(&row)).transpose()?)
    })
}

/// Ids that one statement asks for: enough for few trips, and few enough for a short text.
const IDS_AT_ONCE: usize = 500;

pub(super) async fn entries_of(database: &Database, ids: &[RequestId]) -> Result<Vec<Entry>, LedgerFault> {
    let mut found = Vec::new();
    for some in ids.chunks(IDS_AT_ONCE) {
        let marks: Vec<String> = (1..=some.len()).map(|number| format!("${number}")).collect();
        let sql = format!(
            "SELECT {} FROM entries WHERE id IN ({})",
            COLUMNS.join(", "),
            marks.join(", ")
        );
        let entries: Result<Vec<_>, LedgerFault> = on!(database, pool => {
            let query = some.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, id| {
                query.bind(id.as_bytes().to_vec())
            });
            let rows = query.fetch_all(pool).await?;
            Ok(rows.iter().map(entry_of).collect::<Result<Vec<_>, _>>()?)
        });
        found.extend(entries?);
    }
    Ok(found)
}

/// A time as 64 signed bits. Nothing happened after the year 292 million, so a later one is the same as the last.
pub(in crate::ledger) fn bound(time: Option<u64>) -> Option<i64> {
    time.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX))
}

/// The lowest id that a request admitted at this time or later can have.
pub(super) fn lowest_id(since_ms: Option<u64>) -> RequestId {
    RequestId::lowest_at_ms(since_ms.unwrap_or(0).saturating_sub(ADMITTED_AFTER_ID_MS))
}

/// The lowest id that no request admitted before this time has.
pub(super) fn end_id(until_ms: Option<u64>) -> Vec<u8> {
    match until_ms {
        Some(ms) => RequestId::lowest_at_ms(ms.saturating_add(1)).as_bytes().to_vec(),
        // Above every id.
        None => vec![0xff; 17],
    }
}

pub(super) async fn entries(database: &Database, page: &EntryPage) -> Result<Vec<Entry>, LedgerFault> {
    let sql = format!(
        "SELECT {} FROM entries
         WHERE id > $1 AND id >= $2 AND id < $3
         AND ($4 IS NULL OR account = $4)
         AND ($5 IS NULL OR admitted_at_ms >= $5)
         AND ($6 IS NULL OR admitted_at_ms < $6)
         ORDER BY id LIMIT $7",
        COLUMNS.join(", ")
    );
    let after = page.after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    on!(database, pool => {
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(after)
            .bind(lowest_id(page.since_ms).as_bytes().as_slice())
            .bind(end_id(page.until_ms))
            .bind(page.account.as_ref().map(|account| account.as_str()))
            .bind(bound(page.since_ms))
            .bind(bound(page.until_ms))
            .bind(i64::from(page.limit.min(MAX_PAGE)))
            .fetch_all(pool)
            .await?;
        Ok(rows.iter().map(entry_of).collect::<Result<_, _>>()?)
    })
}

pub(super) async fn adjustments(
    database: &Database,
    page: &AdjustmentPage,
) -> Result<Vec<Adjustment>, LedgerFault> {
    let (behind, order, beginning) = match page.newest_first {
        true => ("<", "DESC", end_id(None)),
        false => (">", "ASC", Vec::new()),
    };
    let sql = format!(
        "SELECT {} FROM adjustments
         WHERE id {behind} $1
         AND ($2 IS NULL OR account = $2)
         AND ($3 IS NULL OR request = $3)
         AND ($4 IS NULL OR booked_at_ms >= $4)
         AND ($5 IS NULL OR booked_at_ms < $5)
         ORDER BY id {order} LIMIT $6",
        ADJUSTMENT_COLUMNS.join(", ")
    );
    on!(database, pool => {
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(page.after.map_or(beginning, |id| id.as_bytes().to_vec()))
            .bind(page.account.as_ref().map(|account| account.as_str()))
            .bind(page.request.map(|id| id.as_bytes().to_vec()))
            .bind(bound(page.since_ms))
            .bind(bound(page.until_ms))
            .bind(i64::from(page.limit.min(MAX_PAGE)))
            .fetch_all(pool)
            .await?;
        Ok(rows.iter().map(adjustment_of).collect::<Result<_, _>>()?)
    })
}
