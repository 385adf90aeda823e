//! The columns of `entries`, and reading them back as an entry.

use super::super::LedgerFault;
use super::super::verify::Discrepancy;
use farebox_domain::ids::{AccountId, RequestId};
use farebox_domain::ledger::{Endpoint, Entry, EntryState, Timings};
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use farebox_domain::tokens::{Usage, UsageSource};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// In the order in which they are written and read.
pub(super) const COLUMNS: [&str; 19] = [
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

/// What can be said about a row that is not an entry: what is wrong, and to whose balance its cost belongs.
pub(super) fn describe(
    row: &SqliteRow,
    fault: NotAnEntry,
) -> (Discrepancy, Option<(AccountId, Picodollars)>) {
    let raw_id = get::<&[u8]>(row, "id").unwrap_or_default();
    let id = match id_of(row) {
        Ok(id) => id.to_string(),
        Err(_) => raw_id.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let owed = get::<&str>(row, "account").and_then(|account| {
        let cost = get::<i64>(row, "cost_picodollars")?;
        Ok((account.into(), Picodollars::new(cost.into())))
    });
    let unreadable = Discrepancy::Unreadable {
        id,
        booked: fault.read,
        expected: fault.column,
    };
    (unreadable, owed.ok())
}

impl From<NotAnEntry> for LedgerFault {
    fn from(fault: NotAnEntry) -> Self {
        Self::Unreadable(fault.column)
    }
}

fn id_of(row: &SqliteRow) -> Result<RequestId, NotAnEntry> {
    let bytes: &[u8] = get(row, "id")?;
    let wrong = || NotAnEntry {
        column: "id",
        read: format!("{} bytes", bytes.len()),
    };
    Ok(RequestId::from_bytes(bytes.try_into().map_err(|_| wrong())?))
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
