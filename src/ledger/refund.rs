//! What of a request can still be given back.

use super::{AdjustmentPage, Ledger, LedgerFault, MAX_PAGE};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Entry};
use farebox_domain::money::Picodollars;

/// A request's cost, and what became of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costs {
    /// What it cost when it was booked.
    pub cost: Picodollars,
    /// What corrected prices gave back; below zero they took more.
    pub corrected: Picodollars,
    /// What was given back.
    pub refunded: Picodollars,
    /// All that was booked about it.
    pub adjustments: Vec<Adjustment>,
}

impl Costs {
    /// Of this entry.
    pub async fn of(ledger: &dyn Ledger, entry: &Entry) -> Result<Self, LedgerFault> {
        let page = AdjustmentPage {
            account: Some(entry.account.clone()),
            request: Some(entry.id),
            limit: MAX_PAGE,
            ..AdjustmentPage::default()
        };
        let adjustments = ledger.adjustments(&page).await?;
        let sum = |kind: AdjustmentKind| {
            adjustments
                .iter()
                .filter(|adjustment| adjustment.kind == kind)
                .try_fold(Picodollars::ZERO, |sum, adjustment| {
                    sum.checked_add(adjustment.amount)
                })
                .map_err(|_| LedgerFault::Overflow)
        };
        Ok(Self {
            cost: entry.cost,
            corrected: sum(AdjustmentKind::Correction)?,
            refunded: sum(AdjustmentKind::Refund)?,
            adjustments,
        })
    }

    /// What it still costs: the most that can be given back.
    pub fn left(&self) -> Result<Picodollars, LedgerFault> {
        self.cost
            .checked_sub(self.corrected)
            .and_then(|left| left.checked_sub(self.refunded))
            .map_err(|_| LedgerFault::Overflow)
    }

    /// The same after one more refund.
    pub fn with(mut self, refund: Adjustment) -> Result<Self, LedgerFault> {
        self.refunded = self
            .refunded
            .checked_add(refund.amount)
            .map_err(|_| LedgerFault::Overflow)?;
        self.adjustments.push(refund);
        Ok(self)
    }
}
