//! Usage, summed: from roll-ups for whole hours, from entries for the rest.

use super::super::usage::{HOUR_MS, UsageGroup, UsageSum, merge};
use super::super::{Bucket, LedgerFault, UsageQuery, UsageRow};
use super::Sums;
use super::pages::{bound, end_id, lowest_id};
use crate::store::database::{Database, on};
use crate::store::row::Columns;
use farebox_domain::price::PriceVersion;
use sqlx::AssertSqlSafe;

/// A table of what was used.
struct Source {
    table: &'static str,
    /// The column that says when, and what it counts in.
    time: &'static str,
    unit_ms: u64,
    /// What is summed, but for the cost. Tokens are bounded (`Usage::MAX_TOKENS`), costs are not.
    requests: &'static str,
    /// Bounds that find the rows faster than the time does.
    ids: &'static str,
}

const ENTRIES: Source = Source {
    table: "entries",
    time: "admitted_at_ms",
    unit_ms: 1,
    requests: "count(*)",
    ids: "AND id >= $6 AND id < $7",
};
const ROLLUPS: Source = Source {
    table: "usage_rollups",
    time: "hour",
    unit_ms: HOUR_MS,
    requests: "sum(requests)",
    ids: "",
};

pub(super) async fn usage(database: &Database, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
    let (spans, sums) = (query.spans(), Sums::of(database));
    let mut found = Vec::new();
    for span in spans.entries {
        let sql = select(query, &ENTRIES, sums.of_entries);
        found.extend(rows_in(database, sql, query, span, true).await?);
    }
    if let Some(hours) = spans.rollups {
        let sql = select(query, &ROLLUPS, sums.of_rollups);
        found.extend(rows_in(database, sql, query, hours, false).await?);
    }
    let mut merged = merge(found.into_iter().filter(|row| row.sum.requests > 0))?;
    if merged.is_empty() && query.group_by == Default::default() {
        merged.push(UsageRow {
            group: UsageGroup::default(),
            sum: UsageSum::default(),
        });
    }
    Ok(merged)
}

async fn rows_in(
    database: &Database,
    sql: String,
    of: &UsageQuery,
    (from, until): (u64, u64),
    with_ids: bool,
) -> Result<Vec<UsageRow>, LedgerFault> {
    on!(database, pool => {
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(of.account.as_ref().map(|account| account.as_str()))
            .bind(of.key.as_ref().map(|key| key.as_str()))
            .bind(of.model.as_ref().map(|model| model.as_str()))
            .bind(bound(Some(from)))
            .bind(bound(Some(until)));
        if with_ids {
            let lowest = lowest_id(Some(from)).as_bytes().to_vec();
            query = query.bind(lowest).bind(end_id(Some(until)));
        }
        query.fetch_all(pool).await?.iter().map(read).collect()
    })
}

/// Composed of the constants here alone; what the query holds is bound.
fn select(query: &UsageQuery, source: &Source, cost: &str) -> String {
    let (by, time) = (query.group_by, source.time);
    let bucket = |bucket: Bucket| {
        let units = bucket.length_ms() / source.unit_ms;
        format!("{time} / {units} * {}", bucket.length_ms())
    };
    let column = |name: &str, wanted: bool| wanted.then(|| name.to_owned());
    let groups = [
        ("account", column("account", by.account)),
        ("api_key", column("api_key", by.key)),
        ("model", column("model", by.model)),
        ("endpoint", column("endpoint", by.endpoint)),
        ("price_version", column("price_version", by.price_version)),
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
    // PostgreSQL sums 64-bit numbers into NUMERIC; the sum of a roll-up fits into 64 bits again.
    let sum = |what: &str, name: &str| format!("CAST({what} AS bigint) AS {name}");
    let tokens = |name: &str| sum(&format!("sum({name})"), name);
    let sums = [
        sum(source.requests, "requests"),
        tokens("prompt_tokens"),
        tokens("cached_tokens"),
        tokens("completion_tokens"),
        tokens("reasoning_tokens"),
        cost.to_owned(),
    ];
    format!(
        "SELECT {}, {} FROM {}
         WHERE ($1 IS NULL OR account = $1) AND ($2 IS NULL OR api_key = $2) AND ($3 IS NULL OR model = $3)
         AND {time} >= $4 AND {time} < $5 {} {endpoint} {group_by}",
        selected.join(", "),
        sums.join(", "),
        source.table,
        source.ids,
    )
}

fn read(row: &impl Columns) -> Result<UsageRow, LedgerFault> {
    let text = |column| Ok::<_, LedgerFault>(row.text_if_any(column)?.map(str::to_owned));
    let group = UsageGroup {
        account: text("account")?.map(Into::into),
        key: text("api_key")?.map(Into::into),
        model: text("model")?.map(Into::into),
        endpoint: text("endpoint")?,
        price_version: row.integer_if_any("price_version")?.map(PriceVersion),
        bucket_ms: row.count_if_any("bucket_ms")?,
    };
    // A sum of no rows is NULL.
    let count = |column| Ok::<u64, LedgerFault>(row.count_if_any(column)?.unwrap_or(0));
    let requests = count("requests")?;
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
        cost: row.sum("cost")?,
    };
    Ok(UsageRow { group, sum })
}
