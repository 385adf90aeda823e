//! The export's queue in SQLite: filled by triggers that are there only while export is switched on.
//!
//! What was rejected: triggers that are always there and ask a setting (`WHEN EXISTS (...)`). That costs every entry of
//! every farebox 0.3 us, of the 5 that an entry costs in SQLite; a trigger that is not there costs nothing.

use super::super::sql::export::{self, BackfillPage, SETTING, WriteQueue, write_queue};
use super::super::sql::pages::bound;
use super::super::{EventId, LedgerFault, RefusedEvent};
use super::SqliteWriter;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::time::Duration;

/// `OR IGNORE` would not do: the conflict rule of the statement that books comes before a trigger's own, and a booking
/// that failed because its event waits already would be worse than an event that is told twice.
const SWITCH_ON: [&str; 2] = [
    "CREATE TRIGGER IF NOT EXISTS entries_are_exported AFTER INSERT ON entries
     BEGIN INSERT INTO undelivered VALUES (NEW.id) ON CONFLICT DO NOTHING; END",
    "CREATE TRIGGER IF NOT EXISTS adjustments_are_exported AFTER INSERT ON adjustments
     BEGIN INSERT INTO undelivered VALUES (NEW.id) ON CONFLICT DO NOTHING; END",
];
const SWITCH_OFF: [&str; 4] = [
    "DROP TRIGGER IF EXISTS entries_are_exported",
    "DROP TRIGGER IF EXISTS adjustments_are_exported",
    "DELETE FROM undelivered",
    "DELETE FROM export_refused",
];

impl SqliteWriter {
    /// Through the one connection that books: two that write would wait for each other by trying again and again.
    async fn write_beside<T>(
        &self,
        what: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, LedgerFault>,
    ) -> Result<T, LedgerFault> {
        self.writer.write(what).await
    }
}

impl WriteQueue for SqliteWriter {
    write_queue!(Sqlite, "BEGIN IMMEDIATE");

    async fn switch(&self, on: bool) -> Result<(), LedgerFault> {
        let (statements, setting) = if on {
            (
                SWITCH_ON.as_slice(),
                "INSERT INTO settings VALUES (?, x'01') ON CONFLICT (name) DO NOTHING",
            )
        } else {
            (SWITCH_OFF.as_slice(), "DELETE FROM settings WHERE name = ?")
        };
        self.write_beside(async |writer| {
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            for statement in statements {
                transaction.execute(*statement).await?;
            }
            sqlx::query(setting)
                .bind(SETTING)
                .execute(&mut *transaction)
                .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// One farebox owns the file, so nobody else can be given them and `hold` means nothing.
    async fn take(&self, limit: u32, _hold: Duration) -> Result<Vec<Vec<u8>>, LedgerFault> {
        self.write_beside(async |reader| {
            let select = sqlx::query_scalar("SELECT id FROM undelivered ORDER BY id LIMIT ?");
            Ok(select.bind(i64::from(limit)).fetch_all(reader).await?)
        })
        .await
    }

    async fn give_back(&self, _ids: &[EventId]) -> Result<(), LedgerFault> {
        Ok(())
    }
}
