//! The grouped commit: requests queue their entries, one loop books all that is queued in one transaction.
//!
//! There is no timer. While a commit is on its way to the disk the next batch gathers, so the group is as large as
//! the disk is slow, and a lone request waits for nobody but a few turns of the scheduler.
//!
//! An entry that is queued stays queued until it is booked. Where the ledger fails, those who wait are told so at
//! the first failure (their client must not be told that its response is complete), and the loop tries again, for
//! ever, with backoff.

use super::{Journal, LedgerFault, MAX_BATCH, Numbers};
use crate::clock::Clock;
use farebox_domain::ledger::{Entry, Settlement};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The wait after a first failure; it doubles with each one that follows.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);

/// The longest wait between attempts, and so about the longest that a waiter who comes during an outage is left
/// without an answer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// Why a settlement is not known to be durable. A client that waits for it must not be told that it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleFault {
    /// The ledger failed. The entry stays queued and is booked when the ledger is back, if farebox lives until then.
    #[error("the ledger is away; the entry is kept and will be booked")]
    Deferred,
    /// The entry can never be booked: one of its numbers does not fit. It was logged in full and not queued.
    #[error("the entry cannot be booked")]
    Unbookable,
    /// The settler has ended. The entry was logged in full and not queued.
    #[error("the settler has ended")]
    Closed,
}

/// Told of every commit, so that telemetry can count it. Called in the loop: it must not block.
pub trait SettlerObserver: Send + Sync + 'static {
    /// A commit of `batch_len` entries (1 to [`MAX_BATCH`]) took `elapsed`, and was durable if `ok`.
    fn commit_finished(&self, batch_len: usize, elapsed: Duration, ok: bool);
}

/// Nobody is told.
impl SettlerObserver for () {
    fn commit_finished(&self, _batch_len: usize, _elapsed: Duration, _ok: bool) {}
}

/// The queue's entrance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Settler {
    queue: mpsc::UnboundedSender<Message>,
    queued: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
}

type Waiter = oneshot::Sender<Result<(), SettleFault>>;

enum Message {
    Settle(Box<Settlement>, Option<Waiter>),
    Checkpoint(Vec<Settlement>),
    Close(oneshot::Sender<()>),
}

impl Settler {
    /// A settler of this journal, and its loop, which the caller runs as a task and waits for at shutdown. The loop
    /// ends after [`Settler::close`], or when every handle is gone, with nothing left to book.
    pub fn new(
        journal: Arc<dyn Journal>,
        clock: Clock,
        observer: Arc<dyn SettlerObserver>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, incoming) = mpsc::unbounded_channel();
        let settler = Self {
            queue,
            queued: Arc::new(AtomicUsize::new(0)),
            failing: Arc::new(AtomicBool::new(false)),
        };
        let settling = Settling {
            journal,
            clock,
            observer,
            incoming,
            queued: Arc::clone(&settler.queued),
            failing: Arc::clone(&settler.failing),
            checkpoints: Vec::new(),
            arrived: Vec::with_capacity(MAX_BATCH),
            entries: VecDeque::with_capacity(MAX_BATCH),
            waiters: VecDeque::with_capacity(MAX_BATCH),
            closers: Vec::new(),
            failures: 0,
        };
        (settler, settling.run())
    }

    /// Queues an entry. The receiver resolves once it is durable, or with the reason why that is not known; if it
    /// resolves to a `RecvError`, the loop was stopped with the entry in it, and it is not known either.
    pub fn settle(&self, settled: Settlement) -> oneshot::Receiver<Result<(), SettleFault>> {
        let (waiter, receipt) = oneshot::channel();
        self.queue(settled, Some(waiter));
        receipt
    }

    /// Queues an entry that nobody waits for: the client is gone.
    pub fn settle_unwaited(&self, settled: Settlement) {
        self.queue(settled, None);
    }

    /// Keeps what these open requests would be booked as if farebox ended now. Nobody waits for it, and a failure is
    /// followed by the next checkpoint.
    pub fn checkpoint(&self, open: Vec<Settlement>) {
        // After the loop's end there is nothing that could be lost.
        let _ = self.queue.send(Message::Checkpoint(open));
    }

    /// Whether the last attempt to record failed, and entries wait for the next one. New requests are then refused.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Ends the loop once everything that is queued is booked; what comes after is refused. While the ledger fails
    /// this does not return: bound it by the drain's deadline, and then report [`Settler::queued`].
    pub async fn close(&self) {
        let (closed, ended) = oneshot::channel();
        if self.queue.send(Message::Close(closed)).is_ok() {
            // An error says that the loop is gone, which is what was wanted.
            let _ = ended.await;
        }
    }

    /// Entries that are not booked yet. It has no bound of its own: while the ledger is away no new requests are let in
    /// ([`Settler::is_failing`]), so it grows by those in flight at most.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn queue(&self, settled: Settlement, waiter: Option<Waiter>) {
        if let Err(fault) = Numbers::of(&settled.entry) {
            refuse(&settled.entry, waiter, SettleFault::Unbookable, &fault);
            return;
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        let sent = self.queue.send(Message::Settle(Box::new(settled), waiter));
        if let Err(mpsc::error::SendError(Message::Settle(unsent, waiting))) = sent {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            refuse(&unsent.entry, waiting, SettleFault::Closed, &SettleFault::Closed);
        }
    }
}

/// An entry that will not be booked is money that somebody must look at: all of it is logged (it holds no content).
fn refuse(
    entry: &Entry,
    waiter: Option<Waiter>,
    fault: SettleFault,
    cause: &(dyn std::error::Error + 'static),
) {
    tracing::error!(?entry, cause, "a ledger entry is lost");
    answer(waiter, Err(fault));
}

fn answer(waiter: Option<Waiter>, result: Result<(), SettleFault>) {
    if let Some(waiting) = waiter {
        // Whoever waited may have left.
        let _ = waiting.send(result);
    }
}

// === the loop ===

/// Turns of the scheduler that a commit waits at the most.
const GATHER_TURNS: usize = 64;

/// Turns in a row that bring nobody, after which it waits no more (docs/adr/0008). The answers of the last commit are on their way to
/// clients in the first of them; who settles next has a request and an engine's answer between, a turn each.
const QUIET_TURNS: usize = 4;

struct Settling {
    journal: Arc<dyn Journal>,
    clock: Clock,
    observer: Arc<dyn SettlerObserver>,
    incoming: mpsc::UnboundedReceiver<Message>,
    /// What `Settler::queued` reads.
    queued: Arc<AtomicUsize>,
    /// What `Settler::is_failing` reads.
    failing: Arc<AtomicBool>,
    /// Open requests, to be kept with the next commit.
    checkpoints: Vec<Settlement>,
    /// Scratch: kept for its allocation.
    arrived: Vec<Message>,
    /// Not booked, the oldest first.
    entries: VecDeque<Settlement>,
    /// One for each of `entries`; `None` if nobody waits, or no longer.
    waiters: VecDeque<Option<Waiter>>,
    closers: Vec<oneshot::Sender<()>>,
    /// Commits that failed since the last that did not.
    failures: u32,
}

impl Settling {
    /// The loop, with the journal's upkeep beside it.
    async fn run(self) {
        let journal = Arc::clone(&self.journal);
        tokio::select! {
            biased;
            () = self.book() => {}
            () = journal.upkeep() => {}
        }
    }

    async fn book(mut self) {
        loop {
            if self.entries.is_empty() {
                // Zero is the only sure end: closed, and nothing left inside.
                let arrived = self.incoming.recv_many(&mut self.arrived, MAX_BATCH).await;
                if arrived == 0 {
                    break;
                }
            }
            self.take_in();
            self.gather().await;
            if !self.entries.is_empty() && !self.commit_once().await {
                tokio::time::sleep(backoff(self.failures)).await;
            }
            self.keep_checkpoints().await;
        }
        for closer in self.closers {
            let _ = closer.send(());
        }
    }

    /// Moves what has arrived into the queue.
    fn take_in(&mut self) {
        while let Ok(message) = self.incoming.try_recv() {
            self.arrived.push(message);
        }
        for message in self.arrived.drain(..) {
            match message {
                Message::Settle(entry, waiter) => {
                    self.entries.push_back(*entry);
                    self.waiters.push_back(waiter);
                }
                Message::Checkpoint(open) => self.checkpoints = open,
                Message::Close(closed) => {
                    self.incoming.close();
                    self.closers.push(closed);
                }
            }
        }
    }

    /// Lets those that are about to settle join the batch: a commit costs about the same for one entry as for many. It ends
    /// when a few turns of the scheduler bring nobody, so it waits for no clock and never for long.
    async fn gather(&mut self) {
        let mut quiet_turns = 0;
        for _ in 0..GATHER_TURNS {
            if quiet_turns == QUIET_TURNS || self.entries.len() >= MAX_BATCH {
                return;
            }
            let before = self.entries.len();
            tokio::task::yield_now().await;
            self.take_in();
            let nobody_came = self.entries.len() == before;
            quiet_turns = if nobody_came { quiet_turns + 1 } else { 0 };
        }
    }

    /// Keeps the open requests of the last checkpoint, behind what was settled since: one that is settled by now stays
    /// settled.
    async fn keep_checkpoints(&mut self) {
        let open = std::mem::take(&mut self.checkpoints);
        for batch in open.chunks(MAX_BATCH) {
            if let Err(fault) = self.journal.checkpoint(batch).await {
                let cause: &(dyn std::error::Error + 'static) = &fault;
                tracing::warn!(cause, "open requests could not be checkpointed");
                return;
            }
        }
    }

    /// Commits the oldest entries. True if they are durable.
    async fn commit_once(&mut self) -> bool {
        let oldest = self.entries.as_slices().0;
        let batch = &oldest[..oldest.len().min(MAX_BATCH)];
        let batch_len = batch.len();
        let begun = self.clock.now();
        let result = self.journal.record(batch).await;
        let elapsed = self.clock.now().duration_since(begun);
        self.observer.commit_finished(batch_len, elapsed, result.is_ok());
        match &result {
            Ok(()) => self.booked(batch_len),
            Err(fault) => self.failed(fault),
        }
        result.is_ok()
    }

    fn booked(&mut self, batch_len: usize) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "the ledger books again");
            self.failures = 0;
            self.failing.store(false, Ordering::Relaxed);
        }
        self.queued.fetch_sub(batch_len, Ordering::Relaxed);
        self.entries.drain(..batch_len);
        for waiter in self.waiters.drain(..batch_len) {
            answer(waiter, Ok(()));
        }
    }

    /// Everybody who waits is told, those behind the batch too: what they wait for is not near.
    fn failed(&mut self, fault: &LedgerFault) {
        self.take_in();
        for waiter in &mut self.waiters {
            answer(waiter.take(), Err(SettleFault::Deferred));
        }
        if self.failures == 0 {
            let cause: &(dyn std::error::Error + 'static) = fault;
            tracing::error!(
                cause,
                queued = self.entries.len(),
                "the ledger does not book; entries are kept and tried again"
            );
        }
        self.failures = self.failures.saturating_add(1);
        self.failing.store(true, Ordering::Relaxed);
    }
}

/// The wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
}
