//! The dashboard's figures: what all replicas do now, and what they did, as charts draw it.

use super::Money;
use farebox_domain::ids::{AccountId, EngineName, ModelId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An event of `GET /admin/v1/live`: one a second.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct LiveEvent {
    /// When.
    pub at: String,
    /// All together.
    pub overview: LiveOverview,
    /// Accounts with requests in flight, or refused in the last minute.
    pub accounts: Vec<LiveAccount>,
    /// Every engine.
    pub engines: Vec<LiveEngine>,
    /// Every model.
    pub models: Vec<LiveModel>,
}

/// All replicas together.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct LiveOverview {
    /// Replicas that are counted.
    pub replicas: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Those of them that wait for a place at an engine.
    pub waiting: u64,
    /// Requests that ended, over the last ten seconds.
    pub requests_per_second: f64,
    /// Tokens of those.
    pub tokens_per_second: f64,
    /// Requests that were refused, over the last ten seconds.
    pub refusals_per_second: f64,
    /// What was booked in the last minute.
    pub cost_per_minute: Money,
}

/// An account that does something.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LiveAccount {
    /// Its id.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// Its name.
    pub name: Option<String>,
    /// Requests in flight, on all replicas.
    pub in_flight: u64,
    /// How many there may be.
    pub concurrent_requests: Option<u32>,
    /// Refused in the last minute, as many were in flight.
    pub refused_concurrency: u64,
    /// Refused in the last minute by a rate.
    pub refused_rate: u64,
    /// Refused in the last minute for any other reason.
    pub refused_other: u64,
}

/// An engine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LiveEngine {
    /// Its name.
    #[schemars(with = "String")]
    pub name: EngineName,
    /// Requests in flight there, from all replicas.
    pub in_flight: u64,
    /// Requests that wait for a model that it serves.
    pub waiting: u64,
    /// Whether requests may go there, as the replica that is asked sees it.
    pub usable: bool,
    /// Whether it is drained.
    pub drained: bool,
}

/// A model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LiveModel {
    /// Its id.
    #[schemars(with = "String")]
    pub id: ModelId,
    /// Requests in flight.
    pub in_flight: u64,
    /// Those of them that wait.
    pub waiting: u64,
}

/// `GET /admin/v1/series`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SeriesView {
    /// When the first step begins.
    pub from: String,
    /// How long a step is.
    pub step_seconds: u64,
    /// Every step until now, those in which nothing was counted too.
    pub points: Vec<SeriesPoint>,
}

/// What all replicas counted in one step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SeriesPoint {
    /// When it begins.
    pub at: String,
    /// Requests that ended.
    pub requests: u64,
    /// Requests that were refused, by code.
    pub refusals: BTreeMap<String, u64>,
    /// Prompt tokens, cached ones among them.
    pub prompt_tokens: u64,
    /// Cached prompt tokens.
    pub cached_tokens: u64,
    /// Completion tokens.
    pub completion_tokens: u64,
    /// What was booked.
    pub cost: Money,
    /// The time to the first token.
    pub ttft_ms: TtftView,
    /// The most requests that were in flight at once.
    pub in_flight: u64,
}

/// What so many in a hundred requests did not pass, in milliseconds; `null` where there was none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct TtftView {
    /// Half of them.
    pub p50: Option<u32>,
    /// Nine in ten.
    pub p90: Option<u32>,
    /// Ninety-nine in a hundred.
    pub p99: Option<u32>,
}

/// A replica that serves.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaView {
    /// Its id.
    pub id: String,
    /// When its process started.
    pub started_at: String,
    /// When it last said that it lives.
    pub seen_at: String,
    /// Requests in flight there.
    pub in_flight: u64,
    /// Whether it is the one that is asked.
    pub this: bool,
}
