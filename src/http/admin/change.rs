//! Changes: one at a time, the store before the directory, each to its end, and none that is answered without a line in
//! the audit log.

use crate::app::App;
use crate::http::admin::auth::Who;
use crate::http::admin::error::AdminError;
use crate::store::NewAudit;
use serde::Serialize;
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
        self.app.registry().limits().concurrent_requests
    }

    /// Makes a change. It goes to its end even if the administrator's connection does not: a key that is revoked
    /// in the store must not live on in the directory.
    pub async fn change<T, F>(&self, who: &Who, action: &'static str, change: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Future<Output = Result<Changed<T>, AdminError>> + Send + 'static,
    {
        self.to_its_end(&self.changing, who, action, change).await
    }

    /// Books money, one booking at a time on all replicas, and to its end.
    pub async fn book<T, F>(&self, who: &Who, action: &'static str, booking: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Future<Output = Result<Changed<T>, AdminError>> + Send + 'static,
    {
        let ledger = Arc::clone(&self.app.ledger);
        let in_turn = async move {
            let _turn = ledger.turn_to_correct().await.map_err(AdminError::internal)?;
            booking.await
        };
        self.to_its_end(&self.booking, who, action, in_turn).await
    }

    async fn to_its_end<T, F>(
        &self,
        one_at_a_time: &Arc<Mutex<()>>,
        who: &Who,
        action: &'static str,
        work: F,
    ) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: Future<Output = Result<Changed<T>, AdminError>> + Send + 'static,
    {
        let one_at_a_time = Arc::clone(one_at_a_time);
        let (app, who) = (Arc::clone(&self.app), who.clone());
        let task = self.app.tasks.spawn(async move {
            let _one_at_a_time = one_at_a_time.lock().await;
            let Changed { value, change } = work.await?;
            if let Some(change) = change {
                note(&app, who, action, change).await?;
            }
            Ok(value)
        });
        task.await.map_err(AdminError::internal)?
    }
}

/// Notes it while nobody else changes anything, so that the log's order is the changes'. What was changed stays changed
/// where the log cannot be written: whoever asked is told of a fault, and asks again.
async fn note(app: &App, who: Who, action: &'static str, change: Change) -> Result<(), AdminError> {
    let row = NewAudit {
        at_ms: app.clock.unix_ms(),
        who: who.staff.id,
        who_name: who.staff.name.as_ref().into(),
        action,
        target: change.target,
        before: change.before,
        after: change.after,
        request_id: who.request_id,
    };
    app.store.add_audit(&row).await.map_err(AdminError::internal)
}

/// What came of a change, and what the audit log is to have of it.
pub struct Changed<T> {
    value: T,
    change: Option<Change>,
}

/// What was changed. `before` and `after` are views of the admin API, which have no secret and no hash in them.
struct Change {
    target: String,
    before: Option<String>,
    after: Option<String>,
}

impl<T> Changed<T> {
    /// Something was changed.
    pub fn of(target: impl Into<String>, value: T) -> Self {
        let change = Change {
            target: target.into(),
            before: None,
            after: None,
        };
        Self {
            value,
            change: Some(change),
        }
    }

    /// All was so already: there is nothing to note.
    pub fn nothing(value: T) -> Self {
        Self { value, change: None }
    }

    /// What it was before.
    pub fn before(mut self, before: &impl Serialize) -> Result<Self, AdminError> {
        if let Some(change) = &mut self.change {
            change.before = Some(serde_json::to_string(before).map_err(AdminError::internal)?);
        }
        Ok(self)
    }

    /// What it is now.
    pub fn after(mut self, after: &impl Serialize) -> Result<Self, AdminError> {
        if let Some(change) = &mut self.change {
            change.after = Some(serde_json::to_string(after).map_err(AdminError::internal)?);
        }
        Ok(self)
    }
}
