//! What the engines' own token counters said, kept beside the ledger so that it can be held against them.

use super::LedgerFault;
use farebox_domain::ids::EngineName;

/// Samples are kept for 90 days.
pub const KEPT_MS: u64 = 90 * 24 * 3_600_000;

/// What an engine's counters said at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterSample {
    /// Whose.
    pub engine: EngineName,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The id of the replica that asked it; empty where there is one farebox alone.
    pub replica: String,
    /// Prompt tokens since it started, as the engine counts them.
    pub prompt_tokens: u64,
    /// Tokens made since it started.
    pub generation_tokens: u64,
    /// Cached prompt tokens since it started, if it counts them.
    pub cached_tokens: Option<u64>,
    /// When its process started, in seconds since 1970, if it says.
    pub started_at_s: Option<u64>,
    /// Requests that were there from here.
    pub in_flight: u64,
    /// Tries at it that failed since this replica's sample before.
    pub failed_attempts: u64,
}

impl CounterSample {
    /// Whether the engine started anew after `before`: a counter fell, or its process is another.
    pub fn is_restarted_since(&self, before: &Self) -> bool {
        let other_process = match (self.started_at_s, before.started_at_s) {
            (Some(now), Some(then)) => now != then,
            _ => false,
        };
        other_process
            || self.prompt_tokens < before.prompt_tokens
            || self.generation_tokens < before.generation_tokens
    }
}

/// Where samples are kept. Every replica samples every engine: only it knows what it has there and which of its tries failed.
#[async_trait::async_trait]
pub trait EngineCounters: Send + Sync + 'static {
    /// Keeps samples, and forgets those that are [`KEPT_MS`] older than the newest of them.
    async fn keep_counters(&self, samples: &[CounterSample]) -> Result<(), LedgerFault>;

    /// The samples from one moment to another, both included, by engine, time and replica.
    async fn counters(&self, since_ms: u64, until_ms: u64) -> Result<Vec<CounterSample>, LedgerFault>;
}
