//! An entry as a row: the arguments of a commit.

use super::super::sql::columns::{COLUMNS, units_json};
use super::super::{LedgerFault, Numbers};
use super::batch::BatchArguments;
use farebox_domain::ledger::Entry;
use sqlx::sqlite::SqliteArguments;
use std::sync::Arc;

/// The arguments that go with the text for these entries.
pub fn arguments<'e>(
    entries: impl ExactSizeIterator<Item = &'e Entry>,
) -> Result<SqliteArguments, LedgerFault> {
    let mut rows = BatchArguments::with_capacity(entries.len() * COLUMNS.len());
    for entry in entries {
        row(&mut rows, entry)?;
    }
    Ok(rows.finish())
}

/// In the order of [`COLUMNS`].
fn row(rows: &mut BatchArguments, entry: &Entry) -> Result<(), LedgerFault> {
    let numbers = Numbers::of(entry)?;
    let engine = entry.engine.as_ref().map(|engine| engine.as_str());
    rows.add(entry.id.as_bytes().to_vec())?;
    rows.add(entry.client_request_id.as_deref().map(Arc::<str>::from))?;
    rows.text(entry.account.as_str())?;
    rows.text(entry.key.as_str())?;
    rows.text(entry.model.as_str())?;
    rows.text_if_any(engine)?;
    rows.text(entry.endpoint.as_str())?;
    rows.text(entry.state.as_str())?;
    rows.add(numbers.prompt_tokens)?;
    rows.add(numbers.cached_tokens)?;
    rows.add(numbers.completion_tokens)?;
    rows.add(numbers.reasoning_tokens)?;
    rows.add(units_json(&entry.units)?)?;
    rows.text(entry.service_tier.as_str())?;
    rows.text(entry.usage_source.as_str())?;
    rows.add(entry.price_version.0)?;
    rows.add(numbers.cost_picodollars)?;
    rows.add(numbers.admitted_at_ms)?;
    rows.add(numbers.queue_us)?;
    rows.add(numbers.ttft_us)?;
    rows.add(numbers.total_us)
}
