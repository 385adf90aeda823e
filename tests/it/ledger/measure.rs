//! How fast entries are booked and what one costs in CPU time. Run on a quiet machine:
//! `cargo test --release --test it measure -- --ignored --nocapture`
#![expect(clippy::print_stderr, reason = "the numbers are what this is for")]

use super::samples::{entries, entry, id, model, price};
use super::settler::{FakeJournal, MANY};
use farebox::clock::Clock;
use farebox::ledger::{Journal, Ledger, Settler, SettlerObserver, SqliteLedger};
use farebox::store::{PriceSource, Store};
use farebox_domain::ledger::Settlement;
use farebox_domain::price::PriceVersion;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Default)]
struct Commits(AtomicU64);

impl SettlerObserver for Commits {
    fn commit_finished(&self, _batch_len: usize, _elapsed: Duration, _ok: bool) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// This process's CPU time in microseconds, to the 10 ms that Linux counts in.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = |field: usize| -> u64 { after_name.split_whitespace().nth(field).unwrap().parse().unwrap() };
    (ticks(11) + ticks(12)) * 10_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_settling() {
    for clients in [1, 8, 32, 128, 512] {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let version = store
            .add_price(&model(), &price(), Some(1), PriceSource::Catalog, 1)
            .await
            .unwrap();
        settle_in_a_loop(
            "sqlite",
            Arc::new(SqliteLedger::open(&store).await.unwrap()),
            clients,
            version,
        )
        .await;
    }
    // What the clients of this measurement cost by themselves, to be subtracted.
    settle_in_a_loop("nothing", FakeJournal::new(MANY, 0), 32, PriceVersion(1)).await;
}

/// `clients` tasks that settle one entry after another, without a pause.
async fn settle_in_a_loop(name: &str, ledger: Arc<dyn Journal>, clients: u64, version: PriceVersion) {
    const SECONDS: u64 = 5;
    let commits = Arc::new(Commits::default());
    let clock = Clock::system();
    let (settler, settling) = Settler::new(ledger, clock.clone(), commits.clone());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(settling);
    let (begun, cpu_before) = (clock.now(), cpu_us());
    let numbers = Arc::new(AtomicU64::new(0));
    let mut requests = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (settler, clock, numbers) = (settler.clone(), clock.clone(), numbers.clone());
        let mut sample = entry(0, &format!("acct_{:016x}", client % 20), version);
        requests.spawn(async move {
            while clock.now().duration_since(begun) < Duration::from_secs(SECONDS) {
                sample.id = id(numbers.fetch_add(1, Ordering::Relaxed));
                settler
                    .settle(Settlement::unleased(sample.clone()))
                    .await
                    .unwrap()
                    .unwrap();
            }
        });
    }
    requests.join_all().await;
    let booked = numbers.load(Ordering::Relaxed);
    let committed = commits.0.load(Ordering::Relaxed);
    let cpu_ns = (cpu_us() - cpu_before) * 1_000;
    settler.close().await;
    eprintln!(
        "{name}, {clients:>3} clients: {:>6} commits/s {:>6} entries/s, {:>3} a commit, {:>6} ns CPU an entry",
        committed / SECONDS,
        booked / SECONDS,
        booked / committed,
        cpu_ns / booked,
    );
}

/// The commit alone, by batch size: no queue, no tasks of clients.
#[tokio::test]
#[ignore = "a measurement"]
async fn measure_commit() {
    for size in [1, 8, 16, 32, 64, 128, 512] {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let version = store
            .add_price(&model(), &price(), Some(1), PriceSource::Catalog, 1)
            .await
            .unwrap();
        let ledger = SqliteLedger::open(&store).await.unwrap();
        let total = (size * 1_000).clamp(5_000, 100_000);
        let batches: Vec<_> = (0..total / size)
            .map(|batch| entries(batch * size..(batch + 1) * size, "acct_0123456789abcdef", version))
            .collect();
        let clock = Clock::system();
        let (begun, cpu_before) = (clock.now(), cpu_us());
        for batch in &batches {
            ledger.commit(batch).await.unwrap();
        }
        let elapsed = clock.now().duration_since(begun).as_micros();
        eprintln!(
            "batches of {size:>3}: {:>5} us a commit, {:>6} ns CPU an entry",
            elapsed / u128::from(total / size),
            (cpu_us() - cpu_before) * 1_000 / total,
        );
    }
}
