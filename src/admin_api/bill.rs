//! The words of the bill: entries, receipts and statements, as JSON has them, for the account's owner and for
//! operators alike. An engine's name is in none of them.

use super::money::AdjustmentView;
use super::{Money, PriceView};
use farebox_domain::ids::{AccountId, KeyId, ModelId, RequestId};
use farebox_domain::tokens::Usage;
use farebox_domain::units::{ServiceTier, Units};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A price of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitPriceView {
    /// Whole picodollars for one.
    pub picodollars: String,
    /// USD for a million of them.
    pub usd_per_million: String,
}

/// Something that was used, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemView {
    /// `uncached_prompt_tokens`, `cached_prompt_tokens`, `completion_tokens`, or `as_booked`: a sum that the token
    /// counts and token prices alone do not make.
    pub item: String,
    /// How many; `null` for `as_booked`.
    pub quantity: Option<u64>,
    /// What one costs; `null` where it is not priced apart.
    pub unit_price: Option<UnitPriceView>,
    /// `quantity` times `unit_price`; `null` where it is not priced apart.
    pub amount: Option<Money>,
}

/// A price under its version, and since when it holds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NamedPriceView {
    /// Its version: entries name it for ever.
    pub version: i64,
    /// Whose price.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// Since when it holds; `null` never by itself: past requests are corrected by it.
    pub holds_since: Option<String>,
    /// USD per million tokens; `null` where the version is not known.
    pub price: Option<PriceView>,
}

/// `GET /v1/me/entries`: a request as it was booked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EntryView {
    /// farebox's id of it.
    #[schemars(with = "String")]
    pub request_id: RequestId,
    /// The client's own.
    pub client_request_id: Option<String>,
    /// When it was admitted.
    pub admitted_at: String,
    /// With which key.
    #[schemars(with = "String")]
    pub key: KeyId,
    /// Of which model.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// By which route.
    pub endpoint: String,
    /// How it ended.
    pub state: String,
    /// The tokens.
    #[serde(flatten)]
    #[schemars(with = "serde_json::Value")]
    pub usage: Usage,
    /// What is not a token.
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    #[schemars(with = "serde_json::Value")]
    pub units: Units,
    /// The tier that was served.
    #[schemars(with = "String")]
    pub service_tier: ServiceTier,
    /// How the usage is known.
    pub usage_source: String,
    /// Under which price version.
    pub price_version: i64,
    /// What it costs.
    pub cost: Money,
    /// Until the engine that answered was called, in microseconds from its admission.
    pub queue_us: u64,
    /// Until the first event of the answer.
    pub ttft_us: Option<u64>,
    /// Until it was settled.
    pub total_us: u64,
}

/// `GET /v1/receipts/{request_id}` of a request that has ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptView {
    /// `receipt`
    pub object: String,
    /// `settled`
    pub status: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: EntryView,
    /// How it ended, in a sentence.
    pub state_in_words: String,
    /// How its usage is known, in a sentence.
    pub usage_source_in_words: String,
    /// The price that it was admitted under.
    pub price: NamedPriceView,
    /// The computation; the amounts add up to `cost`.
    pub lines: Vec<ItemView>,
    /// Refunds and corrections of it.
    pub adjustments: Vec<AdjustmentView>,
    /// What they come to.
    pub adjusted: Money,
    /// `cost` less `adjusted`.
    pub net: Money,
}

/// `GET /v1/receipts/{request_id}` of a request that has not ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InFlightView {
    /// `receipt`
    pub object: String,
    /// `in_flight`
    pub status: String,
    /// farebox's id of it.
    #[schemars(with = "String")]
    pub request_id: RequestId,
    /// The client's own.
    pub client_request_id: Option<String>,
    /// When it was admitted.
    pub admitted_at: String,
    /// With which key.
    #[schemars(with = "String")]
    pub key: KeyId,
    /// Of which model.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// By which route.
    pub endpoint: String,
    /// Under which price version.
    pub price_version: i64,
}

/// Whether a statement can still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The month is not over.
    Open,
    /// It is, and requests that were admitted in its last hour may still be running.
    Settling,
    /// Nothing is added to it any more: what comes later is an adjustment of a later month.
    Final,
}

/// What one model came to by one route under one price version.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatementLineView {
    /// Of which model.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// By which route.
    pub endpoint: String,
    /// Under which price version.
    pub price_version: i64,
    /// Since when that holds.
    pub price_holds_since: Option<String>,
    /// How many requests, those that cost nothing among them.
    pub requests: u64,
    /// What they used; the amounts add up to `amount`.
    pub items: Vec<ItemView>,
    /// What they cost.
    pub amount: Money,
    /// Whether token counts times token prices are the whole of it. If not, `amount` is the sum of what its entries
    /// were booked at, and one item is `as_booked`.
    pub itemized: bool,
}

/// A month of an account.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatementView {
    /// Whose.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// Its name.
    pub account_name: String,
    /// `2026-11`, in UTC.
    pub month: String,
    /// The month's first moment.
    pub since: String,
    /// The first moment that is not in it: the month's end, or when it was made while the month is open.
    pub until: String,
    /// Whether it can still change.
    pub standing: Standing,
    /// When it was made.
    pub made_at: String,
    /// What the account had when the month began; below zero it owed.
    pub opening_balance: Money,
    /// What its requests of the month cost.
    pub lines: Vec<StatementLineView>,
    /// How many there were.
    pub requests: u64,
    /// What the lines add up to.
    pub usage_total: Money,
    /// Credit, refunds and corrections that were booked in the month.
    pub adjustments: Vec<AdjustmentView>,
    /// What they add up to.
    pub adjustments_total: Money,
    /// `opening_balance` less `usage_total`, and `adjustments_total` added.
    pub closing_balance: Money,
    /// Each price version that is named, with its prices.
    pub prices: Vec<NamedPriceView>,
}

impl StatementView {
    /// Whether the month is not over, so that its last sum is a balance on the way.
    pub fn is_open(&self) -> bool {
        self.standing == Standing::Open
    }
}
