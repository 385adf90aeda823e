//! What the ledger is asked for by people: usage, summed.

use farebox_domain::ids::{AccountId, KeyId, ModelId};
use farebox_domain::money::Picodollars;
use serde::{Deserialize, Serialize};

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
    /// Each day apart: UTC, by the time of admission.
    pub day: bool,
}

/// Which entries, and how they are summed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageQuery {
    /// How they are summed.
    pub group_by: GroupBy,
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Only those admitted at this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only those admitted before this time, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

/// The sum of some entries. A field that the query did not group by is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// Whose.
    pub account: Option<AccountId>,
    /// With which key.
    pub key: Option<KeyId>,
    /// Of which model.
    pub model: Option<ModelId>,
    /// On which day: `2026-01-31`, UTC.
    pub day: Option<String>,
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
