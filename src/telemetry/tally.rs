//! What was counted since it was last asked: what charts and live figures are made of. No bill is.

use farebox_domain::ids::{AccountId, EngineName, ModelId};
use farebox_domain::ledger::Entry;
use farebox_domain::money::Picodollars;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The upper bounds of the times to the first token that are told apart, in milliseconds: about eight to a factor of ten. What
/// takes longer than the last is counted under it.
const TTFT_BOUNDS_MS: [u32; 46] = [
    1, 2, 3, 4, 5, 7, 10, 14, 18, 24, 32, 42, 56, 75, 100, 130, 180, 240, 320, 420, 560, 750, 1_000, 1_300,
    1_800, 2_400, 3_200, 4_200, 5_600, 7_500, 10_000, 13_000, 18_000, 24_000, 32_000, 42_000, 56_000, 75_000,
    100_000, 130_000, 180_000, 240_000, 320_000, 420_000, 560_000, 600_000,
];

/// What was counted in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    /// Requests that were settled.
    pub requests: u64,
    /// Requests that were refused, by code.
    pub refusals: BTreeMap<String, u64>,
    /// Prompt tokens, cached ones among them.
    pub prompt_tokens: u64,
    /// Cached prompt tokens.
    pub cached_tokens: u64,
    /// Completion tokens.
    pub completion_tokens: u64,
    /// What all of it cost.
    pub cost: Picodollars,
    /// The most requests that were in flight at once, as far as it was looked.
    pub in_flight: u64,
    /// Times to the first token.
    pub ttft: Ttft,
}

/// Times to the first token, as many as fell under each bound of a fixed list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ttft(BTreeMap<u32, u64>);

impl Counted {
    /// Puts what was counted elsewhere at the same time beside it.
    pub fn beside(&mut self, other: &Self) {
        let in_flight = self.in_flight.saturating_add(other.in_flight);
        self.then(other);
        self.in_flight = in_flight;
    }

    /// Puts what was counted after it to it.
    pub fn then(&mut self, later: &Self) {
        self.requests = self.requests.saturating_add(later.requests);
        for (code, count) in &later.refusals {
            add(&mut self.refusals, code.clone(), *count);
        }
        self.prompt_tokens = self.prompt_tokens.saturating_add(later.prompt_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(later.cached_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(later.completion_tokens);
        self.cost = self.cost.checked_add(later.cost).unwrap_or(self.cost);
        self.in_flight = self.in_flight.max(later.in_flight);
        self.ttft.then(&later.ttft);
    }

    /// All refusals together.
    pub fn refused(&self) -> u64 {
        self.refusals.values().sum()
    }

    /// All tokens together.
    pub const fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, count: u64) {
    let counted = counts.entry(key).or_default();
    *counted = counted.saturating_add(count);
}

impl Ttft {
    fn put(&mut self, ttft: Duration) {
        let took_ms = ttft.as_millis();
        let bound = TTFT_BOUNDS_MS.iter().find(|bound| took_ms <= u128::from(**bound));
        let last = TTFT_BOUNDS_MS[TTFT_BOUNDS_MS.len() - 1];
        add(&mut self.0, bound.copied().unwrap_or(last), 1);
    }

    /// Puts these to them.
    pub fn then(&mut self, more: &Self) {
        for (bound, count) in &more.0 {
            add(&mut self.0, *bound, *count);
        }
    }

    /// The time in milliseconds that so many in a hundred did not pass: the bound that they were under, so at most a third
    /// too long. `None` where nothing was counted.
    pub fn percentile(&self, percent: u64) -> Option<u32> {
        let all: u64 = self.0.values().sum();
        let rank = all.saturating_mul(percent).div_ceil(100).max(1);
        let mut counted = 0_u64;
        self.0.iter().find_map(|(bound, count)| {
            counted = counted.saturating_add(*count);
            (counted >= rank).then_some(*bound)
        })
    }
}

/// Why an account's requests were refused, in three classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFor {
    /// As many were in flight as may be.
    pub concurrency: u64,
    /// A minute's worth was used up.
    pub rate: u64,
    /// Anything else.
    pub other: u64,
}

impl RefusedFor {
    /// One with this code.
    fn put(&mut self, code: &str) {
        match code {
            "concurrency_limit_exceeded" => self.concurrency += 1,
            "rate_limit_exceeded" => self.rate += 1,
            _ => self.other += 1,
        }
    }

    /// Puts these to them.
    pub const fn add(&mut self, more: Self) {
        self.concurrency = self.concurrency.saturating_add(more.concurrency);
        self.rate = self.rate.saturating_add(more.rate);
        self.other = self.other.saturating_add(more.other);
    }
}

/// Times to the first token by who made it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TtftBy {
    /// Of each engine that answered.
    pub engines: BTreeMap<EngineName, Ttft>,
    /// Of each model that was asked for.
    pub models: BTreeMap<ModelId, Ttft>,
}

impl TtftBy {
    fn put(&mut self, entry: &Entry, ttft: Duration) {
        if let Some(engine) = &entry.engine {
            match self.engines.get_mut(engine) {
                Some(of_engine) => of_engine.put(ttft),
                None => self.engines.entry(engine.clone()).or_default().put(ttft),
            }
        }
        match self.models.get_mut(&entry.model) {
            Some(of_model) => of_model.put(ttft),
            None => self.models.entry(entry.model.clone()).or_default().put(ttft),
        }
    }

    /// Puts these to them.
    pub fn then(&mut self, more: &Self) {
        for (engine, ttft) in &more.engines {
            self.engines.entry(engine.clone()).or_default().then(ttft);
        }
        for (model, ttft) in &more.models {
            self.models.entry(model.clone()).or_default().then(ttft);
        }
    }
}

/// What was counted, and whose requests were refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// All together.
    pub counted: Counted,
    /// Times to the first token.
    pub ttft: TtftBy,
    /// Refusals by account, where it was known.
    pub refused: BTreeMap<AccountId, RefusedFor>,
}

/// Counts until it is asked.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Slice>);

impl Tally {
    /// A request was settled.
    pub fn settled(&self, entry: &Entry) {
        let mut slice = self.0.lock();
        let counted = &mut slice.counted;
        counted.requests += 1;
        let usage = &entry.usage;
        counted.prompt_tokens = counted.prompt_tokens.saturating_add(usage.prompt_tokens);
        counted.cached_tokens = counted.cached_tokens.saturating_add(usage.cached_tokens);
        counted.completion_tokens = counted.completion_tokens.saturating_add(usage.completion_tokens);
        counted.cost = counted.cost.checked_add(entry.cost).unwrap_or(counted.cost);
        if let Some(ttft_us) = entry.timings.ttft_us {
            let ttft = Duration::from_micros(ttft_us);
            counted.ttft.put(ttft);
            slice.ttft.put(entry, ttft);
        }
    }

    /// A request of this account was refused.
    pub fn refused(&self, account: Option<&AccountId>, code: &'static str) {
        let mut slice = self.0.lock();
        match slice.counted.refusals.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(slice.counted.refusals.insert(code.into(), 1)),
        }
        if let Some(account) = account {
            match slice.refused.get_mut(account) {
                Some(of_account) => of_account.put(code),
                None => slice.refused.entry(account.clone()).or_default().put(code),
            }
        }
    }

    /// What was counted since this was asked before.
    pub fn take(&self) -> Slice {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_bounds_that_so_many_did_not_pass() {
        let mut ttft = Ttft::default();
        assert_eq!(ttft.percentile(50), None);
        for ms in 1..=100 {
            ttft.put(Duration::from_millis(ms));
        }
        assert_eq!(
            [50, 90, 99, 100].map(|percent| ttft.percentile(percent)),
            [Some(56), Some(100), Some(100), Some(100)]
        );
        ttft.put(Duration::from_secs(3600));
        assert_eq!(ttft.percentile(100), Some(600_000));
        assert!(TTFT_BOUNDS_MS.is_sorted());
    }

    #[test]
    fn what_came_after_adds_up_and_what_was_beside_it_was_in_flight_besides() {
        let one = |in_flight: u64| Counted {
            requests: 2,
            refusals: [("a".to_owned(), 1)].into(),
            in_flight,
            ..Counted::default()
        };
        let (mut later, mut beside) = (one(5), one(5));
        later.then(&one(3));
        beside.beside(&one(3));
        assert_eq!((later.in_flight, beside.in_flight), (5, 8));
        assert_eq!((later.requests, later.refused()), (4, 2));
        let json = serde_json::to_string(&later).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Counted>(&json).ok(), Some(later));
    }
}
