//! Who administers, and what they changed.

use farebox_domain::role::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /admin/v1/tokens`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// 1 to 100 printable characters: whose it is.
    pub name: String,
    /// What may be done with it.
    #[schemars(with = "String")]
    pub role: Role,
    /// How long it holds. Not together with `expires_at`; without either it holds until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// When it ends: a time or a date of [`super::when`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What may be done with it.
    #[schemars(with = "String")]
    pub role: Role,
    /// Whether it opens anything.
    pub status: super::KeyStatus,
    /// When it was made.
    pub created_at: String,
    /// When it ends by itself.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
}

/// A token that was just made: the only answer that has the secret.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// The token.
    #[serde(flatten)]
    pub token: TokenView,
    /// `fba_` and 256 random bits. Only its hash is kept.
    pub secret: String,
}

/// `GET /admin/v1/me`: whoever asks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StaffView {
    /// The token's id, or `root`.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What may be done with it.
    #[schemars(with = "String")]
    pub role: Role,
}

/// `GET /admin/v1/audit`: a change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    /// Its number: they rise.
    pub number: u64,
    /// When it was made.
    pub at: String,
    /// The id of whoever made it: a token's, or `root`.
    pub who: String,
    /// What they were called.
    pub who_name: String,
    /// What was done, for example `limits.set`.
    pub action: String,
    /// To what: the id of an account, a key, a token, a request, or a model's or an engine's name.
    pub target: String,
    /// What it was before; `null` where there was nothing.
    pub before: Value,
    /// What it was then; `null` where there was nothing any more.
    pub after: Value,
    /// The admin request that did it: its answer's `x-request-id`.
    pub request_id: String,
}
