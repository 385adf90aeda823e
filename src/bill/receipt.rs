//! One request, explained: what was used, how that is known, at which price, and what became of it since.

use super::item::itemize;
use super::{BillFault, PriceBook, all_adjustments, show_adjustment, sum_of};
use crate::admin_api::bill::{EntryView, ReceiptView};
use crate::admin_api::{Money, when};
use crate::ledger::{AdjustmentPage, Ledger};
use crate::store::Store;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::tokens::UsageSource;

/// The receipt of a request that was booked.
pub async fn receipt(ledger: &dyn Ledger, store: &Store, entry: &Entry) -> Result<ReceiptView, BillFault> {
    let mut prices = PriceBook::default();
    prices.add(store, &entry.model).await?;
    let price = prices.find(&entry.model, entry.price_version);
    let lines = itemize(&entry.usage, price.map(|found| &found.price), entry.cost)?;
    let about_it = AdjustmentPage {
        account: Some(entry.account.clone()),
        request: Some(entry.id),
        ..AdjustmentPage::default()
    };
    let adjustments = all_adjustments(ledger, about_it).await?;
    let adjusted = sum_of(adjustments.iter().map(|adjustment| adjustment.amount))?;
    Ok(ReceiptView {
        object: "receipt".into(),
        status: "settled".into(),
        state_in_words: state_in_words(entry.state).into(),
        usage_source_in_words: source_in_words(entry.usage_source).into(),
        price: prices.show(&entry.model, entry.price_version),
        lines,
        adjustments: adjustments.iter().map(show_adjustment).collect(),
        adjusted: Money(adjusted),
        net: Money(entry.cost.checked_sub(adjusted)?),
        entry: show_entry(entry),
    })
}

/// An entry as its account's owner is shown it.
pub fn show_entry(entry: &Entry) -> EntryView {
    EntryView {
        request_id: entry.id,
        client_request_id: entry.client_request_id.clone(),
        admitted_at: when::show(entry.admitted_at_ms),
        key: entry.key.clone(),
        model: entry.model.clone(),
        endpoint: entry.endpoint.as_str().into(),
        state: entry.state.as_str().into(),
        usage: entry.usage,
        units: entry.units,
        service_tier: entry.service_tier,
        usage_source: entry.usage_source.as_str().into(),
        price_version: entry.price_version.0,
        cost: Money(entry.cost),
        queue_us: entry.timings.queue_us,
        ttft_us: entry.timings.ttft_us,
        total_us: entry.timings.total_us,
    }
}

const fn state_in_words(state: EntryState) -> &'static str {
    match state {
        EntryState::Completed => "The answer was delivered whole; what the model used for it is charged.",
        EntryState::Cancelled => {
            "The client left before the end; the prompt and what had been produced until then are charged."
        }
        EntryState::Failed => "No answer began; nothing is charged.",
        EntryState::Interrupted => {
            "The answer broke off after it had begun; the prompt and what was delivered are charged."
        }
        EntryState::Capped => {
            "The account's means were used up; the answer ended there, and what was delivered is charged."
        }
    }
}

const fn source_in_words(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Engine => "The counts are the engine's own, reported when it had finished.",
        UsageSource::EngineCorrected => {
            "The counts are the engine's own; it leaves something out, which farebox counted and added."
        }
        UsageSource::EnginePartial => {
            "The counts are the engine's own; it counts one choice of several, so they are never too high."
        }
        UsageSource::EngineContinuous => {
            "The counts are the last that the engine reported before the answer ended early."
        }
        UsageSource::Tokenizer => {
            "The engine reported no counts: the prompt was counted by the model's own tokenizer, and one token for each \
             piece of the answer that was delivered."
        }
        UsageSource::Deltas => {
            "The engine reported no counts: one token is counted for each piece of the answer that was delivered, and none \
             for the prompt."
        }
        UsageSource::None => "Nothing is known to have been used, and nothing is counted.",
    }
}
