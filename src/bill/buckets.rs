//! Usage in stretches of time, a page at a time: what OpenAI's usage and costs endpoints are made of.

use crate::ledger::usage::{UsageGroup, merge};
use crate::ledger::{Bucket, GroupBy, Ledger, LedgerFault, UsageQuery, UsageRow};
use farebox_domain::ids::{AccountId, KeyId, ModelId};
use std::collections::BTreeMap;

/// What is asked for. Times are seconds since 1970.
#[derive(Debug, Clone)]
pub struct BucketsQuery {
    /// Whose usage.
    pub account: AccountId,
    /// How long a bucket is. Buckets begin at whole minutes, hours and days of UTC.
    pub width: Bucket,
    /// From then on.
    pub since_s: u64,
    /// Until then, that second not counted.
    pub until_s: u64,
    /// How many buckets a page has.
    pub limit: u64,
    /// By what a bucket's rows are told apart.
    pub group_by: GroupBy,
    /// Only these models; empty is all.
    pub models: Vec<ModelId>,
    /// Only these keys; empty is all.
    pub keys: Vec<KeyId>,
    /// Only embeddings, or only what is none.
    pub embeddings: Option<bool>,
}

/// A stretch of time and what was used in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRows {
    /// From then on: the bucket's own beginning, or the query's where that is later.
    pub since_s: u64,
    /// Until then: the bucket's end, or the query's.
    pub until_s: u64,
    /// What was used; empty where nothing was.
    pub rows: Vec<UsageRow>,
}

/// Some buckets in the order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketsPage {
    /// All of them, those in which nothing was used too.
    pub buckets: Vec<BucketRows>,
    /// Where the next page begins, if this is not the last.
    pub next_s: Option<u64>,
}

/// The page that begins at `since_s`.
pub async fn page(ledger: &dyn Ledger, query: &BucketsQuery) -> Result<BucketsPage, LedgerFault> {
    let width = query.width.length_ms() / 1000;
    let first = query.since_s / width * width;
    let end = first
        .saturating_add(width.saturating_mul(query.limit))
        .min(query.until_s);
    let mut found = rows_by_bucket(ledger, query, end).await?;
    let mut buckets = Vec::new();
    let mut start = first;
    while start < end {
        let next = start.saturating_add(width);
        buckets.push(BucketRows {
            since_s: start.max(query.since_s),
            until_s: next.min(end),
            rows: found.remove(&start).unwrap_or_default(),
        });
        start = next;
    }
    Ok(BucketsPage {
        buckets,
        next_s: (end < query.until_s).then_some(end),
    })
}

/// The page's rows by the second in which their bucket begins. The ledger is asked once, by whatever is filtered too; what
/// was not grouped by is then put together again.
async fn rows_by_bucket(
    ledger: &dyn Ledger,
    query: &BucketsQuery,
    end_s: u64,
) -> Result<BTreeMap<u64, Vec<UsageRow>>, LedgerFault> {
    let asked = query.group_by;
    let usage = UsageQuery {
        group_by: GroupBy {
            model: asked.model || !query.models.is_empty(),
            key: asked.key || !query.keys.is_empty(),
            bucket: Some(query.width),
            ..asked
        },
        account: Some(query.account.clone()),
        embeddings: query.embeddings,
        since_ms: Some(query.since_s.saturating_mul(1000)),
        until_ms: Some(end_s.saturating_mul(1000)),
        ..UsageQuery::default()
    };
    let rows = ledger.usage(&usage).await?;
    let wanted = rows
        .into_iter()
        .filter(|row| is_among(row.group.model.as_ref(), &query.models))
        .filter(|row| is_among(row.group.key.as_ref(), &query.keys))
        .map(|row| UsageRow {
            group: UsageGroup {
                model: row.group.model.filter(|_| asked.model),
                key: row.group.key.filter(|_| asked.key),
                ..row.group
            },
            sum: row.sum,
        });
    let mut by_bucket: BTreeMap<u64, Vec<UsageRow>> = BTreeMap::new();
    for row in merge(wanted)? {
        let start_s = row.group.bucket_ms.unwrap_or(0) / 1000;
        by_bucket.entry(start_s).or_default().push(row);
    }
    Ok(by_bucket)
}

fn is_among<T: PartialEq>(value: Option<&T>, wanted: &[T]) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
}
