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
}

impl Admin {
    /// For this gateway.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            app,
            changing: Arc::default(),
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
        let changing = Arc::clone(&self.changing);
        let task = self.app.tasks.spawn(async move {
            let _one_at_a_time = changing.lock().await;
            change.await
        });
        task.await.map_err(AdminError::internal)?
    }
}
