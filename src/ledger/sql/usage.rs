//! Usage, summed: from roll-ups for whole hours, or days where there are any, from entries for the rest.

use super::super::usage::{UsageGroup, UsageSum, merge};
use super::super::{Bucket, LedgerFault, UsageQuery, UsageRow};
use super::pages::{bound, end_id, lowest_id};
use super::{DAYS, ENTRIES, HOURS, Source, Sums};
use crate::store::database::{Database, on};
use crate::store::row::Columns;
use farebox_domain::price::PriceVersion;
use sqlx::AssertSqlSafe;

/// A span of a table, in what its time counts in: from, until.
type Part = (&'static Source, (u64, u64));

pub(super) async fn usage(database: &Database, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
    let mut found = Vec::new();
    for part in parts(database, query) {
        found.extend(rows_in(database, query, part).await?);
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

/// The coarsest tables that have what is asked for: days within hours within entries.
fn parts(database: &Database, query: &UsageQuery) -> Vec<Part> {
    let spans = query.spans();
    let mut parts: Vec<Part> = spans.entries.into_iter().map(|span| (&ENTRIES, span)).collect();
    let Some((first, end)) = spans.rollups else {
        return parts;
    };
    let days = (first.div_ceil(24), end / 24);
    let by_hour = query.group_by.bucket == Some(Bucket::Hour);
    if by_hour || matches!(database, Database::Sqlite(_)) || days.0 >= days.1 {
        parts.push((&HOURS, (first, end)));
        return parts;
    }
    parts.push((&DAYS, days));
    let edges = [(first, days.0 * 24), (days.1 * 24, end)];
    parts.extend(
        edges
            .into_iter()
            .filter(|(from, until)| from < until)
            .map(|edge| (&HOURS, edge)),
    );
    parts
}

async fn rows_in(
    database: &Database,
    of: &UsageQuery,
    (source, (from, until)): Part,
) -> Result<Vec<UsageRow>, LedgerFault> {
    let sql = select(of, source, Sums::of(database));
    on!(database, pool => {
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(of.account.as_ref().map(|account| account.as_str()))
            .bind(of.key.as_ref().map(|key| key.as_str()))
            .bind(of.model.as_ref().map(|model| model.as_str()))
            .bind(bound(Some(from)))
            .bind(bound(Some(until)));
        if source.has_ids() {
            let lowest = lowest_id(Some(from)).as_bytes().to_vec();
            query = query.bind(lowest).bind(end_id(Some(until)));
        }
        query.fetch_all(pool).await?.iter().map(read).collect()
    })
}

/// Composed of the constants here alone; what the query holds is bound.
fn select(query: &UsageQuery, source: &Source, sums: &Sums) -> String {
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
    let (requests, cost, ids) = if source.has_ids() {
        // The bounds of ids find the rows, which the time alone would not.
        ("count(*)", sums.of_entries, "AND id >= $6 AND id < $7")
    } else {
        ("sum(requests)", sums.of_rollups, "")
    };
    // PostgreSQL sums 64-bit numbers into NUMERIC; the sum of a roll-up fits into 64 bits again.
    let sum = |what: &str, name: &str| format!("CAST({what} AS bigint) AS {name}");
    let tokens = |name: &str| sum(&format!("sum({name})"), name);
    let sums = [
        sum(requests, "requests"),
        tokens("prompt_tokens"),
        tokens("cached_tokens"),
        tokens("completion_tokens"),
        tokens("reasoning_tokens"),
        cost.to_owned(),
    ];
    format!(
        "SELECT {}, {} FROM {}
         WHERE ($1 IS NULL OR account = $1) AND ($2 IS NULL OR api_key = $2) AND ($3 IS NULL OR model = $3)
         AND {time} >= $4 AND {time} < $5 {ids} {endpoint} {group_by}",
        selected.join(", "),
        sums.join(", "),
        source.table,
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
