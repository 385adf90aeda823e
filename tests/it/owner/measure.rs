//! How long a statement of 100,000 entries takes on SQLite, at rest and at its worst. Run on a quiet machine:
//! `cargo test --release --test it measure_a_statement -- --ignored --nocapture`
#![expect(clippy::print_stderr, reason = "the numbers are what this is for")]

use super::{LARGE, Owner};
use crate::admin::harness::NOW_MS;
use farebox::clock::Clock;
use farebox_domain::ids::RequestId;

const ENTRIES: u64 = 100_000;

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_a_statement() {
    // Over the month in hours that are whole, and all of it within the hour that is not over.
    for (name, every_ms) in [
        ("spread over the month", 400),
        ("all within the hour that is open", 10),
    ] {
        let owner = Owner::named("Acme").await;
        // Half an hour into an hour.
        let now_ms = NOW_MS + 1_800_000;
        owner.gateway.clock.set_unix_ms(now_ms);
        let sample = owner.entry(LARGE, NOW_MS, 1);
        let numbers: Vec<u64> = (1..=ENTRIES).collect();
        for batch in numbers.chunks(500) {
            let entries: Vec<_> = batch
                .iter()
                .map(|&number| {
                    let mut entry = sample.clone();
                    entry.admitted_at_ms = now_ms - number * every_ms;
                    let mut id = *RequestId::lowest_at_ms(entry.admitted_at_ms).as_bytes();
                    id[8..].copy_from_slice(&number.to_be_bytes());
                    entry.id = RequestId::from_bytes(id);
                    entry
                })
                .collect();
            owner.book(&entries).await;
        }
        for format in ["html", "csv", "json"] {
            let clock = Clock::system();
            let begun = clock.now();
            let answer = owner
                .get(&format!("/v1/me/statements/2026-11?format={format}"))
                .await;
            let took = clock.now().duration_since(begun);
            assert_eq!(answer.status, 200);
            eprintln!(
                "{ENTRIES} entries {name}: {format} in {} us, {} bytes",
                took.as_micros(),
                answer.text.len()
            );
        }
    }
}
