//! Changes: one at a time, the store before the directory, and each to its end.

use crate::app::App;
use crate::http::admin::error::AdminError;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::Mutex;

/// What every handler is given.
#[derive(Clone)]
pub struct Admin {
    /// The gateway.
    pub app: Arc<App>,
    /// Held by the change that is being made. Two at once could reach the store in one order and the directory
    /// in the other, and a restart would then bring back what was overruled.
    changing: Arc<Mutex<()>>,
    /// Held by whoever books what depends on what was booked before: refunds and corrections. It may take as long as the
    /// ledger is long, and a key is revoked meanwhile.
    booking: Arc<Mutex<()>>,
}

impl Admin {
    /// For this gateway. Whoever makes changes in it makes them one at a time, through whatever listener.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            changing: Arc::clone(&app.changing),
            app,
            booking: Arc::default(),
        }
    }

    /// What an account may have in flight where it has no number of its own.
    pub fn default_limit(&self) -> u32 {
        self.app.settings.catalog.limits().concurrent_requests
    }

    /// Makes a change. It goes to its end even if the administrator's connection does not: a key that is revoked
    /// in the store must not live on in the directory.
    pub async fn change<T, F>(&self, change: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AdminError>> + Send + 'static,
    {
        self.to_its_end(&self.changing, change).await
    }

    /// Books money, one booking at a time on all replicas, and to its end.
    pub async fn book<T, F>(&self, booking: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AdminError>> + Send + 'static,
    {
        let ledger = Arc::clone(&self.app.ledger);
        let in_turn = async move {
            let _turn = ledger.turn_to_correct().await.map_err(AdminError::internal)?;
            booking.await
        };
        self.to_its_end(&self.booking, in_turn).await
    }

    async fn to_its_end<T, F>(&self, one_at_a_time: &Arc<Mutex<()>>, work: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AdminError>> + Send + 'static,
    {
        let one_at_a_time = Arc::clone(one_at_a_time);
        let task = self.app.tasks.spawn(async move {
            let _one_at_a_time = one_at_a_time.lock().await;
            work.await
        });
        task.await.map_err(AdminError::internal)?
    }
}
