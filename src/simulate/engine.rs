//! The engine: its settings, its state, and the handle that tests hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use parking_lot::{Mutex, RwLock};

use super::adapters::Adapters;
use super::args::Settings;
use super::body::Rates;
use super::cache::PrefixCache;
use super::records::{Records, RequestCount};
use super::slots::Slots;
use super::tokens::scatter;
use super::trouble::{Trouble, TroubleRule, UnknownTrouble, When};

/// Keys of `once/` and `first/` that are remembered; past it they are all forgotten.
const KEYS_KEPT: usize = 100_000;

/// A simulated engine. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
}

/// The state that all requests of an engine share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) slots: Slots,
    pub(super) cache: Mutex<PrefixCache>,
    pub(super) records: Records,
    pub(super) adapters: Adapters,
    /// What every request has, unless it asks for a trouble of its own.
    pub(super) trouble: RwLock<Option<TroubleRule>>,
    pub(super) healthy: AtomicBool,
    /// How often each key of a trouble was seen.
    keys: Mutex<HashMap<String, u64>>,
    /// Numbers requests (for their ids) and throws of `percent`.
    sequence: AtomicU64,
    throws: AtomicU64,
    pub(super) in_flight: AtomicUsize,
    pub(super) peak_in_flight: AtomicUsize,
    pub(super) blocks_in_use: AtomicU64,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) cache_hits: AtomicU64,
    pub(super) completion_tokens: AtomicU64,
}

impl Engine {
    /// An engine at rest.
    pub fn new(settings: Settings) -> Engine {
        let mut settings = settings;
        settings.block_size = settings.block_size.max(1);
        let shared = Shared {
            slots: Slots::new(settings.slots, settings.queue),
            cache: Mutex::new(PrefixCache::new(settings.cache_blocks)),
            records: Records::default(),
            adapters: Adapters::new(&settings.loras),
            trouble: RwLock::new(settings.trouble.clone()),
            healthy: AtomicBool::new(true),
            keys: Mutex::default(),
            sequence: AtomicU64::new(0),
            throws: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            peak_in_flight: AtomicUsize::new(0),
            blocks_in_use: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            cache_hits: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
            settings,
        };
        Engine {
            shared: Arc::new(shared),
        }
    }

    /// The exact counts of the requests that are remembered, oldest first.
    pub fn counts(&self) -> Vec<RequestCount> {
        self.shared.records.counts()
    }

    /// Forgets the counts of all requests; those still open go on uncounted.
    pub fn clear_counts(&self) {
        self.shared.records.clear();
    }

    /// Requests that have come and neither ended nor lost their client: queued, decoding or hanging.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Acquire)
    }

    /// The most that were ever in flight together.
    pub fn peak_in_flight(&self) -> usize {
        self.shared.peak_in_flight.load(Acquire)
    }

    /// Gives every request from now on this trouble, unless it asks for another; `None` is none.
    ///
    /// # Errors
    ///
    /// [`UnknownTrouble`], which lists those there are; nothing has changed then.
    pub fn set_trouble(&self, words: Option<&str>) -> Result<(), UnknownTrouble> {
        let rule = words.map(str::parse).transpose()?;
        *self.shared.trouble.write() = rule;
        Ok(())
    }

    /// Whether `/health` answers 200 or 503. Requests are served either way.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Release);
    }
}

impl Shared {
    /// The number of a new request.
    pub(super) fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Relaxed)
    }

    /// How fast a request with this trouble is served. A rate of 0, which is instant, cannot be slowed.
    pub(super) fn rates(&self, trouble: &Trouble) -> Rates {
        let slowed = |rate: u64| match rate {
            0 => 0,
            rate => (rate / (trouble.times_slower + 1)).max(1),
        };
        Rates {
            prefill: slowed(self.settings.prefill_rate),
            decode: slowed(self.settings.decode_rate),
        }
    }

    /// The trouble of a request: its own words', or else the engine's. A default one is none.
    pub(super) fn trouble_for(&self, words: Option<&str>) -> Result<Trouble, UnknownTrouble> {
        match words {
            Some(words) => {
                let rule: TroubleRule = words.parse()?;
                Ok(if self.strikes(&rule.when) {
                    rule.trouble
                } else {
                    Trouble::default()
                })
            }
            None => {
                let rule = self.trouble.read();
                let struck = rule.as_ref().filter(|rule| self.strikes(&rule.when));
                Ok(struck.map_or_else(Trouble::default, |rule| rule.trouble.clone()))
            }
        }
    }

    fn strikes(&self, when: &When) -> bool {
        match when {
            When::Always => true,
            When::First { times, key } => {
                let mut keys = self.keys.lock();
                if keys.len() >= KEYS_KEPT {
                    keys.clear();
                }
                let seen = keys.entry(key.clone()).or_insert(0);
                *seen += 1;
                *seen <= *times
            }
            When::Percent(percent) => {
                let throw = self.throws.fetch_add(1, Relaxed);
                scatter(self.settings.seed ^ scatter(throw)) % 100 < *percent
            }
        }
    }
}
