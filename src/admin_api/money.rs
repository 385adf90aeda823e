//! What accounts pay in, may owe and may spend.

use super::Money;
use farebox_domain::ids::{AccountId, AdjustmentId, KeyId, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /admin/v1/accounts/{account}/credit`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredit {
    /// USD, a decimal as a string: `"20"`. Below zero it takes credit back.
    pub usd: String,
    /// For people: why.
    pub note: String,
    /// The operator's own name for this payment. The same one again books nothing.
    pub reference: String,
}

/// What became of a credit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreditView {
    /// Whether it was booked now; `false` if its reference was there before.
    pub booked: bool,
    /// The account's money after it.
    pub balance: BalanceView,
}

/// `PUT /admin/v1/accounts/{account}/spending`. What is left out stays as it is; `null` takes the limit away.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpendingChange {
    /// What the account may owe at the most, in USD: `"0"` is prepaid, `null` is without a ceiling.
    #[serde(default, with = "said", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub postpaid_usd: Option<Option<String>>,
    /// What it may spend in a calendar month (UTC), in USD.
    #[serde(default, with = "said", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub monthly_usd: Option<Option<String>>,
}

/// `PUT /admin/v1/keys/{key}/spending`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["monthly_usd"]))]
pub struct KeySpendingChange {
    /// What may be spent with the key in a calendar month (UTC), in USD; `null` takes the limit away. It must be said.
    #[serde(deserialize_with = "Option::deserialize")]
    pub monthly_usd: Option<String>,
}

/// A field that is left out is not the same as one that is null.
mod said {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        value: &Option<Option<String>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<String>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}

/// An account's money.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BalanceView {
    /// The account.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// Credit, refunds and corrections, less what requests cost. Below zero it owes.
    pub balance: Money,
    /// What it may owe at the most: zero is prepaid, `null` is without a ceiling.
    pub postpaid: Option<Money>,
    /// What requests in flight hold: the most that they can still cost.
    pub held: Money,
    /// What is left for new requests: balance and what may be owed, less what is held; `null` is without a ceiling.
    pub available: Option<Money>,
    /// This month.
    pub month: MonthView,
}

/// What was spent in a calendar month, and what may be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MonthView {
    /// The month, in UTC: `2026-11`.
    pub month: String,
    /// What its requests cost until now.
    pub spent: Money,
    /// What those in flight hold.
    pub held: Money,
    /// What may be spent; `null` is without a ceiling.
    pub limit: Option<Money>,
}

/// A key's spending.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeySpendingView {
    /// The key.
    #[schemars(with = "String")]
    pub key: KeyId,
    /// Its account.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// This month.
    pub month: MonthView,
}

/// An entry that is not a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdjustmentView {
    /// Its id: `adj_...`
    #[schemars(with = "String")]
    pub id: AdjustmentId,
    /// When it was booked.
    pub booked_at: String,
    /// `credit`, `refund`, `correction` or `write_off`.
    pub kind: String,
    /// What it adds to the balance; below zero it takes away.
    pub amount: Money,
    /// The request that it is about.
    #[schemars(with = "Option<String>")]
    pub request: Option<RequestId>,
    /// The price version that the request was rerated to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<i64>,
    /// The operator's name for it.
    pub reference: String,
    /// For people.
    pub note: String,
}
