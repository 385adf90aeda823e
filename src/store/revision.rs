//! What another replica changed: a number that moves with every change of accounts, keys, limits and prices, and a
//! notice when it does.

use super::database::Database;
use super::{Store, StoreFault};
use sqlx::postgres::PgListener;

/// The channel that PostgreSQL's triggers notify.
const CHANNEL: &str = "farebox_revision";

/// Waits for changes.
pub struct Changes(PgListener);

impl Store {
    /// The number of the last change; `None` where nobody but this process makes any.
    pub async fn revision(&self) -> Result<Option<i64>, StoreFault> {
        match self.database() {
            Database::Sqlite(_) => Ok(None),
            Database::Postgres(opened) => {
                let number = sqlx::query_scalar("SELECT number FROM revision")
                    .fetch_one(&opened.pool)
                    .await?;
                Ok(Some(number))
            }
        }
    }

    /// A listener for changes, on a connection that it keeps; `None` where nobody but this process makes any. What was
    /// changed before this returns is not told, so read after it.
    pub async fn changes(&self) -> Result<Option<Changes>, StoreFault> {
        match self.database() {
            Database::Sqlite(_) => Ok(None),
            Database::Postgres(opened) => {
                let mut listener = PgListener::connect_with(&opened.pool).await?;
                listener.listen(CHANNEL).await?;
                Ok(Some(Changes(listener)))
            }
        }
    }
}

impl Changes {
    /// Returns when something may have changed: it was notified, or the connection was lost and a notice with it. An
    /// error says that the database is away; the next call connects again.
    pub async fn next(&mut self) -> Result<(), StoreFault> {
        // `None` is a connection that was lost, and is there again.
        self.0.try_recv().await?;
        // Several notices are one reason to read.
        while self.0.next_buffered().is_some() {}
        Ok(())
    }
}
