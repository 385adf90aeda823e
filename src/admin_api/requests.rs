//! Requests for more: what an owner asks for, and what is decided.

use farebox_domain::ids::{AccountId, KeyId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /v1/me/rate_limit/request`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLimitRequest {
    /// Requests in flight at once.
    pub rate_limit: u32,
    /// Tokens a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm_rate_limit: Option<u64>,
    /// Why: 1 to 1000 characters.
    pub reason: String,
}

/// `POST /admin/v1/limit-requests/{request}/approve`
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApproveRequest {
    /// What its owner is told: at most 1000 characters.
    pub note: String,
    /// Requests in flight at once that are given, where it is not what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u32>,
}

/// `POST /admin/v1/limit-requests/{request}/decline`
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeclineRequest {
    /// What its owner is told: at most 1000 characters.
    pub note: String,
}

/// A request for a higher limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitRequestView {
    /// Its id, `ask_...`.
    pub id: String,
    /// For which account.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// That account's name.
    pub account_name: String,
    /// The key that asked.
    #[schemars(with = "String")]
    pub key: KeyId,
    /// Requests in flight at once that are asked for.
    pub rate_limit: u32,
    /// Tokens a minute that are asked for.
    pub tpm_rate_limit: Option<u64>,
    /// Why.
    pub reason: String,
    /// `open`, `approved` or `declined`.
    pub state: String,
    /// When it was asked.
    pub created_at: String,
    /// When it was decided.
    pub decided_at: Option<String>,
    /// What its owner is told.
    pub note: Option<String>,
    /// Requests in flight at once that were given.
    pub granted: Option<u32>,
    /// Who decided; not shown to its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// What the account may have in flight now.
    pub concurrent_requests: u32,
    /// What it has.
    pub in_flight: u32,
}
