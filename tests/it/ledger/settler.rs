//! The grouped commit, on a journal that does what the test says.

use super::samples::{entries, entry, id};
use farebox::clock::Clock;
use farebox::ledger::{Journal, LedgerFault, MAX_BATCH, SettleFault, Settler, SettlerObserver};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::Settlement;
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Books in memory; each commit takes a permit first, and the first `failures` of them fail.
pub(crate) struct FakeJournal {
    commits: Semaphore,
    /// A permit for each commit that began.
    begun: Semaphore,
    failures: AtomicUsize,
    batches: Mutex<Vec<Vec<RequestId>>>,
}

impl FakeJournal {
    pub(crate) fn new(commits: usize, failures: usize) -> Arc<Self> {
        Arc::new(Self {
            commits: Semaphore::new(commits),
            begun: Semaphore::new(0),
            failures: AtomicUsize::new(failures),
            batches: Mutex::default(),
        })
    }

    fn batch_lens(&self) -> Vec<usize> {
        self.batches.lock().unwrap().iter().map(Vec::len).collect()
    }

    fn booked(&self) -> Vec<RequestId> {
        self.batches.lock().unwrap().concat()
    }
}

#[async_trait::async_trait]
impl Journal for FakeJournal {
    async fn record(&self, settled: &[Settlement]) -> Result<(), LedgerFault> {
        self.begun.add_permits(1);
        self.commits.acquire().await.unwrap().forget();
        let still_failing = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok();
        if still_failing {
            return Err(LedgerFault::Database("the disk is full".into()));
        }
        let ids = settled.iter().map(|settled| settled.entry.id).collect();
        self.batches.lock().unwrap().push(ids);
        Ok(())
    }

    async fn checkpoint(&self, _open: &[Settlement]) -> Result<(), LedgerFault> {
        Ok(())
    }

    async fn recover(&self) -> Result<u64, LedgerFault> {
        Ok(0)
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<(usize, bool)>>);

impl SettlerObserver for Seen {
    fn commit_finished(&self, batch_len: usize, _elapsed: Duration, ok: bool) {
        self.0.lock().unwrap().push((batch_len, ok));
    }
}

const VERSION: PriceVersion = PriceVersion(1);
pub(crate) const MANY: usize = Semaphore::MAX_PERMITS;

#[tokio::test]
async fn what_arrives_during_a_commit_shares_the_next_one() {
    let ledger = FakeJournal::new(0, 0);
    let seen = Arc::new(Seen::default());
    let (settler, settling) = Settler::new(ledger.clone(), Clock::system(), seen.clone());
    let requests = async {
        let first = settler.settle(Settlement::unleased(entry(0, "acct_a", VERSION)));
        ledger.begun.acquire().await.unwrap().forget();
        let others: Vec<_> = entries(1..200, "acct_a", VERSION)
            .into_iter()
            .map(|entry| settler.settle(Settlement::unleased(entry)))
            .collect();
        assert_eq!(settler.queued(), 200);
        ledger.commits.add_permits(MANY);
        assert_eq!(first.await.unwrap(), Ok(()));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(()));
        }
        assert_eq!(settler.queued(), 0);
        settler.close().await;
    };
    tokio::join!(settling, requests);
    assert_eq!(ledger.batch_lens(), [1, 199]);
    assert_eq!(*seen.0.lock().unwrap(), [(1, true), (199, true)]);
}

/// Batches of so many entries, of which each comes so many turns of the scheduler after the one before it.
async fn batches_of(count: u64, turns_apart: usize) -> Vec<usize> {
    let ledger = FakeJournal::new(MANY, 0);
    let (settler, settling) = Settler::new(ledger.clone(), Clock::system(), Arc::new(()));
    // Polled in turn with the loop, by one task: a turn is a poll of both.
    let requests = async {
        let mut waiting = Vec::new();
        for entry in entries(0..count, "acct_a", VERSION) {
            waiting.push(settler.settle(Settlement::unleased(entry)));
            for _ in 0..turns_apart {
                tokio::task::yield_now().await;
            }
        }
        for receipt in waiting {
            assert_eq!(receipt.await.unwrap(), Ok(()));
        }
        settler.close().await;
    };
    tokio::join!(settling, requests);
    ledger.batch_lens()
}

#[tokio::test]
async fn a_commit_waits_for_those_who_are_a_few_turns_away_and_for_nobody_else() {
    assert_eq!(batches_of(10, 1).await, [10]);
    assert_eq!(batches_of(10, 3).await, [10]);
    assert_eq!(batches_of(10, 100).await, [1; 10]);
}

#[tokio::test]
async fn those_who_keep_coming_do_not_put_a_commit_off_for_ever() {
    // An entry a turn, of which a commit waits for 64, and one or two that came before it began to count.
    let batches = batches_of(300, 1).await;
    assert!(batches.iter().all(|len| *len <= 70), "{batches:?}");
}

#[tokio::test]
async fn a_failing_ledger_keeps_entries_and_books_them_once() {
    let ledger = FakeJournal::new(0, 3);
    let seen = Arc::new(Seen::default());
    let (settler, settling) = Settler::new(ledger.clone(), Clock::system(), seen.clone());
    let requests = async {
        let waiting: Vec<_> = entries(0..600, "acct_a", VERSION)
            .into_iter()
            .map(|entry| settler.settle(Settlement::unleased(entry)))
            .collect();
        ledger.commits.add_permits(1);
        // All are told at the first failure, those behind the batch as well, and nothing is forgotten.
        for receipt in waiting {
            assert_eq!(receipt.await.unwrap(), Err(SettleFault::Deferred));
        }
        assert_eq!(settler.queued(), 600);
        // One who comes during the outage is answered by the next attempt.
        let late = settler.settle(Settlement::unleased(entry(600, "acct_a", VERSION)));
        ledger.commits.add_permits(1);
        assert_eq!(late.await.unwrap(), Err(SettleFault::Deferred));
        ledger.commits.add_permits(MANY - 2);
        settler.close().await;
        assert_eq!(settler.queued(), 0);
    };
    tokio::join!(settling, requests);
    let expected: Vec<_> = (0..=600).map(id).collect();
    assert_eq!(ledger.booked(), expected);
    let attempts = seen.0.lock().unwrap().clone();
    assert_eq!(
        attempts,
        [(512, false), (512, false), (512, false), (512, true), (89, true)]
    );
}

#[tokio::test]
async fn closing_books_what_is_queued_and_refuses_what_comes_after() {
    let ledger = FakeJournal::new(MANY, 0);
    let (settler, settling) = Settler::new(ledger.clone(), Clock::system(), Arc::new(()));
    for entry in entries(0..2_000, "acct_a", VERSION) {
        settler.settle_unwaited(Settlement::unleased(entry));
    }
    tokio::join!(settling, settler.close());
    assert_eq!(ledger.booked().len(), 2_000);
    assert!(ledger.batch_lens().iter().all(|len| *len <= MAX_BATCH));

    let refused = settler.settle(Settlement::unleased(entry(2_000, "acct_a", VERSION)));
    assert_eq!(refused.await.unwrap(), Err(SettleFault::Closed));
    settler.close().await;
    assert_eq!(settler.queued(), 0);
}

#[tokio::test]
async fn the_loop_ends_with_its_last_handle_and_nothing_left() {
    let ledger = FakeJournal::new(MANY, 1);
    let (settler, settling) = Settler::new(ledger.clone(), Clock::system(), Arc::new(()));
    settler
        .clone()
        .settle_unwaited(Settlement::unleased(entry(0, "acct_a", VERSION)));
    drop(settler);
    settling.await;
    assert_eq!(ledger.booked(), [id(0)]);
}

#[tokio::test]
async fn an_entry_that_can_never_be_booked_holds_up_nobody() {
    let ledger = FakeJournal::new(MANY, 0);
    let (settler, settling) = Settler::new(ledger.clone(), Clock::system(), Arc::new(()));
    let requests = async {
        let mut impossible = entry(0, "acct_a", VERSION);
        impossible.cost = Picodollars::new(i128::MAX);
        let refused = settler.settle(Settlement::unleased(impossible));
        let booked = settler.settle(Settlement::unleased(entry(1, "acct_a", VERSION)));
        assert_eq!(refused.await.unwrap(), Err(SettleFault::Unbookable));
        assert_eq!(booked.await.unwrap(), Ok(()));
        settler.close().await;
    };
    tokio::join!(settling, requests);
    assert_eq!(ledger.booked(), [id(1)]);
}
