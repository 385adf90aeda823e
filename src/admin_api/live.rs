//! What happens now: requests in flight, and the last refusals, of the replica that is asked.

use super::Money;
use farebox_domain::ids::{AccountId, EngineName, KeyId, ModelId, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request in flight.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LiveView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: RequestId,
    /// Who pays.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// Its name.
    pub account_name: Option<String>,
    /// With which key.
    #[schemars(with = "String")]
    pub key: KeyId,
    /// What was asked for.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// Where it is; `null` before it is sent to one.
    #[schemars(with = "Option<String>")]
    pub engine: Option<EngineName>,
    /// By which route.
    pub endpoint: String,
    /// In which tier.
    pub service_tier: String,
    /// How long ago it was admitted.
    pub age_ms: u64,
    /// Whether it asks for a stream.
    pub stream: bool,
    /// Whether the engine has begun to answer.
    pub answering: bool,
    /// Prompt tokens, as far as they are known.
    pub prompt_tokens: u64,
    /// Completion tokens so far.
    pub completion_tokens: u64,
    /// What it costs so far.
    pub cost: Money,
}

/// A request that was refused.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RefusedView {
    /// When.
    pub at: String,
    /// Its id.
    #[schemars(with = "String")]
    pub id: RequestId,
    /// Who asked; `null` where no key of ours was given.
    #[schemars(with = "Option<String>")]
    pub account: Option<AccountId>,
    /// Its name.
    pub account_name: Option<String>,
    /// With which key.
    #[schemars(with = "Option<String>")]
    pub key: Option<KeyId>,
    /// What was asked for, where it is sold.
    #[schemars(with = "Option<String>")]
    pub model: Option<ModelId>,
    /// The status that it was answered with.
    pub status: u16,
    /// The code that it was answered with.
    pub code: String,
    /// What it was told; `null` where that may quote the request.
    pub message: Option<String>,
}

/// `GET /admin/v1/receipts/{request_id}`: the owner's receipt, and whose it is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StaffReceiptView {
    /// Who pays.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// Its name.
    pub account_name: Option<String>,
    /// Who served it.
    #[schemars(with = "Option<String>")]
    pub engine: Option<EngineName>,
    /// As its owner is shown it.
    #[serde(flatten)]
    pub receipt: Value,
}
