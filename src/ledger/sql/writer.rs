//! The one connection that books.

use super::super::LedgerFault;
use sqlx::ConnectOptions;
use tokio::sync::Mutex;

/// A connection that writes, for one at a time.
pub(in crate::ledger) struct Writer<O: ConnectOptions>
where
    O::Connection: Sized,
{
    options: O,
    /// `None` before the first write, and after one that did not end well: the next one opens another.
    connection: Mutex<Option<O::Connection>>,
}

impl<O: ConnectOptions> Writer<O>
where
    O::Connection: Sized,
{
    /// A connection that is made when it is first needed.
    pub(in crate::ledger) fn new(options: O) -> Self {
        Self {
            options,
            connection: Mutex::new(None),
        }
    }

    /// Does this with the connection.
    pub(in crate::ledger) async fn write<T>(
        &self,
        what: impl AsyncFnOnce(&mut O::Connection) -> Result<T, LedgerFault>,
    ) -> Result<T, LedgerFault> {
        let mut slot = self.connection.lock().await;
        // Taken, not borrowed: if this call ends early, by an error or because its future is dropped, its
        // connection is not used again. What it was about to do is then done or undone by the database.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        let done = what(&mut connection).await?;
        *slot = Some(connection);
        Ok(done)
    }
}
