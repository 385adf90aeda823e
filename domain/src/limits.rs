//! What an account may do at once.

use serde::{Deserialize, Serialize};

/// Requests in flight for an account where nobody said otherwise. DeepInfra's number (FACTS.md).
pub const DEFAULT_CONCURRENT_REQUESTS: u32 = 200;
/// The most that a rate may be, in requests or tokens a minute. Nobody reaches it.
pub const RATE_AT_MOST: u32 = 1_000_000_000;

/// What an account has until it is given more: `limits:` of models.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests in flight, from admission to the last byte.
    pub concurrent_requests: u32,
    /// Requests a minute; `None` is without a limit.
    #[serde(default)]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, of prompts and answers; `None` is without a limit.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_requests: DEFAULT_CONCURRENT_REQUESTS,
            requests_per_minute: None,
            tokens_per_minute: None,
        }
    }
}
