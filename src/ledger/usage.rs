//! What the ledger is asked for by people: usage, summed.

use super::LedgerFault;
use farebox_domain::ids::{AccountId, KeyId, ModelId};
use farebox_domain::ledger::Entry;
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By what usage is summed. Nothing set: one row for everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupBy {
    /// Each account apart.
    pub account: bool,
    /// Each API key apart.
    pub key: bool,
    /// Each model apart.
    pub model: bool,
    /// Each route apart.
    pub endpoint: bool,
    /// Each price version apart.
    pub price_version: bool,
    /// Each stretch of time apart: UTC, by the time of admission.
    pub bucket: Option<Bucket>,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// A minute. Read from the entries themselves, so for short spans.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Bucket {
    /// How long it is, in milliseconds.
    pub const fn length_ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => HOUR_MS,
            Self::Day => 24 * HOUR_MS,
        }
    }
}

/// What roll-ups are kept by, in milliseconds.
pub const HOUR_MS: u64 = 3_600_000;

/// Which entries, and how they are summed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageQuery {
    /// How they are summed.
    pub group_by: GroupBy,
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Only this key's.
    pub key: Option<KeyId>,
    /// Only this model's.
    pub model: Option<ModelId>,
    /// Only embeddings, or only what is none.
    pub embeddings: Option<bool>,
    /// Only those admitted at this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only those admitted before this time, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

/// What a row stands for. A field that the query did not group by is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UsageGroup {
    /// Whose.
    pub account: Option<AccountId>,
    /// With which key.
    pub key: Option<KeyId>,
    /// Of which model.
    pub model: Option<ModelId>,
    /// By which route: its name in the ledger.
    pub endpoint: Option<String>,
    /// Under which price.
    pub price_version: Option<PriceVersion>,
    /// From when, in milliseconds since 1970.
    pub bucket_ms: Option<u64>,
}

/// The sum of some entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UsageSum {
    /// Entries, those that cost nothing among them.
    pub requests: u64,
    /// Tokens of prompts, cached ones among them.
    pub prompt_tokens: u64,
    /// The cached ones.
    pub cached_tokens: u64,
    /// Tokens produced.
    pub completion_tokens: u64,
    /// The reasoning ones among them.
    pub reasoning_tokens: u64,
    /// What they cost.
    pub cost: Picodollars,
}

impl UsageSum {
    /// Both together.
    pub fn checked_add(self, other: Self) -> Result<Self, LedgerFault> {
        let add = |a: u64, b: u64| a.checked_add(b).ok_or(LedgerFault::Overflow);
        Ok(Self {
            requests: add(self.requests, other.requests)?,
            prompt_tokens: add(self.prompt_tokens, other.prompt_tokens)?,
            cached_tokens: add(self.cached_tokens, other.cached_tokens)?,
            completion_tokens: add(self.completion_tokens, other.completion_tokens)?,
            reasoning_tokens: add(self.reasoning_tokens, other.reasoning_tokens)?,
            cost: self
                .cost
                .checked_add(other.cost)
                .map_err(|_| LedgerFault::Overflow)?,
        })
    }

    /// What one entry adds.
    pub fn of(entry: &Entry) -> Self {
        Self {
            requests: 1,
            prompt_tokens: entry.usage.prompt_tokens,
            cached_tokens: entry.usage.cached_tokens,
            completion_tokens: entry.usage.completion_tokens,
            reasoning_tokens: entry.usage.reasoning_tokens,
            cost: entry.cost,
        }
    }
}

/// A group and its sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// What it stands for.
    #[serde(flatten)]
    pub group: UsageGroup,
    /// What it comes to.
    #[serde(flatten)]
    pub sum: UsageSum,
}

/// Where a query's answer is read: entries for what is no whole hour, roll-ups between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans {
    /// Milliseconds: from, until.
    pub(crate) entries: Vec<(u64, u64)>,
    /// Hours since 1970: from, until.
    pub(crate) rollups: Option<(u64, u64)>,
}

/// Later than any entry, and within 64 signed bits.
const END_MS: u64 = (i64::MAX as u64) / HOUR_MS * HOUR_MS;

impl UsageQuery {
    pub(crate) fn spans(&self) -> Spans {
        let since = self.since_ms.unwrap_or(0).min(END_MS);
        let until = self.until_ms.unwrap_or(END_MS).min(END_MS);
        let (first_whole, end_whole) = (since.div_ceil(HOUR_MS), until / HOUR_MS);
        if self.group_by.bucket == Some(Bucket::Minute) || first_whole >= end_whole {
            let entries = if since < until {
                vec![(since, until)]
            } else {
                vec![]
            };
            return Spans {
                entries,
                rollups: None,
            };
        }
        let edges = [(since, first_whole * HOUR_MS), (end_whole * HOUR_MS, until)];
        Spans {
            entries: edges.into_iter().filter(|(from, to)| from < to).collect(),
            rollups: Some((first_whole, end_whole)),
        }
    }
}

/// Rows of several spans, put together and sorted.
pub(crate) fn merge(rows: impl IntoIterator<Item = UsageRow>) -> Result<Vec<UsageRow>, LedgerFault> {
    let mut sums: BTreeMap<UsageGroup, UsageSum> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry(row.group).or_default();
        *sum = sum.checked_add(row.sum)?;
    }
    Ok(sums
        .into_iter()
        .map(|(group, sum)| UsageRow { group, sum })
        .collect())
}
