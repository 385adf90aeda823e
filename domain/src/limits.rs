//! What an account may do at once.

/// Requests in flight for an account where nobody said otherwise. DeepInfra's number (FACTS.md).
pub const DEFAULT_CONCURRENT_REQUESTS: u32 = 200;
/// The most that a rate may be, in requests or tokens a minute. Nobody reaches it.
pub const RATE_AT_MOST: u32 = 1_000_000_000;

/// What an account has until it is given more: `limits:` of models.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight, from admission to the last byte.
    pub concurrent_requests: u32,
    /// How much a minute.
    pub rates: RateLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_requests: DEFAULT_CONCURRENT_REQUESTS,
            rates: RateLimits::default(),
        }
    }
}

/// What may be done in a minute; `None`: as much as one likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Requests.
    pub requests: Option<u64>,
    /// Tokens: prompt and answer together.
    pub tokens: Option<u64>,
}

impl RateLimits {
    /// These, and each that is missing from `others`.
    pub fn or(self, others: Self) -> Self {
        Self {
            requests: self.requests.or(others.requests),
            tokens: self.tokens.or(others.tokens),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }
}
