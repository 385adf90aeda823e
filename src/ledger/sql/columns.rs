//! The columns of `entries` and `adjustments`, and reading them back.

use super::super::LedgerFault;
use super::super::verify::Discrepancy;
use crate::store::row::{ColumnFault, Columns};
use farebox_domain::ids::{AdjustmentId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Endpoint, Entry, EntryState, Timings};
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use farebox_domain::tokens::{Usage, UsageSource};
use farebox_domain::units::{ServiceTier, Units};

/// In the order in which they are written and read.
pub(in crate::ledger) const COLUMNS: [&str; 21] = [
    "id",
    "client_request_id",
    "account",
    "api_key",
    "model",
    "engine",
    "endpoint",
    "state",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "units",
    "service_tier",
    "usage_source",
    "price_version",
    "cost_picodollars",
    "admitted_at_ms",
    "queue_us",
    "ttft_us",
    "total_us",
];

/// Why a row is not an entry.
pub(in crate::ledger) struct NotAnEntry {
    column: &'static str,
    read: String,
}

/// The row as the entry that was booked, exactly: nothing is clamped or repaired.
pub(in crate::ledger) fn entry_of(row: &impl Columns) -> Result<Entry, NotAnEntry> {
    Ok(Entry {
        id: id_of(row)?,
        client_request_id: row.text_if_any("client_request_id")?.map(Into::into),
        account: row.text("account")?.into(),
        key: row.text("api_key")?.into(),
        model: row.text("model")?.into(),
        engine: row.text_if_any("engine")?.map(Into::into),
        endpoint: named(row, "endpoint", Endpoint::parse)?,
        state: named(row, "state", EntryState::parse)?,
        usage: Usage {
            prompt_tokens: row.count("prompt_tokens")?,
            cached_tokens: row.count("cached_tokens")?,
            completion_tokens: row.count("completion_tokens")?,
            reasoning_tokens: row.count("reasoning_tokens")?,
        },
        units: units_of(row)?,
        service_tier: named(row, "service_tier", ServiceTier::parse)?,
        usage_source: named(row, "usage_source", UsageSource::parse)?,
        price_version: PriceVersion(row.integer("price_version")?),
        cost: Picodollars::new(row.integer("cost_picodollars")?.into()),
        admitted_at_ms: row.count("admitted_at_ms")?,
        timings: Timings {
            queue_us: row.count("queue_us")?,
            ttft_us: row.count_if_any("ttft_us")?,
            total_us: row.count("total_us")?,
        },
    })
}

/// The columns of `adjustments`, in the order in which they are written and read.
pub(in crate::ledger) const ADJUSTMENT_COLUMNS: [&str; 9] = [
    "id",
    "account",
    "kind",
    "amount_picodollars",
    "request",
    "price_version",
    "reference",
    "note",
    "booked_at_ms",
];

/// The row as the adjustment that was booked.
pub(in crate::ledger) fn adjustment_of(row: &impl Columns) -> Result<Adjustment, NotAnEntry> {
    let request = row.bytes_if_any("request")?;
    Ok(Adjustment {
        id: AdjustmentId::from_bytes(id_bytes("id", row.bytes("id")?)?),
        account: row.text("account")?.into(),
        kind: named(row, "kind", AdjustmentKind::parse)?,
        amount: Picodollars::new(row.integer("amount_picodollars")?.into()),
        request: request
            .map(|bytes| id_bytes("request", bytes).map(RequestId::from_bytes))
            .transpose()?,
        price_version: row.integer_if_any("price_version")?.map(PriceVersion),
        reference: row.text("reference")?.to_owned(),
        note: row.text("note")?.to_owned(),
        booked_at_ms: row.count("booked_at_ms")?,
    })
}

/// What can be said about a row that cannot be read.
pub(in crate::ledger) fn describe(row: &impl Columns, fault: NotAnEntry) -> Discrepancy {
    let raw_id = row.bytes("id").unwrap_or_default();
    let id = match id_of(row) {
        Ok(id) => id.to_string(),
        Err(_) => hex::encode(raw_id),
    };
    Discrepancy::Unreadable {
        id,
        booked: fault.read,
        expected: fault.column,
    }
}

impl From<ColumnFault> for NotAnEntry {
    fn from(fault: ColumnFault) -> Self {
        Self {
            column: fault.column,
            read: fault.cause.to_string(),
        }
    }
}

impl From<NotAnEntry> for LedgerFault {
    fn from(fault: NotAnEntry) -> Self {
        Self::Unreadable(fault.column)
    }
}

fn id_of(row: &impl Columns) -> Result<RequestId, NotAnEntry> {
    Ok(RequestId::from_bytes(id_bytes("id", row.bytes("id")?)?))
}

fn id_bytes(column: &'static str, bytes: &[u8]) -> Result<[u8; 16], NotAnEntry> {
    bytes.try_into().map_err(|_| NotAnEntry {
        column,
        read: format!("{} bytes", bytes.len()),
    })
}

fn units_of(row: &impl Columns) -> Result<Units, NotAnEntry> {
    let Some(text) = row.text_if_any("units")? else {
        return Ok(Units::default());
    };
    serde_json::from_str(text).map_err(|_| NotAnEntry {
        column: "units",
        read: text.to_owned(),
    })
}

fn named<T>(row: &impl Columns, column: &'static str, parse: fn(&str) -> Option<T>) -> Result<T, NotAnEntry> {
    let name = row.text(column)?;
    parse(name).ok_or_else(|| NotAnEntry {
        column,
        read: name.to_owned(),
    })
}

/// What goes into the column `units`: `None` for an entry that has none, which is most of them.
pub(in crate::ledger) fn units_json(units: &Units) -> Result<Option<String>, LedgerFault> {
    if units.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(units)
        .map(Some)
        .map_err(|fault| LedgerFault::Database(Box::new(fault)))
}

/// An adjustment's amount and time as 64 signed bits.
pub(in crate::ledger) fn numbers_of(adjustment: &Adjustment) -> Result<(i64, i64), LedgerFault> {
    let out_of_range = |column| LedgerFault::OutOfRange {
        id: adjustment.id.to_string(),
        column,
    };
    let amount = adjustment.amount.to_i64();
    let booked_at_ms = i64::try_from(adjustment.booked_at_ms);
    Ok((
        amount.map_err(|_| out_of_range("amount"))?,
        booked_at_ms.map_err(|_| out_of_range("booked_at_ms"))?,
    ))
}
