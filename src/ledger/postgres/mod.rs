//! The ledger in PostgreSQL, which replicas share.
//!
//! A commit is one statement, which is its own transaction: the entries as arrays, one for each column.
//! `ON CONFLICT DO NOTHING` leaves alone what is booked, and triggers move roll-ups and spending with what was really
//! added, once for the whole statement. Two replicas that commit the same entries at once wait for each other and never
//! for ever: whatever takes a lock takes it in one order, entries by id, then roll-ups and then spending by their keys.

mod insert;
mod book;
mod leases;
mod export;

pub use book::ReplicaBooks;
pub use leases::PgLessor;

use super::LedgerFault;
use super::sql::writer::{Check, Writer};
use super::sql::{SqlLedger, Write};
use crate::store::Store;
use crate::store::database::Database;
use crate::store::history::History;
use farebox_domain::ledger::{Adjustment, Entry};
use insert::InsertSql;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::sync::Arc;
use std::time::Duration;

/// How long PostgreSQL may take over a commit before it counts as away. What it was doing may still be done: the same
/// commit again is then right.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The ledger of the store that replicas share.
pub type PgLedger = SqlLedger<PgWriter>;

/// Books in PostgreSQL.
pub struct PgWriter {
    sql: InsertSql,
    /// What was confirmed.
    history: Arc<History>,
    writer: Writer<PgConnectOptions>,
    /// For what is not booking, so that no settlement waits for it.
    beside: Writer<PgConnectOptions>,
}

impl PgLedger {
    /// The ledger in this store. Errors: [`LedgerFault::OtherDatabase`].
    pub async fn open(store: &Store) -> Result<Self, LedgerFault> {
        let Database::Postgres(opened) = store.database() else {
            return Err(LedgerFault::OtherDatabase("postgres"));
        };
        let (options, history) = &opened.options;
        let connection = || {
            let history = Arc::clone(history);
            let check: Check<PgConnection> = Box::new(move |connection| {
                let history = Arc::clone(&history);
                Box::pin(async move { Ok(history.check(connection).await?) })
            });
            Writer::checked(options.clone(), check)
        };
        let writer = PgWriter {
            sql: InsertSql::new(),
            history: Arc::clone(history),
            writer: connection(),
            beside: connection(),
        };
        Ok(Self {
            store: store.clone(),
            writer,
        })
    }
}

impl PgWriter {
    /// Does this with the connection that books, or gives up.
    async fn write<T>(
        &self,
        what: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerFault>,
    ) -> Result<T, LedgerFault> {
        in_time(self.writer.write(what)).await
    }

    /// Does this with the other connection, or gives up.
    async fn write_beside<T>(
        &self,
        what: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerFault>,
    ) -> Result<T, LedgerFault> {
        in_time(self.beside.write(what)).await
    }
}

async fn in_time<T>(doing: impl Future<Output = Result<T, LedgerFault>>) -> Result<T, LedgerFault> {
    match tokio::time::timeout(ANSWER_TIMEOUT, doing).await {
        Ok(done) => done,
        Err(elapsed) => Err(LedgerFault::Database(Box::new(elapsed))),
    }
}

#[async_trait::async_trait]
impl Write for PgWriter {
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        self.write(async |writer| self.sql.entries(writer, entries).await)
            .await
    }

    /// Somebody waits for this, so a connection that was lost at some earlier time is none of theirs. Where it was lost
    /// just now, what was booked is left out of the answer, as it would be if it were asked for again.
    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault> {
        let adjust = || self.write(async |writer| self.sql.adjustments(writer, adjustments).await);
        match adjust().await {
            Err(fault) if fault.is_lost_connection() => adjust().await,
            done => done,
        }
    }
}
