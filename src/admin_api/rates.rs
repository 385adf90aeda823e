//! Requests and tokens a minute, of accounts and keys.

use super::keys::said;
use farebox_domain::ids::{AccountId, KeyId, ModelId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `PUT /admin/v1/accounts/{account}/rates` and `PUT /admin/v1/keys/{key}/rates`: what is left out stays as it is.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RatesChange {
    /// Requests a minute, from 1; `null`: what models.yaml says, and for a key, no limit of its own.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub requests_per_minute: Option<Option<u64>>,
    /// Tokens a minute, of prompts and answers together; likewise.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub tokens_per_minute: Option<Option<u64>>,
}

/// How the rates of an account or a key stand, at the replica that is asked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RatesView {
    /// The account.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// The key, if it is a key's.
    #[schemars(with = "Option<String>")]
    pub key: Option<KeyId>,
    /// Requests; `null` where they are not limited.
    pub requests: Option<RateView>,
    /// Tokens of prompts and answers together; `null` where they are not limited.
    pub tokens: Option<RateView>,
    /// The account's on each model that has rates in models.yaml, which hold besides; none for a key.
    #[serde(default)]
    pub models: Vec<ModelRatesView>,
}

/// How an account's rates on one model stand.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelRatesView {
    /// The model.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// Requests; `null` where they are not limited.
    pub requests: Option<RateView>,
    /// Tokens of prompts and answers together; `null` where they are not limited.
    pub tokens: Option<RateView>,
}

/// How one rate stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RateView {
    /// How many a minute.
    pub per_minute: u64,
    /// How many may be used now.
    pub remaining: u64,
    /// In how many milliseconds all of it will be there, if nothing is used.
    pub reset_ms: u64,
    /// Whether that is models.yaml's number, and not its own.
    pub is_default: bool,
}
