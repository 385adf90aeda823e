//! Keys: what is said to change one, to replace its secret, and to make one as an account's owner.

use farebox_domain::key::{ModelGlob, Scope, Scopes};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// `PATCH /admin/v1/keys/{key}`: what is not said stays as it is.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyChange {
    /// 1 to 100 printable characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for, all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scopes")]
    pub scopes: Option<Scopes>,
    /// The models that it is for, as patterns; an empty list: every model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub allowed_models: Option<Vec<ModelGlob>>,
    /// Addresses and networks that it is used from; an empty list: from anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    /// How long it holds from now on. Not together with `expires_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// When it ends: a time or a date of [`when`](super::when); `null`: when it is revoked.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<String>>,
    /// Requests in flight with it at once; `null`: as many as its account may have.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<Option<u32>>,
}

/// Something that is said, if it is `null` too.
pub(super) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What the OpenAPI document says of scopes.
pub(super) fn scopes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"enum": Scope::ALL.map(Scope::as_str)}})
}

/// `POST /admin/v1/keys/{key}/rotate` and `POST /v1/me/keys/{key}/rotate`
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyRotation {
    /// How long the secret that is replaced holds beside the new one; nothing: it ends at once.
    pub overlap_seconds: u64,
}

/// `POST /v1/me/keys`: what is not said is as with the key that asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOwnKey {
    /// 1 to 100 printable characters.
    pub name: String,
    /// How long it holds. Not together with `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// When it ends: a time or a date of [`when`](super::when).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What it is for; what is not said is `inference` and `usage`, as far as the key that asks has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// The models that it is for, as patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_models: Option<Vec<ModelGlob>>,
    /// Addresses and networks that it is used from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    /// Requests in flight with it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u32>,
    /// Whether tokens can be signed with it.
    #[serde(default)]
    pub jwt: bool,
}
