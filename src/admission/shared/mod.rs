//! Places and rates that hold over all replicas, counted in a Valkey or Redis that they share (docs/adr/0014).
//!
//! - [`Shared`]: what a request asks. It is asked after this replica's own gates have let the request in.
//! - [`keeper`]: the one task that talks to the server, in order, and knows what this replica has in flight.
//! - `table`: that knowledge, and this replica's share of each limit while the server is away.
//! - `round`: what goes there at once.
//! - `link`: a connection, and the scripts beside this file that do the counting.
//!
//! Invariant: what was let in is counted by the keeper until its guard is dropped, whether or not the server was there
//! then; the server's counts are made anew of that whenever there is doubt.

pub mod keeper;
mod link;
mod round;
mod table;

pub use self::keeper::Keeper;
pub use self::link::{ValkeyFault, ValkeyUrl};

use farebox_domain::ids::{AccountId, KeyId, ModelId};
use farebox_domain::limits::RateLimits;
use farebox_domain::refusal::{RateLimited, RateUnit, Refusal, Whose};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Whose limits a request in flight counts towards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The account's.
    pub account: AccountId,
    /// The account's on this model.
    pub model: ModelId,
    /// This key's.
    pub key: KeyId,
}

/// What a request would take.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose limits it counts towards.
    pub place: Arc<Place>,
    /// How many there may be in flight of the account, of it on the model, and with the key; `None`: as many as one likes.
    pub limits: [Option<u32>; 3],
    /// Tokens that it may come to.
    pub tokens: u64,
    /// The rates that it meets.
    pub rates: Vec<RateAsk>,
}

/// A rate that a request meets.
#[derive(Debug, Clone)]
pub struct RateAsk {
    /// Where it is counted.
    pub bucket: Arc<str>,
    /// What may be done in a minute.
    pub limits: RateLimits,
    /// Whose it is.
    pub whose: Whose,
}

impl RateAsk {
    /// Where the rates of an account are counted, and of it on a model or with a key.
    pub fn bucket_of(account: &AccountId, whose: &Whose) -> Arc<str> {
        match whose {
            Whose::Account => format!("farebox:rate:{account}").into(),
            Whose::Model(model) => format!("farebox:model_rate:{account}:{model}").into(),
            Whose::Key(key) => format!("farebox:rate:{account}:{key}").into(),
        }
    }
}

/// What is in a bucket, in units times milliseconds: of requests and of tokens, where they are limited.
pub type Levels = [Option<u64>; 2];

/// A request that was let in.
#[derive(Debug)]
pub struct Granted {
    /// Its place.
    pub place: PlaceGuard,
    /// What it took of rates.
    pub rates: SharedRates,
    /// How those stand over all replicas, in the order that they were asked in; empty where it is not known.
    pub levels: Vec<Levels>,
}

/// Why a request was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Met {
    /// A limit on what is in flight: which of the three, how many are, how many may be, and whether that is a share.
    Full {
        which: usize,
        in_flight: u32,
        limit: u32,
        is_share: bool,
    },
    /// A rate: which, of what, how much of it is used, and when there will be enough.
    Rate {
        which: usize,
        unit: RateUnit,
        used: u64,
        wait: Duration,
    },
}

/// What one account has in flight over all replicas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InFlightOf {
    /// Of all models.
    pub all: u32,
    /// Of each.
    pub models: BTreeMap<ModelId, u32>,
}

/// What the keeper is told.
#[derive(Debug)]
enum Message {
    Acquire(Ask, oneshot::Sender<Result<Granted, Met>>),
    GiveBack(Arc<Place>),
    /// More was used than was taken, or less.
    TrueUp(RateChange),
    Read(Vec<AccountId>, oneshot::Sender<Option<Vec<InFlightOf>>>),
}

/// A change to what is in a bucket.
#[derive(Debug, Clone)]
struct RateChange {
    bucket: Arc<str>,
    unit: RateUnit,
    limit: u64,
    more: i64,
}

/// The way to the keeper.
#[derive(Debug)]
pub struct Shared {
    to: mpsc::UnboundedSender<Message>,
    is_up: watch::Receiver<bool>,
}

impl Shared {
    /// Lets a request in, or says which limit it meets.
    pub async fn acquire(&self, ask: Ask) -> Result<Granted, Refusal> {
        let (reply, answer) = oneshot::channel();
        // Where it cannot be sent, the reply is dropped, and so answered.
        let _ = self.to.send(Message::Acquire(ask.clone(), reply));
        match answer.await {
            Ok(Ok(granted)) => Ok(granted),
            Ok(Err(met)) => Err(met.refusal(&ask)),
            // The keeper ends after the last request.
            Err(_) => Err(Refusal::ShuttingDown),
        }
    }

    /// What these accounts have in flight over all replicas; `None` while nobody knows.
    pub async fn read(&self, accounts: Vec<AccountId>) -> Option<Vec<InFlightOf>> {
        let (reply, answer) = oneshot::channel();
        self.to.send(Message::Read(accounts, reply)).ok()?;
        answer.await.ok().flatten()
    }

    /// Whether the server answers.
    pub fn is_up(&self) -> bool {
        *self.is_up.borrow()
    }

    /// Waits until the server answers, for so long.
    pub async fn until_up(&self, patience: Duration) -> bool {
        let mut is_up = self.is_up.clone();
        let up = is_up.wait_for(|up| *up);
        tokio::time::timeout(patience, up)
            .await
            .is_ok_and(|up| up.is_ok())
    }
}

impl Met {
    fn refusal(self, ask: &Ask) -> Refusal {
        match self {
            Self::Full {
                which,
                in_flight,
                limit,
                is_share,
            } => {
                let whose = match which {
                    0 => Whose::Account,
                    1 => Whose::Model(ask.place.model.clone()),
                    _ => Whose::Key(ask.place.key.clone()),
                };
                let where_to = if is_share { " at this replica" } else { "" };
                Refusal::ConcurrencyLimit {
                    in_flight,
                    limit,
                    scope: whose.to_string() + where_to,
                }
            }
            Self::Rate {
                which,
                unit,
                used,
                wait,
            } => {
                let rate = ask.rates.get(which);
                let limit = rate.and_then(|rate| limit_of(rate.limits, unit)).unwrap_or(0);
                Refusal::RateLimit(RateLimited {
                    unit,
                    limit,
                    used: used.min(limit),
                    asked: match unit {
                        RateUnit::Requests => 1,
                        RateUnit::Tokens => ask.tokens,
                    },
                    scope: rate.map(|rate| rate.whose.to_string()).unwrap_or_default(),
                    retry_after: wait,
                })
            }
        }
    }
}

/// Of the two the one of this unit.
const fn limit_of(limits: RateLimits, unit: RateUnit) -> Option<u64> {
    match unit {
        RateUnit::Requests => limits.requests,
        RateUnit::Tokens => limits.tokens,
    }
}

/// A place over all replicas; given back when it is dropped.
#[derive(Debug)]
pub struct PlaceGuard {
    place: Arc<Place>,
    to: mpsc::UnboundedSender<Message>,
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        // The keeper outlives every request; after it the session is over, and with it all places.
        let _ = self.to.send(Message::GiveBack(Arc::clone(&self.place)));
    }
}

/// What a request took of one bucket.
#[derive(Debug, Clone)]
struct Taken {
    bucket: Arc<str>,
    limits: RateLimits,
    tokens: u64,
}

/// What a request took of rates over all replicas. Dropped before it is settled, all of it is given back.
#[derive(Debug)]
pub struct SharedRates {
    taken: Vec<Taken>,
    to: mpsc::UnboundedSender<Message>,
}

impl SharedRates {
    /// The request came to this many tokens.
    pub fn settle(mut self, used: u64) {
        for taken in std::mem::take(&mut self.taken) {
            self.true_up(&taken, used);
        }
    }

    fn true_up(&self, taken: &Taken, used: u64) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let more = whole(used).saturating_sub(whole(taken.tokens));
        if let Some(limit) = taken.limits.tokens {
            self.change(taken, RateUnit::Tokens, limit, more);
        }
    }

    fn change(&self, taken: &Taken, unit: RateUnit, limit: u64, more: i64) {
        if more == 0 || limit > link::GREATEST_RATE {
            return;
        }
        let bucket = Arc::clone(&taken.bucket);
        let _ = self.to.send(Message::TrueUp(RateChange {
            bucket,
            unit,
            limit,
            more,
        }));
    }
}

impl Drop for SharedRates {
    fn drop(&mut self) {
        for taken in &self.taken {
            self.true_up(taken, 0);
            if let Some(limit) = taken.limits.requests {
                self.change(taken, RateUnit::Requests, limit, -1);
            }
        }
    }
}
