//! Reading the ledger. None of it takes the writer's connection, and in WAL none of it makes the writer wait.

use super::super::usage::{HOUR_MS, UsageGroup, UsageSum};
use super::super::verify::Verifier;
use super::super::{
    AdjustmentPage, Balance, EntryPage, KeySpending, LedgerFault, MAX_PAGE, UsageRow, Verification,
};
use super::columns::{ADJUSTMENT_COLUMNS, COLUMNS, adjustment_of, describe, entry_of};
use crate::store::prices::all_prices;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Adjustment, Entry};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use farebox_domain::price::PriceVersion;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeMap;

/// Rows that `verify` holds at once.
const PAGE: i64 = 1_000;
/// An id is made when a request's head has arrived, its admission comes after its body and its waiting: so much later
/// at the most. Where a time bounds ids, they are read from so much earlier.
pub(super) const ADMITTED_AFTER_ID_MS: u64 = HOUR_MS;

pub(super) async fn entry(pool: &SqlitePool, id: RequestId) -> Result<Option<Entry>, LedgerFault> {
    let row = sqlx::query("SELECT * FROM entries WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| entry_of(&row)).transpose()?)
}

pub(super) async fn entries_of(pool: &SqlitePool, ids: &[RequestId]) -> Result<Vec<Entry>, LedgerFault> {
    let mut found = Vec::new();
    // A statement takes 32,766 values; few hundred at once keep the text of it short.
    for some in ids.chunks(500) {
        let marks = vec!["?"; some.len()].join(", ");
        let sql = format!("SELECT {} FROM entries WHERE id IN ({marks})", COLUMNS.join(", "));
        let query = some.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, id| {
            query.bind(id.as_bytes().to_vec())
        });
        for row in &query.fetch_all(pool).await? {
            found.push(entry_of(row)?);
        }
    }
    Ok(found)
}

/// A time as 64 signed bits. Nothing happened after the year 292 million, so a later one is the same as the last.
pub(super) fn bound(time: Option<u64>) -> Option<i64> {
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

pub(super) async fn entries(pool: &SqlitePool, page: &EntryPage) -> Result<Vec<Entry>, LedgerFault> {
    let sql = format!(
        "SELECT {} FROM entries
         WHERE id > ?1 AND id >= ?2 AND id < ?3
         AND (?4 IS NULL OR account = ?4)
         AND (?5 IS NULL OR admitted_at_ms >= ?5)
         AND (?6 IS NULL OR admitted_at_ms < ?6)
         ORDER BY id LIMIT ?7",
        COLUMNS.join(", ")
    );
    let after = page.after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
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
}

pub(super) async fn adjustments(
    pool: &SqlitePool,
    page: &AdjustmentPage,
) -> Result<Vec<Adjustment>, LedgerFault> {
    let sql = format!(
        "SELECT {} FROM adjustments
         WHERE id > ?1
         AND (?2 IS NULL OR account = ?2)
         AND (?3 IS NULL OR request = ?3)
         AND (?4 IS NULL OR booked_at_ms >= ?4)
         AND (?5 IS NULL OR booked_at_ms < ?5)
         ORDER BY id LIMIT ?6",
        ADJUSTMENT_COLUMNS.join(", ")
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(page.after.map_or(Vec::new(), |id| id.as_bytes().to_vec()))
        .bind(page.account.as_ref().map(|account| account.as_str()))
        .bind(page.request.map(|id| id.as_bytes().to_vec()))
        .bind(bound(page.since_ms))
        .bind(bound(page.until_ms))
        .bind(i64::from(page.limit.min(MAX_PAGE)))
        .fetch_all(pool)
        .await?;
    Ok(rows.iter().map(adjustment_of).collect::<Result<_, _>>()?)
}

pub(super) async fn balances(connection: &mut SqliteConnection) -> Result<Vec<Balance>, LedgerFault> {
    let mut balances: BTreeMap<String, Balance> = BTreeMap::new();
    fn of<'a>(balances: &'a mut BTreeMap<String, Balance>, account: &str) -> &'a mut Balance {
        balances.entry(account.to_owned()).or_insert_with(|| Balance {
            account: account.into(),
            spent: Picodollars::ZERO,
            adjusted: Picodollars::ZERO,
            entries: 0,
        })
    }
    let spent = sqlx::query(
        "SELECT account, sum(requests) AS entries, sum(cost_high) AS sum_high, sum(cost_low) AS sum_low
         FROM usage_rollups GROUP BY account",
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &spent {
        let balance = of(&mut balances, row.try_get("account")?);
        (balance.spent, balance.entries) = (joined(row, "sum")?, row.try_get("entries")?);
    }
    let adjusted = sqlx::query(
        "SELECT account, sum(amount_picodollars >> 32) AS sum_high, sum(amount_picodollars & 4294967295) AS sum_low
         FROM adjustments GROUP BY account",
    )
    .fetch_all(connection)
    .await?;
    for row in &adjusted {
        of(&mut balances, row.try_get("account")?).adjusted = joined(row, "sum")?;
    }
    Ok(balances.into_values().collect())
}

pub(super) async fn spent_in(pool: &SqlitePool, month: Month) -> Result<Vec<KeySpending>, LedgerFault> {
    let hour = |month: Month| i64::try_from(month.starts_at_ms() / HOUR_MS).unwrap_or(i64::MAX);
    let rows = sqlx::query(
        "SELECT account, api_key, sum(cost_high) AS sum_high, sum(cost_low) AS sum_low FROM usage_rollups
         WHERE hour >= ? AND hour < ? GROUP BY account, api_key ORDER BY account, api_key",
    )
    .bind(hour(month))
    .bind(hour(month.next()))
    .fetch_all(pool)
    .await?;
    let read = |row: &SqliteRow| {
        Ok(KeySpending {
            account: row.try_get::<&str, _>("account")?.into(),
            key: row.try_get::<&str, _>("api_key")?.into(),
            spent: joined(row, "sum")?,
        })
    };
    rows.iter().map(read).collect()
}

/// A sum that is kept in two columns: its upper part, and its lower 32 bits.
pub(super) fn joined(row: &SqliteRow, column: &str) -> Result<Picodollars, LedgerFault> {
    let high: i64 = row.try_get(format!("{column}_high").as_str())?;
    let low: i64 = row.try_get(format!("{column}_low").as_str())?;
    Ok(Picodollars::new((i128::from(high) << 32) + i128::from(low)))
}

pub(super) async fn verify(pool: &SqlitePool) -> Result<Verification, LedgerFault> {
    // One read transaction is one snapshot; it begins with its first SELECT.
    let mut snapshot = pool.begin().await?;
    let mut verifier = Verifier::new(all_prices(&mut snapshot).await?);
    let page_sql = format!(
        "SELECT {} FROM entries WHERE id > ? ORDER BY id LIMIT {PAGE}",
        COLUMNS.join(", ")
    );
    let adjusted = format!(
        "SELECT {} FROM adjustments ORDER BY id",
        ADJUSTMENT_COLUMNS.join(", ")
    );
    for row in &sqlx::query(AssertSqlSafe(adjusted))
        .fetch_all(&mut *snapshot)
        .await?
    {
        match adjustment_of(row) {
            Ok(adjustment) => verifier.adjustment(adjustment)?,
            Err(fault) => verifier.unreadable(describe(row, fault), None)?,
        }
    }
    // Below every id: a blob that is empty.
    let mut last: Vec<u8> = Vec::new();
    loop {
        let page = sqlx::query(AssertSqlSafe(page_sql.as_str()))
            .bind(last)
            .fetch_all(&mut *snapshot)
            .await?;
        let Some(end) = page.last() else { break };
        last = end.try_get("id")?;
        for row in &page {
            match entry_of(row) {
                Ok(entry) => verifier.entry(&entry)?,
                Err(fault) => {
                    let (group, sum) = (rollup_group_of_entry(row), cost_of_row(row));
                    verifier.unreadable(describe(row, fault), group.ok().zip(sum))?;
                }
            }
        }
    }
    for row in &sqlx::query("SELECT * FROM usage_rollups")
        .fetch_all(&mut *snapshot)
        .await?
    {
        let hour: i64 = row.try_get("hour")?;
        let sum = UsageSum {
            requests: row.try_get("requests")?,
            prompt_tokens: row.try_get("prompt_tokens")?,
            cached_tokens: row.try_get("cached_tokens")?,
            completion_tokens: row.try_get("completion_tokens")?,
            reasoning_tokens: row.try_get("reasoning_tokens")?,
            cost: joined(row, "cost")?,
        };
        verifier.rollup(UsageRow {
            group: rollup_group(row, hour)?,
            sum,
        });
    }
    snapshot.rollback().await?;
    Ok(verifier.finish())
}

fn rollup_group(row: &SqliteRow, hour: i64) -> Result<UsageGroup, LedgerFault> {
    let hour = u64::try_from(hour).map_err(|_| LedgerFault::Overflow)?;
    Ok(UsageGroup {
        account: Some(row.try_get::<&str, _>("account")?.into()),
        key: Some(row.try_get::<&str, _>("api_key")?.into()),
        model: Some(row.try_get::<&str, _>("model")?.into()),
        endpoint: Some(row.try_get("endpoint")?),
        price_version: Some(PriceVersion(row.try_get("price_version")?)),
        bucket_ms: Some(hour.saturating_mul(HOUR_MS)),
    })
}

/// Where a row that is not an entry was rolled up all the same.
fn rollup_group_of_entry(row: &SqliteRow) -> Result<UsageGroup, LedgerFault> {
    let admitted: i64 = row.try_get("admitted_at_ms")?;
    rollup_group(row, admitted / i64::try_from(HOUR_MS).unwrap_or(i64::MAX))
}

fn cost_of_row(row: &SqliteRow) -> Option<UsageSum> {
    let tokens = |column| row.try_get::<u64, _>(column).ok();
    Some(UsageSum {
        requests: 1,
        prompt_tokens: tokens("prompt_tokens")?,
        cached_tokens: tokens("cached_tokens")?,
        completion_tokens: tokens("completion_tokens")?,
        reasoning_tokens: tokens("reasoning_tokens")?,
        cost: Picodollars::new(row.try_get::<i64, _>("cost_picodollars").ok()?.into()),
    })
}
