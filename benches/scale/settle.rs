//! Durable settlements: the gateway's own settler over its own embedded ledger, on this disk, without a gateway.

use crate::disk::synced_writes;
use crate::gateway::FIRST_MODEL;
use crate::options::Options;
use farebox::clock::Clock;
use farebox::ledger::{Settler, SettlerObserver, SqliteLedger};
use farebox::store::{PriceSource, Store};
use farebox_bench_support::Outcome;
use farebox_bench_support::cpu::{CpuReading, microseconds_of_threads};
use farebox_bench_support::reading::quantile;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Endpoint, Entry, EntryState, Settlement, Timings};
use farebox_domain::price::{Price, PriceVersion, TokenPrice};
use farebox_domain::tokens::{Usage, UsageSource};
use farebox_domain::units::{ServiceTier, Units};
use parking_lot::Mutex;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Who waits: a closed loop of so many, each of whom settles the next when the last is durable.
const WAITERS: [u64; 5] = [32, 128, 512, 1_024, 4_096];
/// Before it is measured: connections, compiled statements.
const SETTLING: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);
/// Bare writes before and after each, half each.
const BARE_WRITES: u64 = 600;
/// Entries are of so many keys, ten an account.
const KEYS: u64 = 1_000;
/// What sqlx calls the thread of a SQLite connection, as far as the kernel keeps it.
const SQLITE_THREAD: &str = "sqlx-sqlite";
/// The aim: so many a second, and the 99th percentile of the wait at most two fsyncs.
pub const AIM_A_SECOND: f64 = 20_000.0;

/// What a number of waiters came to.
#[derive(Serialize)]
pub struct Settled {
    /// How many wait at once.
    pub waiters: u64,
    /// Durable settlements a second.
    pub a_second: f64,
    /// From a settlement to the word that it is durable, in milliseconds.
    pub wait_p50_ms: f64,
    /// Likewise.
    pub wait_p99_ms: f64,
    /// Commits a second.
    pub commits_a_second: f64,
    /// Settlements in one.
    pub batch: f64,
    /// What a commit took, in milliseconds.
    pub commit_p50_ms: f64,
    /// Likewise.
    pub commit_p99_ms: f64,
    /// CPU microseconds of SQLite's thread a settlement; its fsyncs are not in it but for what the kernel does.
    pub sqlite_us: f64,
    /// CPU microseconds of all else a settlement: the waiters, the settler, the making of rows.
    pub rest_us: f64,
    /// A bare 4 KiB write and fdatasync just before and after, in milliseconds.
    pub fsync_p50_ms: f64,
    /// Likewise.
    pub fsync_p99_ms: f64,
}

impl Settled {
    /// Whether the rate of the aim is reached.
    pub fn is_fast(&self) -> bool {
        self.a_second >= AIM_A_SECOND
    }

    /// Whether the wait's 99th percentile is within two of the bare write's.
    pub fn is_prompt(&self) -> bool {
        self.wait_p99_ms <= 2.0 * self.fsync_p99_ms
    }
}

/// Runs each number of waiters, each on a ledger of its own in `folder`, on all cores.
pub fn run(options: &Options, folder: &Path) -> Outcome<Vec<Settled>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut all = Vec::new();
    for waiters in options.sizes(&WAITERS, 512) {
        eprintln!("settlements: {waiters} waiters");
        let folder = folder.join(format!("settle-{waiters}"));
        std::fs::create_dir_all(&folder)?;
        let mut bare = synced_writes(&folder, BARE_WRITES / 2)?;
        let mut settled = runtime.block_on(settle(waiters, options.window(WINDOW), &folder))?;
        bare.extend(synced_writes(&folder, BARE_WRITES / 2)?);
        bare.sort_unstable();
        (settled.fsync_p50_ms, settled.fsync_p99_ms) = (millis(&bare, 50), millis(&bare, 99));
        all.push(settled);
    }
    Ok(all)
}

/// What the settler says of its commits.
#[derive(Default)]
struct Commits {
    entries: AtomicU64,
    took: Mutex<Vec<Duration>>,
    failed: AtomicU64,
}

impl SettlerObserver for Commits {
    fn commit_finished(&self, batch_len: usize, elapsed: Duration, ok: bool) {
        self.took.lock().push(elapsed);
        let entries = u64::try_from(batch_len).unwrap_or(u64::MAX);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!ok), Ordering::Relaxed);
    }
}

async fn settle(waiters: u64, window: Duration, folder: &Path) -> Outcome<Settled> {
    let store = Store::open(folder).await?;
    let prices = PriceSource::Catalog;
    let version = store
        .add_price(&FIRST_MODEL.into(), &price(), Some(1), prices, 1)
        .await?;
    let ledger = Arc::new(SqliteLedger::open(&store).await?);
    let (clock, commits) = (Clock::system(), Arc::new(Commits::default()));
    let (settler, settling) = Settler::new(ledger, clock.clone(), commits.clone());
    let mut booking = JoinSet::new();
    booking.spawn(settling);
    let begun = Instant::now();
    let (counts_from, ends) = (begun + SETTLING, begun + SETTLING + window);
    let numbers = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..waiters {
        let (settler, numbers, clock) = (settler.clone(), numbers.clone(), clock.clone());
        clients.spawn(async move {
            let mut waits = Vec::new();
            loop {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let settlement = Settlement::unleased(entry(number, clock.unix_ms(), version)?);
                let handed_in = Instant::now();
                if handed_in >= ends {
                    return Outcome::Ok(waits);
                }
                settler.settle(settlement).await??;
                if handed_in >= counts_from {
                    waits.push(handed_in.elapsed());
                }
            }
        });
    }
    tokio::time::sleep_until(counts_from.into()).await;
    let before = Mark::take(&commits)?;
    tokio::time::sleep_until(ends.into()).await;
    let after = Mark::take(&commits)?;
    let mut waits = Vec::new();
    while let Some(ended) = clients.join_next().await {
        waits.extend(ended??);
    }
    settler.close().await;
    waits.sort_unstable();
    let mut took = commits.took.lock().clone();
    took.drain(..before.commits);
    took.truncate(after.commits - before.commits);
    took.sort_unstable();
    if commits.failed.load(Ordering::Relaxed) > 0 {
        return Err("a commit failed".into());
    }
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let entries = (after.entries - before.entries) as f64;
    let (sqlite_us, all_us) = (
        after.sqlite_us - before.sqlite_us,
        after.cpu.microseconds_since(&before.cpu),
    );
    Ok(Settled {
        waiters,
        a_second: entries / seconds,
        wait_p50_ms: millis(&waits, 50),
        wait_p99_ms: millis(&waits, 99),
        commits_a_second: took.len() as f64 / seconds,
        batch: entries / took.len() as f64,
        commit_p50_ms: millis(&took, 50),
        commit_p99_ms: millis(&took, 99),
        sqlite_us: sqlite_us / entries,
        rest_us: (all_us - sqlite_us) / entries,
        fsync_p50_ms: 0.0,
        fsync_p99_ms: 0.0,
    })
}

/// A moment of it.
struct Mark {
    at: Instant,
    entries: u64,
    commits: usize,
    cpu: CpuReading,
    sqlite_us: f64,
}

impl Mark {
    fn take(commits: &Commits) -> Outcome<Self> {
        let this = std::process::id();
        Ok(Self {
            at: Instant::now(),
            entries: commits.entries.load(Ordering::Relaxed),
            commits: commits.took.lock().len(),
            cpu: CpuReading::of(this)?,
            sqlite_us: microseconds_of_threads(this, SQLITE_THREAD)?,
        })
    }
}

/// Of sorted durations; zero of none.
fn millis(sorted: &[Duration], percent: usize) -> f64 {
    quantile(sorted, percent).unwrap_or_default() / 1e3
}

fn price() -> Price {
    Price::of_tokens(
        TokenPrice::from_picodollars(100_000),
        Some(TokenPrice::from_picodollars(20_000)),
        TokenPrice::from_picodollars(320_000),
    )
}

/// As the gateway books a chat, with an id as it makes them: by time, and no two alike.
fn entry(number: u64, now_ms: u64, price_version: PriceVersion) -> Outcome<Entry> {
    let usage = Usage::new(187, 0, 32);
    let mut id = *RequestId::lowest_at_ms(now_ms).as_bytes();
    // Fibonacci hashing: of one millisecond the order is any.
    id[8..].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    let key = number.wrapping_mul(7_919) % KEYS;
    let cost = price().charge(&usage, &Units::default(), ServiceTier::Default)?;
    Ok(Entry {
        id: RequestId::from_bytes(id),
        client_request_id: None,
        account: format!("acct_{:016x}", key / 10).into(),
        key: format!("key_{key:016x}").into(),
        model: FIRST_MODEL.into(),
        engine: Some("engine-000000".into()),
        endpoint: Endpoint::ChatCompletions,
        state: EntryState::Completed,
        usage,
        units: Units::default(),
        service_tier: ServiceTier::Default,
        usage_source: UsageSource::Engine,
        price_version,
        cost,
        admitted_at_ms: now_ms,
        timings: Timings {
            queue_us: 12,
            ttft_us: None,
            total_us: 900_000,
        },
    })
}
