//! A month of an account: what it had, what its requests cost, what else moved its balance, what it has.
//!
//! [`statement`] makes it, [`csv`] and [`html`] write it down.

pub mod csv;
pub mod html;

use super::item::{is_itemized, itemize, usage_of_sum};
use super::{BillFault, PriceBook, all_adjustments, show_adjustment, sum_of};
use crate::admin_api::bill::{NamedPriceView, Standing, StatementLineView, StatementView};
use crate::admin_api::{Money, when};
use crate::ledger::usage::HOUR_MS;
use crate::ledger::{AdjustmentPage, GroupBy, Ledger, UsageQuery, UsageRow};
use crate::store::Store;
use farebox_domain::ids::{AccountId, ModelId};
use farebox_domain::ledger::Adjustment;
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use farebox_domain::price::PriceVersion;
use std::collections::BTreeSet;

/// How long a request that was admitted at a month's end may go on before it is booked.
const SETTLING_MS: u64 = HOUR_MS;

/// Which statement.
#[derive(Debug, Clone)]
pub struct StatementOf<'a> {
    /// Whose.
    pub account: &'a AccountId,
    /// Its name.
    pub account_name: &'a str,
    /// Of which month. It has begun.
    pub month: Month,
    /// The present, in milliseconds since 1970.
    pub now_ms: u64,
}

impl StatementOf<'_> {
    /// Whether the month has begun. There is no statement of one that has not.
    pub fn has_begun(&self) -> bool {
        self.month.starts_at_ms() <= self.now_ms
    }

    fn since_ms(&self) -> u64 {
        self.month.starts_at_ms()
    }

    fn until_ms(&self) -> u64 {
        self.month.next().starts_at_ms().min(self.now_ms)
    }

    fn standing(&self) -> Standing {
        let end = self.month.next().starts_at_ms();
        if self.now_ms < end {
            Standing::Open
        } else if self.now_ms < end.saturating_add(SETTLING_MS) {
            Standing::Settling
        } else {
            Standing::Final
        }
    }
}

/// Makes a statement. Requests belong to the month of their admission, adjustments to the one in which they were booked.
pub async fn statement(
    ledger: &dyn Ledger,
    store: &Store,
    of: &StatementOf<'_>,
) -> Result<StatementView, BillFault> {
    let opening_balance = balance_at(ledger, of.account, of.since_ms()).await?;
    let rows = ledger.usage(&usage_in(of)).await?;
    let adjustments = adjustments_in(ledger, of).await?;
    let prices = prices_for(ledger, store, &rows, &adjustments).await?;

    let lines = rows
        .iter()
        .filter_map(|row| line(row, &prices).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let usage_total = sum_of(lines.iter().map(|line| line.amount.0))?;
    let adjustments_total = sum_of(adjustments.iter().map(|adjustment| adjustment.amount))?;
    let closing_balance = opening_balance
        .checked_sub(usage_total)?
        .checked_add(adjustments_total)?;
    Ok(StatementView {
        account: of.account.clone(),
        account_name: of.account_name.into(),
        month: of.month.to_string(),
        since: when::show(of.since_ms()),
        until: when::show(of.until_ms()),
        standing: of.standing(),
        made_at: when::show(of.now_ms),
        opening_balance: Money(opening_balance),
        requests: rows.iter().map(|row| row.sum.requests).sum(),
        lines,
        usage_total: Money(usage_total),
        adjustments: adjustments.iter().map(show_adjustment).collect(),
        adjustments_total: Money(adjustments_total),
        closing_balance: Money(closing_balance),
        prices: shown_prices(&prices, &rows, &adjustments),
    })
}

/// What the account had just before this time.
async fn balance_at(ledger: &dyn Ledger, account: &AccountId, at_ms: u64) -> Result<Picodollars, BillFault> {
    let before = UsageQuery {
        account: Some(account.clone()),
        until_ms: Some(at_ms),
        ..UsageQuery::default()
    };
    let spent = sum_of(ledger.usage(&before).await?.iter().map(|row| row.sum.cost))?;
    let before = AdjustmentPage {
        account: Some(account.clone()),
        until_ms: Some(at_ms),
        ..AdjustmentPage::default()
    };
    let adjustments = all_adjustments(ledger, before).await?;
    let adjusted = sum_of(adjustments.iter().map(|adjustment| adjustment.amount))?;
    Ok(adjusted.checked_sub(spent)?)
}

fn usage_in(of: &StatementOf<'_>) -> UsageQuery {
    UsageQuery {
        group_by: GroupBy {
            model: true,
            endpoint: true,
            price_version: true,
            ..GroupBy::default()
        },
        account: Some(of.account.clone()),
        since_ms: Some(of.since_ms()),
        until_ms: Some(of.until_ms()),
        ..UsageQuery::default()
    }
}

async fn adjustments_in(ledger: &dyn Ledger, of: &StatementOf<'_>) -> Result<Vec<Adjustment>, BillFault> {
    let page = AdjustmentPage {
        account: Some(of.account.clone()),
        since_ms: Some(of.since_ms()),
        until_ms: Some(of.until_ms()),
        ..AdjustmentPage::default()
    };
    Ok(all_adjustments(ledger, page).await?)
}

/// The prices of every model that is used or corrected. What a correction names may be of a model that was not used in
/// this month: its request says which.
async fn prices_for(
    ledger: &dyn Ledger,
    store: &Store,
    rows: &[UsageRow],
    adjustments: &[Adjustment],
) -> Result<PriceBook, BillFault> {
    let mut prices = PriceBook::default();
    let used: BTreeSet<&ModelId> = rows.iter().filter_map(|row| row.group.model.as_ref()).collect();
    for model in used {
        prices.add(store, model).await?;
    }
    for adjustment in adjustments {
        let (Some(version), Some(request)) = (adjustment.price_version, adjustment.request) else {
            continue;
        };
        if prices.model_of(version).is_none()
            && let Some(entry) = ledger.entry(request).await?
        {
            prices.add(store, &entry.model).await?;
        }
    }
    Ok(prices)
}

/// Each version that a line or a correction names, once.
fn shown_prices(prices: &PriceBook, rows: &[UsageRow], adjustments: &[Adjustment]) -> Vec<NamedPriceView> {
    let used = rows
        .iter()
        .filter_map(|row| Some((row.group.model.clone()?, row.group.price_version?)));
    let corrected_to = adjustments.iter().filter_map(|adjustment| {
        let version = adjustment.price_version?;
        Some((prices.model_of(version)?.clone(), version))
    });
    let named: BTreeSet<(ModelId, PriceVersion)> = used.chain(corrected_to).collect();
    named
        .iter()
        .map(|(model, version)| prices.show(model, *version))
        .collect()
}

fn line(row: &UsageRow, prices: &PriceBook) -> Result<Option<StatementLineView>, BillFault> {
    let (Some(model), Some(version)) = (&row.group.model, row.group.price_version) else {
        return Ok(None);
    };
    let price = prices.find(model, version);
    let items = itemize(
        &usage_of_sum(&row.sum),
        price.map(|found| &found.price),
        row.sum.cost,
    )?;
    Ok(Some(StatementLineView {
        model: model.clone(),
        endpoint: row.group.endpoint.clone().unwrap_or_default(),
        price_version: version.0,
        price_holds_since: price.and_then(|found| found.effective_at_ms).map(when::show),
        requests: row.sum.requests,
        itemized: is_itemized(&items),
        items,
        amount: Money(row.sum.cost),
    }))
}
