//! The columns of `entries` and `adjustments`, and reading them back.

use super::super::LedgerFault;
use super::super::verify::Discrepancy;
use farebox_domain::ids::{AdjustmentId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Endpoint, Entry, EntryState, Timings};
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use farebox_domain::tokens::{Usage, UsageSource};
use farebox_domain::units::{ServiceTier, Units};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// In the order in which they are written and read.
pub(super) const COLUMNS: [&str; 21] = [
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
pub(super) struct NotAnEntry {
    column: &'static str,
    read: String,
}

/// The row as the entry that was booked, exactly: nothing is clamped or repaired.
pub(super) fn entry_of(row: &SqliteRow) -> Result<Entry, NotAnEntry> {
    Ok(Entry {
        id: id_of(row)?,
        client_request_id: get(row, "client_request_id")?,
        account: get::<&str>(row, "account")?.into(),
        key: get::<&str>(row, "api_key")?.into(),
        model: get::<&str>(row, "model")?.into(),
        engine: get::<Option<&str>>(row, "engine")?.map(Into::into),
        endpoint: named(row, "endpoint", Endpoint::parse)?,
        state: named(row, "state", EntryState::parse)?,
        usage: Usage {
            prompt_tokens: get(row, "prompt_tokens")?,
            cached_tokens: get(row, "cached_tokens")?,
            completion_tokens: get(row, "completion_tokens")?,
            reasoning_tokens: get(row, "reasoning_tokens")?,
        },
        units: units_of(row)?,
        service_tier: named(row, "service_tier", ServiceTier::parse)?,
        usage_source: named(row, "usage_source", UsageSource::parse)?,
        price_version: PriceVersion(get(row, "price_version")?),
        cost: Picodollars::new(get::<i64>(row, "cost_picodollars")?.into()),
        admitted_at_ms: get(row, "admitted_at_ms")?,
        timings: Timings {
            queue_us: get(row, "queue_us")?,
            ttft_us: get(row, "ttft_us")?,
            total_us: get(row, "total_us")?,
        },
    })
}

/// The columns of `adjustments`, in the order in which they are written and read.
pub(super) const ADJUSTMENT_COLUMNS: [&str; 9] = [
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
pub(super) fn adjustment_of(row: &SqliteRow) -> Result<Adjustment, NotAnEntry> {
    let request: Option<&[u8]> = get(row, "request")?;
    Ok(Adjustment {
        id: AdjustmentId::from_bytes(id_bytes("id", get(row, "id")?)?),
        account: get::<&str>(row, "account")?.into(),
        kind: named(row, "kind", AdjustmentKind::parse)?,
        amount: Picodollars::new(get::<i64>(row, "amount_picodollars")?.into()),
        request: request
            .map(|bytes| id_bytes("request", bytes).map(RequestId::from_bytes))
            .transpose()?,
        price_version: get::<Option<i64>>(row, "price_version")?.map(PriceVersion),
        reference: get(row, "reference")?,
        note: get(row, "note")?,
        booked_at_ms: get(row, "booked_at_ms")?,
    })
}

/// What can be said about a row that cannot be read.
pub(super) fn describe(row: &SqliteRow, fault: NotAnEntry) -> Discrepancy {
    let raw_id = get::<&[u8]>(row, "id").unwrap_or_default();
    let id = match id_of(row) {
        Ok(id) => id.to_string(),
        Err(_) => raw_id.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    Discrepancy::Unreadable {
        id,
        booked: fault.read,
        expected: fault.column,
    }
}

impl From<NotAnEntry> for LedgerFault {
    fn from(fault: NotAnEntry) -> Self {
        Self::Unreadable(fault.column)
    }
}

fn id_of(row: &SqliteRow) -> Result<RequestId, NotAnEntry> {
    Ok(RequestId::from_bytes(id_bytes("id", get(row, "id")?)?))
}

fn id_bytes(column: &'static str, bytes: &[u8]) -> Result<[u8; 16], NotAnEntry> {
    bytes.try_into().map_err(|_| NotAnEntry {
        column,
        read: format!("{} bytes", bytes.len()),
    })
}

fn units_of(row: &SqliteRow) -> Result<Units, NotAnEntry> {
    let Some(text) = get::<Option<&str>>(row, "units")? else {
        return Ok(Units::default());
    };
    serde_json::from_str(text).map_err(|_| NotAnEntry {
        column: "units",
        read: text.to_owned(),
    })
}

fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, NotAnEntry>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|fault| NotAnEntry {
        column,
        read: fault.to_string(),
    })
}

fn named<T>(row: &SqliteRow, column: &'static str, parse: fn(&str) -> Option<T>) -> Result<T, NotAnEntry> {
    let name: &str = get(row, column)?;
    parse(name).ok_or_else(|| NotAnEntry {
        column,
        read: name.to_owned(),
    })
}
