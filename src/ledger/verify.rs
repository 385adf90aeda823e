//! Recomputing the ledger: every entry from its raw usage and price version, every balance from its entries.
//!
//! A fold that knows no database: an implementation of `Ledger` feeds it from one snapshot.

use super::{Balance, LedgerFault};
use farebox_domain::ids::{AccountId, ModelId, RequestId};
use farebox_domain::ledger::{Entry, EntryState, cost_of};
use farebox_domain::money::Picodollars;
use farebox_domain::price::{Price, PriceVersion};
use farebox_domain::tokens::UsageSource;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Discrepancies that are listed; more are counted.
pub const MAX_LISTED: usize = 100;

/// What `verify` found. The ledger holds if `discrepancies_total` is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Entries recomputed.
    pub entries: u64,
    /// What they cost together, as booked.
    pub cost: Picodollars,
    /// Entries by state; every state is named.
    pub states: BTreeMap<&'static str, u64>,
    /// Entries by source of their usage; every source is named.
    pub usage_sources: BTreeMap<&'static str, u64>,
    /// Discrepancies found.
    pub discrepancies_total: u64,
    /// The first [`MAX_LISTED`] of them.
    pub discrepancies: Vec<Discrepancy>,
}

/// What was booked is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Discrepancy {
    /// An entry's cost is not what its usage comes to at its price.
    Cost {
        /// `req_...`
        id: String,
        /// The cost that was booked.
        booked: Picodollars,
        /// The cost that it should be; `None` if it is beyond 128 bits.
        expected: Option<Picodollars>,
    },
    /// An entry names a price version that is not there, or another model's.
    PriceVersion {
        /// `req_...`
        id: String,
        /// The version that was booked.
        booked: PriceVersion,
        /// The model that the version should be of.
        expected: ModelId,
    },
    /// An entry holds a value that farebox would not have written.
    Unreadable {
        /// `req_...`, or hex digits if it is not an id.
        id: String,
        /// What was read.
        booked: String,
        /// What should be there.
        expected: &'static str,
    },
    /// An account's balance is not the sum of its entries.
    Balance {
        /// Whose.
        account: AccountId,
        /// What was booked; `None` if the account has entries and no balance.
        booked: Option<Tally>,
        /// The sum of its entries.
        expected: Tally,
    },
}

/// A sum of entries' costs, and how many there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Of their costs.
    pub sum: Picodollars,
    /// How many.
    pub entries: u64,
}

impl Tally {
    /// This with one more entry.
    pub(crate) fn with(self, cost: Picodollars) -> Result<Self, LedgerFault> {
        Ok(Self {
            sum: self.sum.checked_add(cost).map_err(|_| LedgerFault::Overflow)?,
            entries: self.entries.checked_add(1).ok_or(LedgerFault::Overflow)?,
        })
    }
}

/// The fold.
pub(crate) struct Verifier {
    prices: HashMap<PriceVersion, (ModelId, Price)>,
    tallies: BTreeMap<AccountId, Tally>,
    found: Verification,
}

impl Verifier {
    pub(crate) fn new(prices: HashMap<PriceVersion, (ModelId, Price)>) -> Self {
        Self {
            prices,
            tallies: BTreeMap::new(),
            found: Verification {
                entries: 0,
                cost: Picodollars::ZERO,
                states: EntryState::ALL.map(|state| (state.as_str(), 0)).into(),
                usage_sources: UsageSource::ALL.map(|source| (source.as_str(), 0)).into(),
                discrepancies_total: 0,
                discrepancies: Vec::new(),
            },
        }
    }

    /// The next entry, in any order, each once.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<(), LedgerFault> {
        self.found.entries += 1;
        *self.found.states.entry(entry.state.as_str()).or_default() += 1;
        *self
            .found
            .usage_sources
            .entry(entry.usage_source.as_str())
            .or_default() += 1;
        self.tally(&entry.account, entry.cost)?;
        self.recompute(entry);
        Ok(())
    }

    /// An entry that cannot be read as one. Its cost still counts into its account, where that much is readable.
    pub(crate) fn unreadable(
        &mut self,
        unreadable: Discrepancy,
        account: Option<(AccountId, Picodollars)>,
    ) -> Result<(), LedgerFault> {
        self.found.entries += 1;
        self.report(unreadable);
        account.map_or(Ok(()), |(account, cost)| self.tally(&account, cost))
    }

    /// Compares the balances, from the same snapshot as the entries, and ends.
    pub(crate) fn finish(mut self, balances: &[Balance]) -> Verification {
        let mut booked: BTreeMap<AccountId, Tally> = balances
            .iter()
            .map(|row| {
                let tally = Tally {
                    sum: row.balance,
                    entries: row.entries,
                };
                (row.account.clone(), tally)
            })
            .collect();
        for (account, expected) in std::mem::take(&mut self.tallies) {
            let booked = booked.remove(&account);
            if booked != Some(expected) {
                self.report(Discrepancy::Balance {
                    account,
                    booked,
                    expected,
                });
            }
        }
        for (account, orphan) in booked {
            let expected = Tally::default();
            self.report(Discrepancy::Balance {
                account,
                booked: Some(orphan),
                expected,
            });
        }
        self.found
    }

    fn tally(&mut self, account: &AccountId, cost: Picodollars) -> Result<(), LedgerFault> {
        self.found.cost = self
            .found
            .cost
            .checked_add(cost)
            .map_err(|_| LedgerFault::Overflow)?;
        match self.tallies.get_mut(account) {
            Some(tally) => *tally = tally.with(cost)?,
            None => {
                self.tallies.insert(account.clone(), Tally::default().with(cost)?);
            }
        }
        Ok(())
    }

    fn recompute(&mut self, entry: &Entry) {
        let id = |id: RequestId| id.to_text().as_str().to_owned();
        match self.prices.get(&entry.price_version) {
            Some((model, price)) if *model == entry.model => {
                let expected = cost_of(entry.state, &entry.usage, price).ok();
                if expected != Some(entry.cost) {
                    let booked = entry.cost;
                    self.report(Discrepancy::Cost {
                        id: id(entry.id),
                        booked,
                        expected,
                    });
                }
            }
            _ => self.report(Discrepancy::PriceVersion {
                id: id(entry.id),
                booked: entry.price_version,
                expected: entry.model.clone(),
            }),
        }
    }

    fn report(&mut self, discrepancy: Discrepancy) {
        self.found.discrepancies_total += 1;
        if self.found.discrepancies.len() < MAX_LISTED {
            self.found.discrepancies.push(discrepancy);
        }
    }
}
