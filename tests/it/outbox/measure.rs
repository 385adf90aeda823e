//! What a record costs, and how fast a backlog is shipped. Run on a quiet machine:
//! `cargo test --release --test it outbox::measure -- --ignored --nocapture --test-threads=1`
#![expect(clippy::print_stderr, reason = "the numbers are what this is for")]

use super::targets::{Target, shared};
use super::{open, settlements};
use farebox::clock::Clock;
use farebox::ledger::{Journal, Shipper};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_record() {
    for size in [1, 8, 32, 128, 512] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let outbox = open(folder.path()).await;
        let records = (100_000 / size).min(3_000);
        let batches: Vec<_> = (0..records)
            .map(|batch| settlements(batch * size..(batch + 1) * size))
            .collect();
        let clock = Clock::system();
        let begun = clock.now();
        for batch in &batches {
            outbox.record(batch).await.unwrap();
        }
        let elapsed = clock.now().duration_since(begun).as_micros();
        eprintln!(
            "batches of {size:>3}: {:>6} us a record",
            elapsed / u128::from(records)
        );
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_backlog() {
    const ENTRIES: u64 = 1_000_000;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let outbox = open(folder.path()).await;
    let clock = Clock::system();
    let megabytes = || {
        std::fs::metadata(folder.path().join("outbox.sqlite"))
            .unwrap()
            .len()
            >> 20
    };
    let mut begun = clock.now();
    for from in (0..ENTRIES).step_by(512) {
        outbox
            .record(&settlements(from..(from + 512).min(ENTRIES)))
            .await
            .unwrap();
    }
    eprintln!("recorded in {:?}, {} MB", clock.now() - begun, megabytes());
    drop(outbox);
    begun = clock.now();
    let outbox = open(folder.path()).await;
    eprintln!("opened in {:?}", clock.now() - begun);
    begun = clock.now();
    let (_target, bookkeeper) = shared(Target::new());
    let shipper = Shipper::new(Arc::clone(&outbox), bookkeeper);
    assert_eq!(shipper.drain(Duration::from_secs(3_600)).await, 0);
    eprintln!("shipped in {:?}, {} MB", clock.now() - begun, megabytes());
    begun = clock.now();
    for from in (0..50_000).step_by(512) {
        outbox
            .record(&settlements(from..(from + 512).min(50_000)))
            .await
            .unwrap();
    }
    eprintln!(
        "50,000 recorded after it in {:?}, {} MB",
        clock.now() - begun,
        megabytes()
    );
}
