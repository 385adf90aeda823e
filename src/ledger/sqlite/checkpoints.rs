//! What requests that are open would be booked as if farebox ended now: the table `checkpoints`, in the embedded ledger
//! and in a replica's outbox. A trigger of the insert that books a request removes its checkpoint.

use super::super::sql::batch;
use super::super::sql::writer::Writer;
use super::super::{LedgerFault, MAX_BATCH};
use super::batch::{BatchArguments, BatchSql};
use farebox_domain::ids::RequestId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteConnectOptions;

/// How checkpoints are kept: many with one statement.
pub(in crate::ledger) struct Checkpoints(BatchSql);

impl Checkpoints {
    /// How many texts there are.
    pub(in crate::ledger) const STATEMENTS: usize = BatchSql::STATEMENTS;

    /// Of requests that are booked in this table.
    pub(in crate::ledger) fn new(booked_in: &str) -> Self {
        let open = format!("NOT EXISTS (SELECT 1 FROM {booked_in} WHERE id = column1)");
        let replace = "DO UPDATE SET entry = excluded.entry";
        Self(BatchSql::with("checkpoints", &["id", "entry"], &open, replace))
    }

    /// Keeps these, durably, in place of earlier ones of the same requests, but for those whose row is in the table that
    /// requests are booked in. At most [`MAX_BATCH`].
    pub(in crate::ledger) async fn keep<T: Serialize>(
        &self,
        writer: &Writer<SqliteConnectOptions>,
        open: &[T],
        id_of: fn(&T) -> RequestId,
    ) -> Result<(), LedgerFault> {
        let Some(open) = batch(open)? else {
            return Ok(());
        };
        let sql = self.0.for_batch(open.len());
        let mut rows = BatchArguments::with_capacity(2 * open.len());
        for request in open {
            rows.add(id_of(request).as_bytes().to_vec())?;
            rows.add(json(request)?)?;
        }
        let arguments = rows.finish();
        writer
            .write(async |connection| {
                sqlx::query_with(sql, arguments).execute(connection).await?;
                Ok(())
            })
            .await
    }
}

/// What was left open, the oldest first.
async fn left<T: DeserializeOwned>(writer: &Writer<SqliteConnectOptions>) -> Result<Vec<T>, LedgerFault> {
    let texts: Vec<String> = writer
        .write(async |connection| {
            let rows = sqlx::query("SELECT entry FROM checkpoints ORDER BY id")
                .fetch_all(connection)
                .await?;
            rows.iter().map(|row| Ok(row.try_get("entry")?)).collect()
        })
        .await?;
    texts
        .iter()
        .map(|text| serde_json::from_str(text).map_err(|_| LedgerFault::Unreadable("a checkpoint")))
        .collect()
}

/// Books what was left open, and returns how many requests that was. A checkpoint that came after its request was
/// booked stays behind until now, and says nothing any more.
pub(in crate::ledger) async fn recover<T, Booked>(
    writer: &Writer<SqliteConnectOptions>,
    book: impl Fn(Vec<T>) -> Booked,
) -> Result<u64, LedgerFault>
where
    T: DeserializeOwned,
    Booked: Future<Output = Result<(), LedgerFault>>,
{
    let mut open: Vec<T> = left(writer).await?;
    let requests = open.len();
    while !open.is_empty() {
        let later = open.split_off(open.len().min(MAX_BATCH));
        book(std::mem::replace(&mut open, later)).await?;
    }
    if requests > 0 {
        writer
            .write(async |connection| {
                sqlx::query("DELETE FROM checkpoints").execute(connection).await?;
                Ok(())
            })
            .await?;
    }
    Ok(u64::try_from(requests).unwrap_or(u64::MAX))
}

/// A row's text.
pub(in crate::ledger) fn json(value: &impl Serialize) -> Result<String, LedgerFault> {
    serde_json::to_string(value).map_err(|fault| LedgerFault::Database(Box::new(fault)))
}
