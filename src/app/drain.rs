//! Serving until the signal to stop, and what is owed after it.

use super::App;
use crate::http;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a shutdown waits for a ledger that fails.
pub(super) const LEDGER_DEADLINE: Duration = Duration::from_secs(60);
/// How long a shutdown waits for what no request waits for.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(15);

impl App {
    /// Serves until `stop`, then drains: requests in flight go on until the drain deadline, are ended with an
    /// error event after it, and everything that is owed to the ledger is written before this returns.
    pub async fn serve(
        self: &Arc<Self>,
        public: TcpListener,
        admin: TcpListener,
        stop: impl Future<Output = ()>,
    ) {
        let settings = &self.settings.server;
        let listen = |listener, front, most| {
            let (settings, tasks, draining) = (*settings, self.tasks.clone(), self.draining.clone());
            let listener = http::listener::Listener { listener, most };
            self.tasks
                .spawn(listener.listen(front, settings, tasks, draining));
        };
        listen(public, http::front::Front::public(self), self.connections);
        listen(admin, http::front::Front::admin(self), usize::MAX);
        stop.await;
        tracing::info!(in_flight = self.pipeline.in_flight.len(), "draining");
        self.draining.cancel();
        self.tasks.close();
        if tokio::time::timeout(settings.drain_deadline, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                in_flight = self.pipeline.in_flight.len(),
                "drain deadline: streams are ended"
            );
            self.pipeline.in_flight.cut_all();
            // Each needs one commit and one write; a client that does not read is not waited for.
            let _ = tokio::time::timeout(settings.write_timeout, self.tasks.wait()).await;
        }
        self.stop_background().await;
    }

    /// Ends the background tasks, and writes everything that is owed to the ledger: what was dropped unsettled is
    /// settled first, and the settler closes after it.
    pub async fn stop_background(&self) {
        self.background.stop.cancel();
        self.background.tasks.close();
        // What was dropped is settled at once; who reads or writes the shared database may wait for one that does not answer.
        if tokio::time::timeout(BACKGROUND_DEADLINE, self.background.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("background tasks still wait for the database; they are left behind");
        }
        if tokio::time::timeout(LEDGER_DEADLINE, self.pipeline.settler.close())
            .await
            .is_err()
        {
            let entries = self.pipeline.settler.queued();
            tracing::error!(
                entries,
                "the ledger did not come back before the shutdown: entries are lost"
            );
        } else {
            self.background.settling.close();
            self.background.settling.wait().await;
        }
        if let Some(replica) = &self.replica {
            replica.stop().await;
        }
        self.sampler.sample().await;
        self.background.stop_log.cancel();
        self.background.log.close();
        self.background.log.wait().await;
    }
}
