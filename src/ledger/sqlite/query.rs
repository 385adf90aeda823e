//! Reading the ledger. None of it takes the writer's connection, and in WAL none of it makes the writer wait.

use super::super::verify::Verifier;
use super::super::{Balance, LedgerFault, UsageQuery, UsageRow, Verification};
use super::columns::{COLUMNS, describe, entry_of};
use crate::store::prices::all_prices;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::Entry;
use farebox_domain::money::Picodollars;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

/// Rows that `verify` holds at once.
const PAGE: i64 = 1_000;

/// What usage sums. A sum of 64-bit numbers may leave 64 bits, and SQLite's SUM then fails: so the upper and lower
/// 32 bits are summed apart (each good for two thousand million rows) and put together in 128.
const SUMMED: [&str; 5] = [
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_picodollars",
];

pub(super) async fn entry(pool: &SqlitePool, id: RequestId) -> Result<Option<Entry>, LedgerFault> {
    let row = sqlx::query("SELECT * FROM entries WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| entry_of(&row)).transpose()?)
}

pub(super) async fn balances(connection: &mut SqliteConnection) -> Result<Vec<Balance>, LedgerFault> {
    let rows = sqlx::query("SELECT * FROM account_balances ORDER BY account")
        .fetch_all(connection)
        .await?;
    let read = |row: &SqliteRow| {
        Ok(Balance {
            account: row.try_get::<&str, _>("account")?.into(),
            balance: joined(row, "balance")?,
            entries: row.try_get("entries")?,
        })
    };
    rows.iter().map(read).collect()
}

/// A sum that is kept in two columns: its upper part, and its lower 32 bits.
fn joined(row: &SqliteRow, column: &str) -> Result<Picodollars, LedgerFault> {
    let high: i64 = row.try_get(format!("{column}_high").as_str())?;
    let low: i64 = row.try_get(format!("{column}_low").as_str())?;
    Ok(Picodollars::new((i128::from(high) << 32) + i128::from(low)))
}

pub(super) async fn usage(pool: &SqlitePool, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
    // No entry was admitted after the year 292 million, so a bound beyond 64 bits is the same as the largest.
    let bound = |time: Option<u64>| time.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    let rows = sqlx::query(AssertSqlSafe(usage_sql(query)))
        .bind(query.account.as_ref().map(|account| account.as_str()))
        .bind(bound(query.since_ms))
        .bind(bound(query.until_ms))
        .fetch_all(pool)
        .await?;
    rows.iter().map(usage_row).collect()
}

/// Composed of the constants below alone; what the query holds is bound.
fn usage_sql(query: &UsageQuery) -> String {
    const DAY: &str = "date((admitted_at_ms / 86400000) * 86400, 'unixepoch')";
    let by = query.group_by;
    let groups = [
        (by.account, "account", "account"),
        (by.key, "api_key", "api_key"),
        (by.model, "model", "model"),
        (by.day, "day", DAY),
    ];
    let mut selected: Vec<String> = groups
        .iter()
        .map(|(wanted, name, of)| format!("{} AS {name}", if *wanted { of } else { "NULL" }))
        .collect();
    selected.extend(SUMMED.iter().map(|column| {
        format!(
            "coalesce(sum({column} >> 32), 0) AS {column}_high,
             coalesce(sum({column} & 4294967295), 0) AS {column}_low"
        )
    }));
    let grouped: Vec<&str> = groups
        .iter()
        .filter(|(wanted, _, _)| *wanted)
        .map(|(_, _, of)| *of)
        .collect();
    let group_by = if grouped.is_empty() {
        String::new()
    } else {
        format!("GROUP BY {0} ORDER BY {0}", grouped.join(", "))
    };
    format!(
        "SELECT count(*) AS requests, {} FROM entries
         WHERE (?1 IS NULL OR account = ?1)
         AND (?2 IS NULL OR admitted_at_ms >= ?2)
         AND (?3 IS NULL OR admitted_at_ms < ?3)
         {group_by}",
        selected.join(", ")
    )
}

fn usage_row(row: &SqliteRow) -> Result<UsageRow, LedgerFault> {
    let tokens = |column| u64::try_from(joined(row, column)?.get()).map_err(|_| LedgerFault::Overflow);
    let text = |column| row.try_get::<Option<&str>, _>(column);
    Ok(UsageRow {
        account: text("account")?.map(Into::into),
        key: text("api_key")?.map(Into::into),
        model: text("model")?.map(Into::into),
        day: text("day")?.map(Into::into),
        requests: row.try_get("requests")?,
        prompt_tokens: tokens("prompt_tokens")?,
        cached_tokens: tokens("cached_tokens")?,
        completion_tokens: tokens("completion_tokens")?,
        reasoning_tokens: tokens("reasoning_tokens")?,
        cost: joined(row, "cost_picodollars")?,
    })
}

pub(super) async fn verify(pool: &SqlitePool) -> Result<Verification, LedgerFault> {
    // One read transaction is one snapshot; it begins with its first SELECT.
    let mut snapshot = pool.begin().await?;
    let mut verifier = Verifier::new(all_prices(&mut snapshot).await?);
    let page_sql = format!(
        "SELECT {} FROM entries WHERE id > ? ORDER BY id LIMIT {PAGE}",
        COLUMNS.join(", ")
    );
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
                    let (unreadable, owed) = describe(row, fault);
                    verifier.unreadable(unreadable, owed)?;
                }
            }
        }
    }
    let balances = balances(&mut snapshot).await?;
    snapshot.rollback().await?;
    Ok(verifier.finish(&balances))
}
