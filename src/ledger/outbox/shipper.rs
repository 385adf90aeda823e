//! From the outbox to the ledger: in order, at least once, for as long as it takes.
//!
//! There is no timer while nothing waits: each record wakes the loop. While a batch is on its way the next one gathers,
//! so batches are as large as the ledger is far. A failure that passes with time is waited out; a settlement that the
//! ledger refuses for itself is found by halving its batch, and put aside so that it holds up nobody.

use super::rows::Oldest;
use super::{LedgerFault, Outbox};
use crate::ledger::MAX_BATCH;
use farebox_domain::ledger::Settlement;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// The wait after a first failure; it doubles with each one that follows.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// The longest wait between attempts, and so about how long it takes to notice that the ledger is back.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// With so many settlements waiting, the file has grown to what is worth giving back once they are gone.
const BACKLOG: u64 = 10_000;

/// The ledger as the shipper sees it.
#[async_trait::async_trait]
pub trait Bookkeeper: Send + Sync + 'static {
    /// Books settlements, the oldest first, in one durable transaction: all of it or nothing. One whose entry is
    /// booked already is left as it is, and counts against no lease a second time. At most [`MAX_BATCH`].
    ///
    /// Errors: those that do not [pass with time](LedgerFault::passes_with_time) are about a settlement itself, which is
    /// then put aside; all others are tried again for ever. A call that never ends holds up everything behind it: bound
    /// it, by the connection's own timeouts.
    async fn book(&self, batch: &[Settlement]) -> Result<(), LedgerFault>;
}

/// Takes what is in an outbox to the ledger.
pub struct Shipper {
    outbox: Arc<Outbox>,
    bookkeeper: Arc<dyn Bookkeeper>,
    /// Held while a batch is on its way: there is one order, whoever ships.
    pace: Mutex<Pace>,
}

struct Pace {
    /// Settlements in the next batch. Smaller than [`MAX_BATCH`] while one is looked for that the ledger refuses.
    batch: usize,
    /// Attempts that failed since the last that did not.
    failures: u32,
    /// Much has waited since the file last gave pages back.
    had_backlog: bool,
}

/// What an attempt came to.
enum Step {
    /// There is, or may be, more to do.
    On,
    /// Nothing waits.
    Idle,
    /// It failed; the next attempt is due after this.
    Wait(Duration),
}

impl Shipper {
    /// Of this outbox, to this ledger. Nothing is shipped before [`Shipper::run`] or [`Shipper::drain`].
    pub fn new(outbox: Arc<Outbox>, bookkeeper: Arc<dyn Bookkeeper>) -> Self {
        Self {
            outbox,
            bookkeeper,
            pace: Mutex::new(Pace {
                batch: MAX_BATCH,
                failures: 0,
                had_backlog: false,
            }),
        }
    }

    /// Ships what is recorded until `stop`; no failure ends it. A batch that is on its way at that moment is given up
    /// and shipped again by whoever comes next, which changes nothing.
    pub async fn run(&self, stop: CancellationToken) {
        let shipping = async {
            loop {
                match self.step().await {
                    Step::On => {}
                    Step::Idle => self.outbox.arrived.notified().await,
                    Step::Wait(backoff) => tokio::time::sleep(backoff).await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = shipping => {}
        }
    }

    /// Ships until nothing waits, or until this much time has passed, and returns how many settlements are left. At a
    /// start it replays what the last process left, before requests are taken; at a shutdown it goes beside
    /// [`Shipper::run`], whether that is stopped or not.
    pub async fn drain(&self, within: Duration) -> u64 {
        let shipping = async {
            loop {
                match self.step().await {
                    Step::On => {}
                    Step::Idle => return,
                    Step::Wait(backoff) => tokio::time::sleep(backoff).await,
                }
            }
        };
        // What is left is what it is asked for.
        let _ = tokio::time::timeout(within, shipping).await;
        self.outbox.pending()
    }

    async fn step(&self) -> Step {
        let mut pace = self.pace.lock().await;
        match self.try_step(&mut pace).await {
            Ok(step) => {
                if pace.failures > 0 {
                    let (failures, pending) = (pace.failures, self.outbox.pending());
                    tracing::info!(failures, pending, "the ledger takes settlements again");
                    pace.failures = 0;
                }
                step
            }
            Err(fault) => {
                if pace.failures == 0 {
                    let cause: &(dyn std::error::Error + 'static) = &fault;
                    tracing::error!(
                        cause,
                        pending = self.outbox.pending(),
                        "the ledger takes no settlements; they are kept in the outbox and sent again"
                    );
                }
                pace.failures = pace.failures.saturating_add(1);
                Step::Wait(backoff(pace.failures))
            }
        }
    }

    async fn try_step(&self, pace: &mut Pace) -> Result<Step, LedgerFault> {
        pace.had_backlog |= self.outbox.pending() >= BACKLOG;
        let (batch, last) = match self.outbox.oldest(pace.batch).await? {
            Oldest::Batch(batch, last) => (batch, last),
            Oldest::Unreadable(number) => {
                let reason = "it cannot be read back from the outbox";
                tracing::error!(number, reason, "a settlement is put aside");
                self.outbox.refuse(number, reason).await?;
                return Ok(Step::On);
            }
            Oldest::None => {
                if std::mem::take(&mut pace.had_backlog) {
                    self.outbox.give_back().await?;
                }
                return Ok(Step::Idle);
            }
        };
        match self.bookkeeper.book(&batch).await {
            Ok(()) => {
                self.outbox.remove_through(last).await?;
                pace.batch = (pace.batch * 2).min(MAX_BATCH);
            }
            Err(fault) if fault.passes_with_time() => return Err(fault),
            Err(fault) => match batch.as_slice() {
                [settlement] => {
                    log_refusal(settlement, &fault);
                    self.outbox.refuse(last, &fault.to_string()).await?;
                }
                // One of them, and one half is free of it.
                _ => pace.batch = (batch.len() / 2).max(1),
            },
        }
        Ok(Step::On)
    }
}

/// A settlement that is not booked is money that somebody must look at: all of it is logged (it holds no content).
fn log_refusal(settlement: &Settlement, fault: &LedgerFault) {
    let cause: &(dyn std::error::Error + 'static) = fault;
    tracing::error!(
        ?settlement,
        cause,
        "the ledger refuses a settlement; it is put aside"
    );
}

/// The wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
}
