//! Entries to book.

use farebox::ledger::Ledger;
use farebox_domain::ids::{AdjustmentId, ModelId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Endpoint, Entry, EntryState, Timings};
use farebox_domain::money::Picodollars;
use farebox_domain::price::{Price, PriceVersion, TokenPrice};
use farebox_domain::tokens::{Usage, UsageSource};
use farebox_domain::units::{ServiceTier, Units};

pub(crate) const MODEL: &str = "test/model-1";

pub(crate) fn model() -> ModelId {
    MODEL.into()
}

pub(crate) fn price() -> Price {
    Price::of_tokens(
        TokenPrice::from_picodollars(100_000),
        Some(TokenPrice::from_picodollars(20_000)),
        TokenPrice::from_picodollars(320_000),
    )
}

pub(crate) fn id(number: u64) -> RequestId {
    id_at(ADMITTED_AT_MS, number)
}

/// When the first sample was admitted: 2025-11-24T16:00:00Z.
pub(crate) const ADMITTED_AT_MS: u64 = 1_764_000_000_000;

/// An id that was made at this time.
pub(crate) fn id_at(unix_ms: u64, number: u64) -> RequestId {
    let mut bytes = *RequestId::lowest_at_ms(unix_ms).as_bytes();
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    RequestId::from_bytes(bytes)
}

pub(crate) fn charge(usage: &Usage) -> Picodollars {
    price()
        .charge(usage, &Units::default(), ServiceTier::Default)
        .unwrap()
}

/// A completed entry whose usage and cost follow from its number.
pub(crate) fn entry(number: u64, account: &str, price_version: PriceVersion) -> Entry {
    let usage = Usage::new(100 + number % 7, number % 50, 10 + number % 13).with_reasoning(number % 5);
    Entry {
        id: id(number),
        client_request_id: (number.is_multiple_of(2)).then(|| format!("client-{number}")),
        account: account.into(),
        key: format!("key_{}", number % 3).into(),
        model: model(),
        engine: (!number.is_multiple_of(5)).then(|| "vllm-a".into()),
        endpoint: Endpoint::ChatCompletions,
        state: EntryState::Completed,
        usage,
        units: Units::default(),
        service_tier: ServiceTier::Default,
        usage_source: UsageSource::Engine,
        price_version,
        cost: charge(&usage),
        admitted_at_ms: ADMITTED_AT_MS + number,
        timings: Timings {
            queue_us: number,
            ttft_us: (!number.is_multiple_of(3)).then_some(2_000),
            total_us: 90_000,
        },
    }
}

pub(crate) fn entries(
    numbers: impl IntoIterator<Item = u64>,
    account: &str,
    version: PriceVersion,
) -> Vec<Entry> {
    numbers
        .into_iter()
        .map(|number| entry(number, account, version))
        .collect()
}

/// Credit, with a reference of its own.
pub(crate) fn adjustment(number: u64, account: &str, picodollars: i64) -> Adjustment {
    let mut bytes = *AdjustmentId::lowest_at_ms(ADMITTED_AT_MS).as_bytes();
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Adjustment {
        id: AdjustmentId::from_bytes(bytes),
        account: account.into(),
        kind: AdjustmentKind::Credit,
        amount: Picodollars::new(picodollars.into()),
        request: None,
        price_version: None,
        reference: format!("invoice-{number}"),
        note: "caf\u{e9}'; --".to_owned(),
        booked_at_ms: ADMITTED_AT_MS + number,
    }
}

pub(crate) fn cost_sum(entries: &[Entry]) -> Picodollars {
    Picodollars::new(entries.iter().map(|entry| entry.cost.get()).sum())
}

/// What an account spent in picodollars and its count of entries; zeros where it has none.
pub(crate) async fn balance(ledger: &dyn Ledger, account: &str) -> (Picodollars, u64) {
    ledger
        .balances()
        .await
        .unwrap()
        .into_iter()
        .find(|balance| balance.account.as_str() == account)
        .map_or((Picodollars::ZERO, 0), |found| (found.spent, found.entries))
}
