//! What is written besides entries: checkpoints of open requests, and adjustments.

use super::super::LedgerFault;
use super::super::sql::columns::{ADJUSTMENT_COLUMNS, numbers_of};
use farebox_domain::ledger::{Adjustment, Entry};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

pub(super) async fn checkpoint(writer: &mut SqliteConnection, open: &[Entry]) -> Result<(), LedgerFault> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    for entry in open {
        let text = serde_json::to_string(entry).map_err(|fault| LedgerFault::Database(Box::new(fault)))?;
        sqlx::query(
            "INSERT INTO checkpoints (id, entry) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM entries WHERE id = ?1)
             ON CONFLICT (id) DO UPDATE SET entry = excluded.entry",
        )
        .bind(entry.id.as_bytes().as_slice())
        .bind(text)
        .execute(&mut *transaction)
        .await?;
    }
    Ok(transaction.commit().await?)
}

/// What was left open, the oldest first.
pub(super) async fn checkpoints(writer: &mut SqliteConnection) -> Result<Vec<Entry>, LedgerFault> {
    let rows = sqlx::query("SELECT entry FROM checkpoints ORDER BY id")
        .fetch_all(writer)
        .await?;
    rows.iter()
        .map(|row| {
            serde_json::from_str(row.try_get("entry")?).map_err(|_| LedgerFault::Unreadable("a checkpoint"))
        })
        .collect()
}

/// A checkpoint that came after its request was booked stays behind, and says nothing any more.
pub(super) async fn drop_checkpoints(writer: &mut SqliteConnection) -> Result<(), LedgerFault> {
    sqlx::query("DELETE FROM checkpoints").execute(writer).await?;
    Ok(())
}

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
