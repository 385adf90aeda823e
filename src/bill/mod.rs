//! The bill as the one who pays it reads it: receipts, statements, usage in buckets. All of it is made of what the
//! ledger says, and nothing here is written back.
//!
//! - [`item`] takes a cost apart into tokens and prices, and says so where it cannot;
//! - [`receipt`] explains one request, [`statement`] one month, [`buckets`] and [`line_items`] any span in OpenAI's
//!   shapes;
//! - [`csv`] is how rows reach a spreadsheet.
//!
//! Architecture Invariant: whatever is taken apart here adds up to what was booked, to the picodollar. Where token counts
//! times token prices do not give the booked sum, the booked sum is shown, and never the other.

pub mod item;
pub mod line_items;
pub mod receipt;
pub mod statement;
pub mod buckets;
pub mod csv;

use crate::admin_api::bill::NamedPriceView;
use crate::admin_api::money::AdjustmentView;
use crate::admin_api::{Money, PriceView, when};
use crate::ledger::{AdjustmentPage, Ledger, LedgerFault, MAX_PAGE};
use crate::store::{Store, StoreFault};
use farebox_domain::ids::ModelId;
use farebox_domain::ledger::Adjustment;
use farebox_domain::money::{OutOfRange, Picodollars};
use farebox_domain::price::{PriceVersion, VersionedPrice};
use std::collections::BTreeMap;

/// Why a part of the bill could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BillFault {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// The store.
    #[error("the store failed")]
    Store(#[source] Box<StoreFault>),
    /// A sum outside of its type.
    #[error(transparent)]
    Money(#[from] OutOfRange),
    /// A value that JSON has no form for.
    #[error("a value could not be written")]
    Unwritable(#[source] serde_json::Error),
}

impl From<StoreFault> for BillFault {
    fn from(fault: StoreFault) -> Self {
        Self::Store(Box::new(fault))
    }
}

/// The price versions of some models.
#[derive(Debug, Default)]
pub struct PriceBook(BTreeMap<(ModelId, PriceVersion), VersionedPrice>);

impl PriceBook {
    /// Puts in every version of this model's price.
    pub async fn add(&mut self, store: &Store, model: &ModelId) -> Result<(), StoreFault> {
        for price in store.prices(model).await? {
            self.0.insert((model.clone(), price.version), price);
        }
        Ok(())
    }

    /// The model's price under this version, if it has such a one.
    pub fn find(&self, model: &ModelId, version: PriceVersion) -> Option<&VersionedPrice> {
        self.0.get(&(model.clone(), version))
    }

    /// Which model's price this version is.
    pub fn model_of(&self, version: PriceVersion) -> Option<&ModelId> {
        self.0
            .keys()
            .find(|(_, known)| *known == version)
            .map(|(model, _)| model)
    }

    /// The version with its prices, as it is shown. One that is not known is shown without them.
    pub fn show(&self, model: &ModelId, version: PriceVersion) -> NamedPriceView {
        let found = self.find(model, version);
        NamedPriceView {
            version: version.0,
            model: model.clone(),
            holds_since: found.and_then(|found| found.effective_at_ms).map(when::show),
            price: found.map(|found| PriceView::from(&found.price)),
        }
    }
}

/// Every adjustment that the page asks for, not only its first.
pub async fn all_adjustments(
    ledger: &dyn Ledger,
    mut page: AdjustmentPage,
) -> Result<Vec<Adjustment>, LedgerFault> {
    page.limit = MAX_PAGE;
    let mut all = Vec::new();
    loop {
        let found = ledger.adjustments(&page).await?;
        let is_last = found.len() < usize::try_from(MAX_PAGE).unwrap_or(usize::MAX);
        page.after = found.last().map(|last| last.id);
        all.extend(found);
        if is_last || page.after.is_none() {
            return Ok(all);
        }
    }
}

/// The sum of some amounts.
pub fn sum_of(amounts: impl IntoIterator<Item = Picodollars>) -> Result<Picodollars, OutOfRange> {
    amounts
        .into_iter()
        .try_fold(Picodollars::ZERO, Picodollars::checked_add)
}

/// An adjustment as it is shown.
pub fn show_adjustment(adjustment: &Adjustment) -> AdjustmentView {
    AdjustmentView {
        id: adjustment.id,
        kind: adjustment.kind.as_str().into(),
        amount: Money(adjustment.amount),
        request: adjustment.request,
        price_version: adjustment.price_version.map(|version| version.0),
        reference: adjustment.reference.clone(),
        note: adjustment.note.clone(),
        booked_at: when::show(adjustment.booked_at_ms),
    }
}
