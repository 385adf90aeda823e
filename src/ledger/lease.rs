//! Leases: how replicas share a ceiling without asking each other before each request.
//!
//! The rule, for each ceiling: what is booked and what is leased to all replicas together is never above its limit. A
//! replica spends of its lease without asking. Booking an entry takes its cost from the lease that it was spent under
//! and adds it to what is booked, in one transaction. Short of lease, a replica asks for more; if there is not enough
//! that is leased to nobody, the others are told to give back what they do not hold. A replica that ends gives all
//! back; one that dies has its lease until it starts again and has booked what it kept, or until its deadline has
//! passed, and by its own clock it stops spending before that.

use super::LedgerFault;
use farebox_domain::ids::{AccountId, KeyId};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use std::time::Duration;

/// A ceiling that replicas share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// An account's balance.
    Credit(AccountId),
    /// What an account may spend in a month.
    AccountMonth(AccountId, Month),
    /// What a key may spend in a month.
    KeyMonth(KeyId, Month),
}

impl Scope {
    /// Its kind in the database.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Credit(_) => "credit",
            Self::AccountMonth(..) => "account_month",
            Self::KeyMonth(..) => "key_month",
        }
    }

    /// Whose it is.
    pub fn owner(&self) -> &str {
        match self {
            Self::Credit(account) | Self::AccountMonth(account, _) => account.as_str(),
            Self::KeyMonth(key, _) => key.as_str(),
        }
    }

    /// Its month, counted from January 1970; zero where it has none.
    pub const fn period(&self) -> u32 {
        match self {
            Self::Credit(_) => 0,
            Self::AccountMonth(_, month) | Self::KeyMonth(_, month) => month.index(),
        }
    }

    /// The scope with these names.
    pub fn parse(kind: &str, owner: &str, period: u32) -> Option<Self> {
        let month = Month::from_index(period);
        match kind {
            "credit" => Some(Self::Credit(owner.into())),
            "account_month" => Some(Self::AccountMonth(owner.into(), month)),
            "key_month" => Some(Self::KeyMonth(owner.into(), month)),
            _ => None,
        }
    }
}

/// What came of asking for more lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// So much more: what was needed, or more than that.
    Granted(Picodollars),
    /// Not enough is leased to nobody. Nothing was granted.
    Short {
        /// What is leased to nobody.
        room: Picodollars,
        /// Where the ceiling is: for a balance, what was paid in and what may be owed.
        allowed: Picodollars,
        /// Whether other replicas were told to give back, and have not answered: asking again may do better.
        recalled: bool,
    },
}

/// What a sign of life came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The leases of this replica are its own.
    InTime,
    /// The one before it was longer ago than the deadline, by the ledger's clock: its leases may be somebody else's by now.
    Late,
}

/// How a ceiling stands over all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What is booked; for a balance, costs less adjustments.
    pub spent: Picodollars,
    /// What replicas may spend without asking.
    pub leased: Picodollars,
}

/// Where leases are kept: the ledger that the replicas share. One of these speaks for one replica.
#[async_trait::async_trait]
pub trait Lessor: Send + Sync + 'static {
    /// Asks for at least `need` more of a ceiling; what is granted may be up to half of what is leased to nobody. Where
    /// there is not enough, `recall` tells the other replicas to give back what they do not hold.
    async fn ask(&self, scope: &Scope, need: Picodollars, recall: bool) -> Result<LeaseAnswer, LedgerFault>;

    /// Gives back so much of a lease; zero is an answer too, to a recall. It is this replica's no longer, also where this
    /// fails: the next question about the lease gives it back.
    async fn give_back(&self, scope: &Scope, amount: Picodollars) -> Result<(), LedgerFault>;

    /// The ceilings of which this replica was told to give back, and has not answered.
    async fn recalled(&self) -> Result<Vec<Scope>, LedgerFault>;

    /// Resolves when this replica may have been told something. It may resolve for nothing, and may be slow where the
    /// ledger is away.
    async fn told(&self);

    /// Says that this replica lives, and frees the leases of those that have said nothing for `deadline`. Also says whether
    /// this one had said nothing for so long.
    async fn beat(&self, deadline: Duration) -> Result<Beat, LedgerFault>;

    /// Gives back every lease of this replica: it has nothing in flight, and all that it kept is booked.
    async fn give_all_back(&self) -> Result<(), LedgerFault>;

    /// How a ceiling stands.
    async fn standing(&self, scope: &Scope) -> Result<Standing, LedgerFault>;
}
