//! The export's queue in PostgreSQL: filled by triggers that are enabled only while export is switched on, and emptied by
//! every replica at once. Each takes rows for a time, past those that another is taking; no transaction stays open while a
//! receiver is waited for, and what a replica took that died is free again when its time is over.

use super::super::sql::export::{self, BackfillPage, SETTING, WriteQueue, write_queue};
use super::super::sql::pages::bound;
use super::super::{EventId, LedgerFault, RefusedEvent};
use super::PgWriter;
use sqlx::postgres::Postgres;
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::time::Duration;

/// `MATERIALIZED`: taken once, however the rest is planned.
const TAKE: &str = "WITH next AS MATERIALIZED (
        SELECT id FROM undelivered WHERE taken_until <= clock_timestamp() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE undelivered SET taken_until = clock_timestamp() + $2 * interval '1 millisecond'
    FROM next WHERE undelivered.id = next.id RETURNING undelivered.id";
const GIVE_BACK: &str = "UPDATE undelivered SET taken_until = '-infinity' WHERE id IN (";
/// In the order in which bookings take the tables.
const SWITCH_ON: [&str; 2] = [
    "ALTER TABLE entries ENABLE TRIGGER entries_are_exported",
    "ALTER TABLE adjustments ENABLE TRIGGER adjustments_are_exported",
];
const SWITCH_OFF: [&str; 4] = [
    "ALTER TABLE entries DISABLE TRIGGER entries_are_exported",
    "ALTER TABLE adjustments DISABLE TRIGGER adjustments_are_exported",
    "DELETE FROM undelivered",
    "DELETE FROM export_refused",
];

impl WriteQueue for PgWriter {
    write_queue!(Postgres, "BEGIN ISOLATION LEVEL REPEATABLE READ");

    /// The row in `settings` comes first: of replicas that start at once the first switches, and the others wait for it
    /// and find nothing to do. Nobody locks a table that is as it should be.
    async fn switch(&self, on: bool) -> Result<(), LedgerFault> {
        let (statements, setting) = if on {
            (
                SWITCH_ON.as_slice(),
                "INSERT INTO settings VALUES ($1, '\\x01') ON CONFLICT (name) DO NOTHING",
            )
        } else {
            (SWITCH_OFF.as_slice(), "DELETE FROM settings WHERE name = $1")
        };
        self.write_beside(async |writer| {
            let mut transaction = writer.begin().await?;
            let changed = sqlx::query(setting)
                .bind(SETTING)
                .execute(&mut *transaction)
                .await?;
            if changed.rows_affected() > 0 {
                for statement in statements {
                    transaction.execute(*statement).await?;
                }
            }
            Ok(transaction.commit().await?)
        })
        .await
    }

    async fn take(&self, limit: u32, hold: Duration) -> Result<Vec<Vec<u8>>, LedgerFault> {
        let hold_ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        let take = sqlx::query_scalar(TAKE).bind(i64::from(limit)).bind(hold_ms);
        let mut taken: Vec<Vec<u8>> = self
            .write_beside(async |writer| Ok(take.fetch_all(writer).await?))
            .await?;
        taken.sort_unstable();
        Ok(taken)
    }

    async fn give_back(&self, ids: &[EventId]) -> Result<(), LedgerFault> {
        for some in ids.chunks(export::IDS_AT_ONCE) {
            self.write_beside(async |writer| {
                let mut give_back = export::listed::<Postgres>(GIVE_BACK, some);
                give_back.build().execute(writer).await?;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}
