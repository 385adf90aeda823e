//! The one connection that books.

use super::super::LedgerFault;
use futures_util::future::BoxFuture;
use sqlx::ConnectOptions;
use tokio::sync::Mutex;

/// Looks at a new connection before it is used.
pub(in crate::ledger) type Check<C> =
    Box<dyn for<'c> Fn(&'c mut C) -> BoxFuture<'c, Result<(), LedgerFault>> + Send + Sync>;

/// A connection that writes, for one at a time.
pub(in crate::ledger) struct Writer<O: ConnectOptions>
where
    O::Connection: Sized,
{
    options: O,
    check: Option<Check<O::Connection>>,
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
            check: None,
            connection: Mutex::new(None),
        }
    }

    /// The same, of connections that must hold.
    pub(in crate::ledger) fn checked(options: O, check: Check<O::Connection>) -> Self {
        Self {
            check: Some(check),
            ..Self::new(options)
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
            None => self.connect().await?,
        };
        let done = what(&mut connection).await?;
        *slot = Some(connection);
        Ok(done)
    }

    async fn connect(&self) -> Result<O::Connection, LedgerFault> {
        let mut connection = self.options.connect().await?;
        if let Some(check) = &self.check {
            check(&mut connection).await?;
        }
        Ok(connection)
    }
}
