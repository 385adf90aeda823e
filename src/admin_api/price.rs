//! Prices: as they are shown, and how one is given.

use farebox_domain::ids::ModelId;
use farebox_domain::price::{ContextTier, Price, PriceVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A model's prices as models.yaml writes them. What a model is not sold by is left out, but for `cached_input`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceView {
    /// USD per million prompt tokens.
    pub input: String,
    /// USD per million cached prompt tokens; `null` is the price of `input`.
    pub cached_input: Option<String>,
    /// USD per million completion tokens.
    pub output: String,
    /// Prices of tokens for requests with a long prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_tiers: Vec<ContextTierView>,
    /// USD a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request: Option<String>,
    /// USD per second of engine time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_engine_second: Option<String>,
    /// USD an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_image: Option<String>,
    /// USD per million characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_million_characters: Option<String>,
    /// USD per second of audio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_audio_second: Option<String>,
    /// By what the priority tier multiplies everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// By what the flex tier multiplies everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flex: Option<String>,
}

/// What tokens cost above a length of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContextTierView {
    /// The prompt is longer than this.
    pub above_prompt_tokens: u64,
    /// USD per million prompt tokens.
    pub input: String,
    /// USD per million cached prompt tokens; `null` is the price of `input`.
    pub cached_input: Option<String>,
    /// USD per million completion tokens.
    pub output: String,
}

impl From<&Price> for PriceView {
    fn from(price: &Price) -> Self {
        fn shown<T: ToString>(price: Option<T>) -> Option<String> {
            price.map(|price| price.to_string())
        }
        Self {
            input: price.input.to_string(),
            cached_input: shown(price.cached_input),
            output: price.output.to_string(),
            context_tiers: price.context_tiers.iter().map(ContextTierView::from).collect(),
            per_request: shown(price.per_request),
            per_engine_second: shown(price.per_engine_second),
            per_image: shown(price.per_image),
            per_million_characters: shown(price.per_million_characters),
            per_audio_second: shown(price.per_audio_second),
            priority: shown(price.priority),
            flex: shown(price.flex),
        }
    }
}

impl From<&ContextTier> for ContextTierView {
    fn from(tier: &ContextTier) -> Self {
        Self {
            above_prompt_tokens: tier.above_prompt_tokens,
            input: tier.input.to_string(),
            cached_input: tier.cached_input.map(|price| price.to_string()),
            output: tier.output.to_string(),
        }
    }
}

/// `POST /admin/v1/prices`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrice {
    /// The model, by id or alias.
    pub model: String,
    /// The whole price, with the keys and texts that it has in models.yaml. What is left out is not sold any more.
    pub price: Value,
    /// From when it holds: a time, a date or a span of [`when`](super::when), not in the past. Without it, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Whether a price holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceStatus {
    /// It did.
    Past,
    /// It does.
    Current,
    /// It will.
    Scheduled,
    /// It never does by itself: requests were rerated by it.
    Rerate,
}

impl PriceStatus {
    /// Its name in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Past => "past",
            Self::Current => "current",
            Self::Scheduled => "scheduled",
            Self::Rerate => "rerate",
        }
    }
}

/// One version of a model's price.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PriceVersionView {
    /// The model.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// The version's number, which entries carry.
    #[schemars(with = "i64")]
    pub version: PriceVersion,
    /// Whether it holds.
    pub status: PriceStatus,
    /// From when it holds; `null` where it never does by itself.
    pub from: Option<String>,
    /// The price.
    pub price: PriceView,
}

/// What was made of a [`NewPrice`].
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PriceSet {
    /// The new version.
    #[serde(flatten)]
    pub set: PriceVersionView,
    /// The price that holds until then.
    pub before: PriceVersionView,
}
