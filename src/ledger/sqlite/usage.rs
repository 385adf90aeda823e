//! Usage, summed: from roll-ups for whole hours, from entries for the rest.

use super::super::usage::{HOUR_MS, UsageGroup, UsageSum, merge};
use super::super::{Bucket, LedgerFault, UsageQuery, UsageRow};
use super::query::{bound, end_id, joined, lowest_id};
use farebox_domain::price::PriceVersion;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

/// What is summed of entries: a name and, for the cost, its upper and lower half. A sum of 64-bit numbers may leave 64
/// bits, and SQLite's SUM then fails; tokens are bounded (`Usage::MAX_TOKENS`), costs are not.
const ENTRY_SUMS: &str =
    "count(*) AS requests, sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
    sum(completion_tokens) AS completion_tokens, sum(reasoning_tokens) AS reasoning_tokens,
    sum(cost_picodollars >> 32) AS cost_high, sum(cost_picodollars & 4294967295) AS cost_low";
const ROLLUP_SUMS: &str = "sum(requests) AS requests, sum(prompt_tokens) AS prompt_tokens,
    sum(cached_tokens) AS cached_tokens, sum(completion_tokens) AS completion_tokens,
    sum(reasoning_tokens) AS reasoning_tokens, sum(cost_high) AS cost_high, sum(cost_low) AS cost_low";

pub(super) async fn usage(pool: &SqlitePool, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
    let spans = query.spans();
    let mut found = Vec::new();
    for (from, until) in spans.entries {
        let sql = select(query, ENTRY_SUMS, "entries", "admitted_at_ms", 1);
        let sql = sql.replace("/* more */", "AND id >= ?6 AND id < ?7");
        let rows = bind(sqlx::query(AssertSqlSafe(sql)), query, (from, until))
            .bind(lowest_id(Some(from)).as_bytes().to_vec())
            .bind(end_id(Some(until)))
            .fetch_all(pool)
            .await?;
        found.extend(rows);
    }
    if let Some(hours) = spans.rollups {
        let sql = select(query, ROLLUP_SUMS, "usage_rollups", "hour", HOUR_MS);
        found.extend(
            bind(sqlx::query(AssertSqlSafe(sql)), query, hours)
                .fetch_all(pool)
                .await?,
        );
    }
    let rows = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut merged = merge(rows.into_iter().filter(|row| row.sum.requests > 0))?;
    if merged.is_empty() && query.group_by == Default::default() {
        merged.push(UsageRow {
            group: UsageGroup::default(),
            sum: UsageSum::default(),
        });
    }
    Ok(merged)
}

/// Composed of the constants here alone; what the query holds is bound. `unit_ms` is what the time column counts in.
fn select(query: &UsageQuery, sums: &str, table: &str, time: &str, unit_ms: u64) -> String {
    let by = query.group_by;
    let bucket = |bucket: Bucket| {
        let units = bucket.length_ms() / unit_ms;
        format!("{time} / {units} * {}", bucket.length_ms())
    };
    let groups = [
        ("account", by.account.then(|| "account".to_owned())),
        ("api_key", by.key.then(|| "api_key".to_owned())),
        ("model", by.model.then(|| "model".to_owned())),
        ("endpoint", by.endpoint.then(|| "endpoint".to_owned())),
        (
            "price_version",
            by.price_version.then(|| "price_version".to_owned()),
        ),
        ("bucket_ms", by.bucket.map(bucket)),
    ];
    let selected: Vec<String> = groups
        .iter()
        .map(|(name, of)| format!("{} AS {name}", of.as_deref().unwrap_or("NULL")))
        .collect();
    let grouped: Vec<&str> = groups.iter().filter_map(|(_, of)| of.as_deref()).collect();
    let group_by = if grouped.is_empty() {
        String::new()
    } else {
        format!("GROUP BY {}", grouped.join(", "))
    };
    let endpoint = match query.embeddings {
        None => "",
        Some(true) => "AND endpoint = 'embeddings'",
        Some(false) => "AND endpoint <> 'embeddings'",
    };
    format!(
        "SELECT {}, {sums} FROM {table}
         WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR api_key = ?2) AND (?3 IS NULL OR model = ?3)
         AND {time} >= ?4 AND {time} < ?5 {endpoint} /* more */ {group_by}",
        selected.join(", ")
    )
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(query: Query<'q>, of: &UsageQuery, (from, until): (u64, u64)) -> Query<'q> {
    query
        .bind(of.account.as_ref().map(|account| account.as_str().to_owned()))
        .bind(of.key.as_ref().map(|key| key.as_str().to_owned()))
        .bind(of.model.as_ref().map(|model| model.as_str().to_owned()))
        .bind(bound(Some(from)))
        .bind(bound(Some(until)))
}

fn read(row: &SqliteRow) -> Result<UsageRow, LedgerFault> {
    // A sum of no rows is NULL.
    let count = |column| Ok::<u64, sqlx::Error>(row.try_get::<Option<u64>, _>(column)?.unwrap_or(0));
    let requests = count("requests")?;
    let text = |column| row.try_get::<Option<&str>, _>(column);
    let group = UsageGroup {
        account: text("account")?.map(Into::into),
        key: text("api_key")?.map(Into::into),
        model: text("model")?.map(Into::into),
        endpoint: text("endpoint")?.map(Into::into),
        price_version: row.try_get::<Option<i64>, _>("price_version")?.map(PriceVersion),
        bucket_ms: row.try_get("bucket_ms")?,
    };
    if requests == 0 {
        let sum = UsageSum::default();
        return Ok(UsageRow { group, sum });
    }
    let sum = UsageSum {
        requests,
        prompt_tokens: count("prompt_tokens")?,
        cached_tokens: count("cached_tokens")?,
        completion_tokens: count("completion_tokens")?,
        reasoning_tokens: count("reasoning_tokens")?,
        cost: joined(row, "cost")?,
    };
    Ok(UsageRow { group, sum })
}
