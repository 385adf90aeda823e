//! Tasks that are not requests: one way to spawn them. `drain` ends them.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks that are not requests.
#[derive(Default)]
pub(super) struct Background {
    /// Ends `tasks`, after the last request.
    pub(super) stop: CancellationToken,
    /// Probes, whatever looks and tells, and the settling of what was dropped.
    pub(super) tasks: TaskTracker,
    /// The settler's loop.
    pub(super) settling: TaskTracker,
    /// Ends the writing of request lines, after the last of them.
    pub(super) stop_log: CancellationToken,
    pub(super) log: TaskTracker,
}

impl Background {
    /// Spawns what ends when the token that it is given is cancelled.
    pub(super) fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.stop.clone()));
    }
}
