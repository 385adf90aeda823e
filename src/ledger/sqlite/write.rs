//! What is written besides entries and checkpoints: adjustments.

use super::super::LedgerFault;
use super::super::sql::columns::{ADJUSTMENT_COLUMNS, numbers_of};
use farebox_domain::ledger::Adjustment;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

pub(super) async fn adjust(
    writer: &mut SqliteConnection,
    adjustments: &[Adjustment],
) -> Result<Vec<Adjustment>, LedgerFault> {
    let sql = format!(
        "INSERT INTO adjustments ({}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, reference) DO NOTHING",
        ADJUSTMENT_COLUMNS.join(", ")
    );
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut booked = Vec::new();
    for adjustment in adjustments {
        let (amount, at) = numbers_of(adjustment)?;
        let inserted = sqlx::query(AssertSqlSafe(sql.as_str()))
            .bind(adjustment.id.as_bytes().as_slice())
            .bind(adjustment.account.as_str())
            .bind(adjustment.kind.as_str())
            .bind(amount)
            .bind(adjustment.request.map(|id| id.as_bytes().to_vec()))
            .bind(adjustment.price_version.map(|version| version.0))
            .bind(adjustment.reference.as_str())
            .bind(adjustment.note.as_str())
            .bind(at)
            .execute(&mut *transaction)
            .await?;
        if inserted.rows_affected() > 0 {
            booked.push(adjustment.clone());
        }
    }
    transaction.commit().await?;
    Ok(booked)
}
