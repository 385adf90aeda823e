//! Why a request goes to the engine that it goes to.

use farebox_domain::ids::{AccountId, EngineName, ModelId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request whose way is to be explained: it is sent nowhere.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRoute {
    /// Who would send it: an account's id. Matters where the model keeps accounts apart in its engines' caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub account: Option<AccountId>,
    /// By which route: `chat_completions` (where nothing is said), `completions` or `embeddings`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The request's body, as a client would send it.
    pub request: serde_json::Map<String, serde_json::Value>,
}

/// What routing would do with a request now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RouteView {
    /// The model that it asks for.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// How an engine is chosen among those that serve it.
    pub routing: String,
    /// Its prompt's tokens, estimated; absent where the model is not routed by its prompt.
    pub prompt_tokens: Option<u64>,
    /// Which engine it would go to; absent where none has a place.
    #[schemars(with = "Option<String>")]
    pub chosen: Option<EngineName>,
    /// Why, in a sentence.
    pub why: String,
    /// Every engine that serves the model.
    pub engines: Vec<EngineScoreView>,
}

/// What routing thinks of one engine for the request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EngineScoreView {
    /// Which engine.
    #[schemars(with = "String")]
    pub engine: EngineName,
    /// Whether it may be given requests.
    pub usable: bool,
    /// Whether it has as many as it may be given.
    pub full: bool,
    /// Requests in flight there, from this replica.
    pub in_flight: u32,
    /// What the request would cost there; absent where the model is not routed by that.
    pub estimate: Option<EstimateView>,
}

/// What a request would cost at an engine. The least total is chosen.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EstimateView {
    /// Tokens of the prompt that the engine is thought to hold.
    pub predicted_cached_tokens: u64,
    /// Whom that is by: `events` of the engine's own, or what was `sent` there.
    pub source: String,
    /// The same, as far as the engine's answers have borne such predictions out.
    pub expected_cached_tokens: u64,
    /// Milliseconds for the prefill that is left.
    pub prefill_ms: u64,
    /// Milliseconds for the prefill ahead of it.
    pub queue_ms: u64,
    /// Milliseconds for the streams that run there.
    pub decode_ms: u64,
    /// Milliseconds that its prefill costs others: who waits behind it, and whose blocks it takes the place of.
    pub others_ms: u64,
    /// All of them.
    pub total_ms: u64,
}
