//! The texts and the arrays of a commit.

use super::super::sql::columns::{ADJUSTMENT_COLUMNS, COLUMNS, numbers_of, units_json};
use super::super::{LedgerFault, Numbers};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Adjustment, Entry};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use std::collections::HashSet;
use std::sync::Arc;

/// PostgreSQL's types of [`COLUMNS`].
const TYPES: [&str; COLUMNS.len()] = [
    "bytea", "text", "text", "text", "text", "text", "text", "text", "bigint", "bigint", "bigint", "bigint",
    "text", "text", "text", "bigint", "bigint", "bigint", "bigint", "bigint", "bigint",
];

/// PostgreSQL's types of [`ADJUSTMENT_COLUMNS`].
const ADJUSTMENT_TYPES: [&str; ADJUSTMENT_COLUMNS.len()] = [
    "bytea", "text", "text", "bigint", "bytea", "bigint", "text", "text", "bigint",
];

/// The texts. Of rows that say the same thing, the first in the batch counts, so their order in it is their second key.
pub(super) struct InsertSql {
    entries: Arc<str>,
    adjustments: Arc<str>,
}

impl InsertSql {
    pub(super) fn new() -> Self {
        let entries = text("entries", &COLUMNS, &TYPES, "id");
        let adjustments = text(
            "adjustments",
            &ADJUSTMENT_COLUMNS,
            &ADJUSTMENT_TYPES,
            "account, reference",
        );
        Self {
            entries: format!("{entries} RETURNING id").into(),
            adjustments: format!("{adjustments} RETURNING id").into(),
        }
    }

    /// Books entries.
    pub(super) async fn entries(
        &self,
        writer: &mut PgConnection,
        entries: &[Entry],
    ) -> Result<(), LedgerFault> {
        self.new_entries(writer, entries).await.map(drop)
    }

    /// Books entries, and returns the ids of those that were not booked before.
    pub(super) async fn new_entries(
        &self,
        writer: &mut PgConnection,
        entries: &[Entry],
    ) -> Result<HashSet<RequestId>, LedgerFault> {
        let numbers: Vec<Numbers> = entries.iter().map(Numbers::of).collect::<Result<_, _>>()?;
        let units: Vec<Option<String>> = entries
            .iter()
            .map(|entry| units_json(&entry.units))
            .collect::<Result<_, _>>()?;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.entries)))
            .bind(column(entries, |entry| entry.id.as_bytes().as_slice()))
            .bind(column(entries, |entry| entry.client_request_id.as_deref()))
            .bind(column(entries, |entry| entry.account.as_str()))
            .bind(column(entries, |entry| entry.key.as_str()))
            .bind(column(entries, |entry| entry.model.as_str()))
            .bind(column(entries, |entry| {
                entry.engine.as_ref().map(|engine| engine.as_str())
            }))
            .bind(column(entries, |entry| entry.endpoint.as_str()))
            .bind(column(entries, |entry| entry.state.as_str()))
            .bind(column(&numbers, |of| of.prompt_tokens))
            .bind(column(&numbers, |of| of.cached_tokens))
            .bind(column(&numbers, |of| of.completion_tokens))
            .bind(column(&numbers, |of| of.reasoning_tokens))
            .bind(units)
            .bind(column(entries, |entry| entry.service_tier.as_str()))
            .bind(column(entries, |entry| entry.usage_source.as_str()))
            .bind(column(entries, |entry| entry.price_version.0))
            .bind(column(&numbers, |of| of.cost_picodollars))
            .bind(column(&numbers, |of| of.admitted_at_ms))
            .bind(column(&numbers, |of| of.queue_us))
            .bind(column(&numbers, |of| of.ttft_us))
            .bind(column(&numbers, |of| of.total_us))
            .fetch_all(writer)
            .await?;
        let id_of = |row: &PgRow| {
            let bytes: &[u8] = row.try_get("id")?;
            let bytes = bytes.try_into().map_err(|_| LedgerFault::Unreadable("an id"))?;
            Ok(RequestId::from_bytes(bytes))
        };
        rows.iter().map(id_of).collect()
    }

    /// Books adjustments, and returns those that were booked now, in the order of the batch.
    pub(super) async fn adjustments(
        &self,
        writer: &mut PgConnection,
        adjustments: &[Adjustment],
    ) -> Result<Vec<Adjustment>, LedgerFault> {
        let numbers: Vec<(i64, i64)> = adjustments.iter().map(numbers_of).collect::<Result<_, _>>()?;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.adjustments)))
            .bind(column(adjustments, |of| of.id.as_bytes().as_slice()))
            .bind(column(adjustments, |of| of.account.as_str()))
            .bind(column(adjustments, |of| of.kind.as_str()))
            .bind(column(&numbers, |(amount, _)| *amount))
            .bind(column(adjustments, |of| {
                of.request.as_ref().map(|id| id.as_bytes().as_slice())
            }))
            .bind(column(adjustments, |of| {
                of.price_version.map(|version| version.0)
            }))
            .bind(column(adjustments, |of| of.reference.as_str()))
            .bind(column(adjustments, |of| of.note.as_str()))
            .bind(column(&numbers, |(_, booked_at_ms)| *booked_at_ms))
            .fetch_all(writer)
            .await?;
        let mut booked: HashSet<Vec<u8>> = rows
            .iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, _>>()?;
        let is_booked = |adjustment: &&Adjustment| booked.remove(adjustment.id.as_bytes().as_slice());
        Ok(adjustments.iter().filter(is_booked).cloned().collect())
    }
}

fn text(table: &str, columns: &[&str], types: &[&str], key: &str) -> String {
    let columns = columns.join(", ");
    let arrays: Vec<String> = types
        .iter()
        .zip(1..)
        .map(|(of, number)| format!("${number}::{of}[]"))
        .collect();
    format!(
        "INSERT INTO {table} ({columns})
         SELECT {columns} FROM unnest({}) WITH ORDINALITY AS new ({columns}, position) ORDER BY {key}, position
         ON CONFLICT ({key}) DO NOTHING",
        arrays.join(", "),
    )
}

fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
