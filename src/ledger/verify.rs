//! Recomputing the ledger: every entry from its raw usage and price version, every correction from the prices that it
//! stands between, every roll-up from its entries. A balance is the sum of its account's roll-ups and adjustments, so it
//! needs no check of its own.
//!
//! A fold that knows no database: an implementation of `Ledger` feeds it from one snapshot.

use super::LedgerFault;
use super::usage::{HOUR_MS, UsageGroup, UsageRow, UsageSum};
use farebox_domain::ids::{ModelId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Entry, EntryState};
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
    /// Adjustments read.
    pub adjustments: u64,
    /// What they add to balances together.
    pub adjusted: Picodollars,
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
    /// A roll-up is not the sum of its entries.
    Rollup {
        /// Which: every field of it is there.
        group: UsageGroup,
        /// What was booked; `None` if there are entries and no roll-up.
        booked: Option<UsageSum>,
        /// The sum of its entries.
        expected: UsageSum,
    },
    /// A roll-up by day is not the sum of its entries (PostgreSQL; the embedded store keeps none).
    DayRollup {
        /// Which: every field of it is there.
        group: UsageGroup,
        /// What was booked; `None` if there are entries and no roll-up.
        booked: Option<UsageSum>,
        /// The sum of its entries.
        expected: UsageSum,
    },
    /// A correction is not the difference that its price makes to its request.
    Correction {
        /// `adj_...`
        id: String,
        /// The amount that was booked.
        booked: Picodollars,
        /// The amount that it should be; `None` if its request or its price is not there.
        expected: Option<Picodollars>,
    },
    /// What counts against a ceiling is not what was booked (PostgreSQL; the embedded store counts in memory).
    Spending(SpendingRow),
}

/// What counts against one ceiling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpendingRow {
    /// `credit`, `account_month` or `key_month`.
    pub ceiling: String,
    /// The account or the key.
    pub owner: String,
    /// Months since 1970; 0 for credit.
    pub period: i64,
    /// What is counted.
    pub booked: Picodollars,
    /// What entries and adjustments come to.
    pub expected: Picodollars,
}

/// The fold.
pub(crate) struct Verifier {
    prices: HashMap<PriceVersion, (ModelId, Price)>,
    /// For each unit of time that roll-ups are kept by, in milliseconds.
    rollups: BTreeMap<u64, BTreeMap<UsageGroup, UsageSum>>,
    corrections: HashMap<RequestId, Vec<Adjustment>>,
    found: Verification,
}

impl Verifier {
    /// With these prices, and roll-ups by these units of time in milliseconds.
    pub(crate) fn new(
        prices: HashMap<PriceVersion, (ModelId, Price)>,
        units_ms: impl IntoIterator<Item = u64>,
    ) -> Self {
        Self {
            prices,
            rollups: units_ms
                .into_iter()
                .map(|unit_ms| (unit_ms, BTreeMap::new()))
                .collect(),
            corrections: HashMap::new(),
            found: Verification {
                entries: 0,
                cost: Picodollars::ZERO,
                adjustments: 0,
                adjusted: Picodollars::ZERO,
                states: EntryState::ALL.map(|state| (state.as_str(), 0)).into(),
                usage_sources: UsageSource::ALL.map(|source| (source.as_str(), 0)).into(),
                discrepancies_total: 0,
                discrepancies: Vec::new(),
            },
        }
    }

    /// The next adjustment, in the order of their ids, all of them before the entries.
    pub(crate) fn adjustment(&mut self, adjustment: Adjustment) -> Result<(), LedgerFault> {
        self.found.adjustments += 1;
        self.found.adjusted = self
            .found
            .adjusted
            .checked_add(adjustment.amount)
            .map_err(|_| LedgerFault::Overflow)?;
        if adjustment.kind == AdjustmentKind::Correction {
            match adjustment.request {
                Some(request) => self.corrections.entry(request).or_default().push(adjustment),
                None => self.wrong_correction(&adjustment, None),
            }
        }
        Ok(())
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
        self.roll_up(group_of(entry), UsageSum::of(entry))?;
        self.recompute(entry);
        if let Some(corrections) = self.corrections.remove(&entry.id) {
            self.recompute_corrections(entry, &corrections);
        }
        Ok(())
    }

    /// A row that cannot be read. It still counts into its roll-ups, where that much is readable: its group, at the time
    /// of its admission.
    pub(crate) fn unreadable(
        &mut self,
        unreadable: Discrepancy,
        rolled_up: Option<(UsageGroup, UsageSum)>,
    ) -> Result<(), LedgerFault> {
        self.report(unreadable);
        let Some((group, sum)) = rolled_up else {
            return Ok(());
        };
        self.found.entries += 1;
        self.roll_up(group, sum)
    }

    /// The next roll-up, after all entries of the same snapshot.
    pub(crate) fn rollup(&mut self, unit_ms: u64, booked: UsageRow) {
        let expected = self
            .rollups
            .get_mut(&unit_ms)
            .and_then(|rollups| rollups.remove(&booked.group));
        if expected != Some(booked.sum) {
            self.wrong_rollup(unit_ms, booked.group, Some(booked.sum), expected);
        }
    }

    fn wrong_rollup(
        &mut self,
        unit_ms: u64,
        group: UsageGroup,
        booked: Option<UsageSum>,
        expected: Option<UsageSum>,
    ) {
        let expected = expected.unwrap_or_default();
        self.report(if unit_ms == HOUR_MS {
            Discrepancy::Rollup {
                group,
                booked,
                expected,
            }
        } else {
            Discrepancy::DayRollup {
                group,
                booked,
                expected,
            }
        });
    }

    /// The next ceiling whose spending is not right, after all roll-ups.
    pub(crate) fn wrong_spending(&mut self, wrong: SpendingRow) {
        self.report(Discrepancy::Spending(wrong));
    }

    /// Ends: what has entries and no roll-up, and what was corrected and is not there.
    pub(crate) fn finish(mut self) -> Verification {
        for (unit_ms, rollups) in std::mem::take(&mut self.rollups) {
            for (group, expected) in rollups {
                self.wrong_rollup(unit_ms, group, None, Some(expected));
            }
        }
        let orphans: Vec<_> = self
            .corrections
            .drain()
            .flat_map(|(_, orphans)| orphans)
            .collect();
        for orphan in orphans {
            self.wrong_correction(&orphan, None);
        }
        self.found
    }

    fn roll_up(&mut self, group: UsageGroup, sum: UsageSum) -> Result<(), LedgerFault> {
        self.found.cost = self
            .found
            .cost
            .checked_add(sum.cost)
            .map_err(|_| LedgerFault::Overflow)?;
        for (unit_ms, rollups) in &mut self.rollups {
            let mut group = group.clone();
            group.bucket_ms = group.bucket_ms.map(|at_ms| at_ms / unit_ms * unit_ms);
            let rollup = rollups.entry(group).or_default();
            *rollup = rollup.checked_add(sum)?;
        }
        Ok(())
    }

    fn recompute(&mut self, entry: &Entry) {
        let id = || entry.id.to_string();
        match self.prices.get(&entry.price_version) {
            Some((model, price)) if *model == entry.model => {
                let expected = entry.cost_at(price).ok();
                if expected != Some(entry.cost) {
                    let booked = entry.cost;
                    self.report(Discrepancy::Cost {
                        id: id(),
                        booked,
                        expected,
                    });
                }
            }
            _ => self.report(Discrepancy::PriceVersion {
                id: id(),
                booked: entry.price_version,
                expected: entry.model.clone(),
            }),
        }
    }

    /// Each corrects what the entry cost after those before it.
    fn recompute_corrections(&mut self, entry: &Entry, corrections: &[Adjustment]) {
        let mut cost = Some(entry.cost);
        for correction in corrections {
            let corrected = correction
                .price_version
                .and_then(|version| self.prices.get(&version))
                .and_then(|(_, price)| entry.cost_at(price).ok());
            let expected = cost
                .zip(corrected)
                .and_then(|(cost, corrected)| cost.checked_sub(corrected).ok());
            if expected != Some(correction.amount) || correction.account != entry.account {
                self.wrong_correction(correction, expected);
            }
            cost = corrected;
        }
    }

    fn wrong_correction(&mut self, correction: &Adjustment, expected: Option<Picodollars>) {
        self.report(Discrepancy::Correction {
            id: correction.id.to_string(),
            booked: correction.amount,
            expected,
        });
    }

    fn report(&mut self, discrepancy: Discrepancy) {
        self.found.discrepancies_total += 1;
        if self.found.discrepancies.len() < MAX_LISTED {
            self.found.discrepancies.push(discrepancy);
        }
    }
}

/// What an entry is rolled up by, at the time of its admission.
fn group_of(entry: &Entry) -> UsageGroup {
    UsageGroup {
        account: Some(entry.account.clone()),
        key: Some(entry.key.clone()),
        model: Some(entry.model.clone()),
        endpoint: Some(entry.endpoint.as_str().into()),
        price_version: Some(entry.price_version),
        bucket_ms: Some(entry.admitted_at_ms),
    }
}
