//! How long usage takes over many entries in PostgreSQL. It needs about 500 MB for each million; ten unless
//! FAREBOX_MEASURE_MILLIONS says otherwise:
//! `cargo test --release --test it measure_usage_in_postgres -- --ignored --nocapture`
#![expect(clippy::print_stderr, reason = "the numbers are what this is for")]

use super::samples::{entries, model, price};
use crate::postgres::{Durability, Server};
use farebox::clock::Clock;
use farebox::ledger::{Bucket, GroupBy, Ledger, PgLedger, UsageQuery};
use farebox::store::{PriceSource, Store};
use farebox_domain::month::Month;
use sqlx::Executor;

/// 200 accounts with two keys each and two models, a month long: the ids are in order, as ids are.
const FROM_MS: u64 = 1_764_547_200_000; // 2025-12-01T00:00:00Z
const MONTH_MS: u64 = 31 * 86_400_000;

fn fill(from: u64, until: u64, entries: u64) -> String {
    format!(
        "INSERT INTO entries
         SELECT int8send(at << 16) || int8send(n), NULL, 'acct_' || lpad(to_hex(n % 200), 16, '0'),
                'key_' || lpad(to_hex(n % 200 * 2 + n / 200 % 2), 16, '0'), 'model-' || n / 400 % 2, 'vllm-a',
                'chat_completions', 'completed', 100 + n % 1000, n % 100, 10 + n % 500, 0, NULL, 'default', 'engine', 1,
                1000000 + n % 100000, at, 50, 200000, 900000
         FROM (SELECT n, {FROM_MS} + n * {MONTH_MS} / {entries} AS at FROM generate_series({from}::bigint, {until} - 1) AS n)
             AS made"
    )
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_usage_in_postgres() {
    let millions = std::env::var("FAREBOX_MEASURE_MILLIONS").map_or(10, |millions| millions.parse().unwrap());
    let all: u64 = millions * 1_000_000;
    let server = Server::start(Durability::Fast);
    let database = server.database().await;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::connect(directory.path(), &database.parsed_url())
        .await
        .unwrap();
    let version = store
        .add_price(&model(), &price(), Some(1), PriceSource::Catalog, 1)
        .await
        .unwrap();
    let ledger = PgLedger::open(&store).await.unwrap();
    let clock = Clock::system();
    let mut raw = database.raw().await;
    let begun = clock.now();
    for from in (0..all).step_by(500_000) {
        let sql = fill(from, (from + 500_000).min(all), all);
        raw.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
    let filled = clock.now().duration_since(begun).as_millis();
    eprintln!(
        "{all} entries: {filled} ms, {} us each, triggers and all",
        filled * 1_000 / u128::from(all)
    );
    raw.execute("VACUUM ANALYZE").await.unwrap();
    let (rollups, bytes): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM usage_rollups), pg_database_size(current_database())")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    eprintln!("{rollups} roll-ups, {} MB in all", bytes / 1_000_000);

    measure_questions(&ledger, &clock, all).await;
    for size in [1, 64, 512] {
        let batch = entries(0..size * 20, "acct_0123456789abcdef", version);
        let begun = clock.now();
        for batch in batch.chunks(usize::try_from(size).unwrap()) {
            ledger.commit(batch).await.unwrap();
        }
        let elapsed = clock.now().duration_since(begun).as_micros();
        eprintln!("commits of {size:>3}: {} us each, without fsync", elapsed / 20);
    }
}

async fn measure_questions(ledger: &PgLedger, clock: &Clock, all: u64) {
    let by = |group_by| UsageQuery {
        group_by,
        ..UsageQuery::default()
    };
    let day = GroupBy {
        bucket: Some(Bucket::Day),
        ..GroupBy::default()
    };
    let of_one = |query: UsageQuery| UsageQuery {
        account: Some("acct_0000000000000007".into()),
        ..query
    };
    let within = |query: UsageQuery| UsageQuery {
        since_ms: Some(FROM_MS + 3 * 86_400_000 + 1_234_567),
        until_ms: Some(FROM_MS + 9 * 86_400_000 + 2_345_678),
        ..query
    };
    let account = GroupBy {
        account: true,
        ..GroupBy::default()
    };
    let questions = [
        ("everything", by(GroupBy::default())),
        ("everything by account", by(account)),
        ("everything by day", by(day)),
        (
            "everything by account, key, model and day",
            by(GroupBy {
                account: true,
                key: true,
                model: true,
                ..day
            }),
        ),
        ("six days and parts of hours, by account", within(by(account))),
        ("an account by day", of_one(by(day))),
        (
            "an account by key, model and hour",
            of_one(by(GroupBy {
                key: true,
                model: true,
                bucket: Some(Bucket::Hour),
                ..day
            })),
        ),
        ("an account, six days and parts of hours", within(of_one(by(day)))),
    ];
    for (name, query) in questions {
        let mut times = Vec::new();
        let mut rows = Vec::new();
        for _ in 0..5 {
            let begun = clock.now();
            rows = ledger.usage(&query).await.unwrap();
            times.push(clock.now().duration_since(begun).as_millis());
        }
        times.sort_unstable();
        let requests: u64 = rows.iter().map(|row| row.sum.requests).sum();
        assert!(query.since_ms.is_some() || query.account.is_some() || requests == all);
        eprintln!(
            "{name}: {} ms (worst of 5: {}), {} rows",
            times[2],
            times[4],
            rows.len()
        );
    }
    let begun = clock.now();
    let accounts = ledger.balances().await.unwrap().len();
    eprintln!(
        "balances of {accounts}: {} ms",
        clock.now().duration_since(begun).as_millis()
    );
    let begun = clock.now();
    let keys = ledger.spent_in(Month::of_ms(FROM_MS)).await.unwrap().len();
    eprintln!(
        "spent in a month by {keys} keys: {} ms",
        clock.now().duration_since(begun).as_millis()
    );
}
