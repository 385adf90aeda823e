//! What is given back, and what a corrected price changes: entries are never edited, so both are entries of their own.

use super::money::AdjustmentView;
use super::{Money, PriceView};
use farebox_domain::ids::{AccountId, ModelId};
use farebox_domain::price::PriceVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /admin/v1/ledger/rerate`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRerate {
    /// The model, by id or alias; one that is sold no more, by its id.
    pub model: String,
    /// The first moment: a time, a date or a span back from now.
    pub since: String,
    /// The first moment that is not rerated any more, not in the future; without it, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The whole corrected price, as models.yaml has it.
    pub price: Value,
    /// Whether the differences are booked, or only shown.
    #[serde(default)]
    pub book: bool,
    /// The operator's own name for this rerate, to book it: the same one again books what is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// For people: why.
    #[serde(default)]
    pub note: String,
}

/// What a corrected price changes, or has changed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RerateView {
    /// The model.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// The first moment.
    pub since: String,
    /// The first moment that is not rerated any more.
    pub until: String,
    /// The corrected price.
    pub price: PriceView,
    /// The version under which it was booked; `null` where it is only shown.
    #[schemars(with = "Option<i64>")]
    pub version: Option<PriceVersion>,
    /// The model's entries in that time.
    pub entries: u64,
    /// Those that an earlier run of the same reference has corrected.
    pub corrected_before: u64,
    /// Those that would cost something else, and were given back: they are left alone.
    pub left_refunded: u64,
    /// Corrections that were booked now.
    pub booked: u64,
    /// What differs, by account.
    pub accounts: Vec<RerateRow>,
    /// All accounts together.
    pub total: RerateRow,
}

/// Entries whose cost differs at the corrected price.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RerateRow {
    /// Whose; left out of the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub account: Option<AccountId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// How many differ.
    pub entries: u64,
    /// What they cost until now: as booked, less earlier corrections.
    pub cost: Money,
    /// What they cost at the corrected price.
    pub corrected: Money,
    /// What the account gets back; below zero it pays more.
    pub difference: Money,
}

/// `POST /admin/v1/ledger/refunds`. Either `usd` or `all`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRefund {
    /// The request: `req_...`
    pub request: String,
    /// How much, in USD: a decimal as a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<String>,
    /// All that it cost, less what was given back or corrected before.
    #[serde(default)]
    pub all: bool,
    /// The operator's own name for this refund. The same one again books nothing.
    pub reference: String,
    /// For people: why.
    pub note: String,
}

/// A refund, and what its request comes to after it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RefundView {
    /// Whether it was booked now; `false` if its reference was there before.
    pub booked: bool,
    /// The refund.
    pub refund: AdjustmentView,
    /// Whose.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// What the request cost when it was booked.
    pub cost: Money,
    /// What corrected prices gave back; below zero they took more.
    pub corrected: Money,
    /// What was given back, this refund among it.
    pub refunded: Money,
    /// What it still costs.
    pub left: Money,
}
