//! The ledger in PostgreSQL: the conformance suite, and what is particular to it.

use super::conformance::{Bench, balances_are_the_fold, conformance, sold};
use super::samples::{adjustment, cost_sum, entries, entry, id};
use crate::postgres::{Database, Durability, Server};
use farebox::ledger::{Discrepancy, Ledger, PgLedger, SpendingRow};
use farebox::store::{PriceSource, Store};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::Entry;
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use farebox_domain::price::PriceVersion;
use sqlx::{Executor, Row};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::task::JoinSet;

struct PgBench {
    ledger: PgLedger,
    store: Store,
    version: PriceVersion,
    database: Database,
    _directory: TempDir,
}

impl PgBench {
    async fn open_on(server: &Server) -> Self {
        let database = server.database().await;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::connect(directory.path(), &database.parsed_url())
            .await
            .unwrap();
        let (model, price) = sold();
        let version = store
            .add_price(&model, &price, Some(1), PriceSource::Catalog, 1)
            .await
            .unwrap();
        let ledger = PgLedger::open(&store).await.unwrap();
        Self {
            ledger,
            store,
            version,
            database,
            _directory: directory,
        }
    }

    /// What counts against each ceiling.
    async fn spending(&self) -> BTreeMap<(String, String, i64), i128> {
        let rows = sqlx::query("SELECT kind, owner, period, spent::text FROM spending")
            .fetch_all(&mut self.database.raw().await)
            .await
            .unwrap();
        rows.iter()
            .map(|row| {
                let spent: &str = row.get("spent");
                let ceiling = (row.get("kind"), row.get("owner"), row.get("period"));
                (ceiling, spent.parse().unwrap())
            })
            .collect()
    }
}

impl Bench for PgBench {
    async fn open() -> Self {
        Self::open_on(Server::shared()).await
    }

    fn ledger(&self) -> &dyn Ledger {
        &self.ledger
    }

    fn version(&self) -> PriceVersion {
        self.version
    }

    async fn overwrite_cost(&self, id: RequestId, picodollars: i64) {
        let id: String = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!("UPDATE entries SET cost_picodollars = {picodollars} WHERE id = '\\x{id}'");
        self.database.doctor(&sql).await;
    }

    async fn refuse(&self, number: u64) {
        let trouble = format!(
            "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trouble'; END $$;
             CREATE TRIGGER trouble AFTER INSERT ON entries FOR EACH ROW WHEN (NEW.queue_us = {number})
             EXECUTE FUNCTION trouble()"
        );
        let mut raw = self.database.raw().await;
        raw.execute(sqlx::AssertSqlSafe(trouble)).await.unwrap();
    }

    async fn refuse_no_more(&self) {
        let mut raw = self.database.raw().await;
        raw.execute("DROP TRIGGER trouble ON entries").await.unwrap();
    }

    async fn overwrite_rollups(&self, account: &str, picodollars: u32) {
        let set = |table| format!("UPDATE {table} SET cost = {picodollars} WHERE account = '{account}'");
        let sql = format!("{}; {}", set("usage_rollups"), set("usage_days"));
        self.database.doctor(&sql).await;
    }
}

conformance! { PgBench }

#[test]
fn balances_are_the_fold_of_entries() {
    balances_are_the_fold::<PgBench>();
}

/// What the outbox puts aside, and what it waits out.
#[tokio::test]
async fn a_row_that_is_refused_for_itself_does_not_pass_with_time() {
    let bench = PgBench::open().await;
    let mut with_nul = entry(1, "acct_a", bench.version);
    with_nul.client_request_id = Some("nul\0".into());
    let about_a_value = bench.ledger.commit(&[with_nul]).await.unwrap_err();
    assert!(!about_a_value.passes_with_time(), "{about_a_value}");

    let mut raw = bench.database.raw().await;
    raw.execute("ALTER TABLE entries ADD CONSTRAINT trouble CHECK (account <> 'acct_b')")
        .await
        .unwrap();
    let broken = entry(2, "acct_b", bench.version);
    let about_a_constraint = bench.ledger.commit(&[broken]).await.unwrap_err();
    assert!(!about_a_constraint.passes_with_time(), "{about_a_constraint}");

    bench
        .refuse(entry(3, "acct_a", bench.version).timings.queue_us)
        .await;
    let trouble = bench.ledger.commit(&[entry(3, "acct_a", bench.version)]).await;
    assert!(trouble.unwrap_err().passes_with_time());
}

#[tokio::test]
async fn the_database_refuses_to_change_or_remove_what_is_booked() {
    let bench = PgBench::open().await;
    let booked = entries(0..3, "acct_a", bench.version);
    bench.ledger.commit(&booked).await.unwrap();
    bench.ledger.adjust(&[adjustment(1, "acct_a", 5)]).await.unwrap();
    let mut raw = bench.database.raw().await;
    for forbidden in [
        "UPDATE entries SET cost_picodollars = 0",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "UPDATE adjustments SET amount_picodollars = 0",
        "DELETE FROM adjustments",
        "TRUNCATE adjustments",
        "UPDATE price_versions SET price = '{}'",
        "DELETE FROM price_versions",
        "TRUNCATE price_versions",
    ] {
        let refused = raw.execute(forbidden).await.unwrap_err().to_string();
        assert!(refused.contains("is append-only"), "{forbidden}: {refused}");
    }
    assert_eq!(
        bench.ledger.entry(id(1)).await.unwrap().as_ref(),
        Some(&booked[1])
    );
}

/// Replicas that ship the same entries at once, each in an order of its own, while others book credit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_book_the_same_at_once_book_it_once_and_never_deadlock() {
    const REPLICAS: u64 = 4;
    const ENTRIES: u64 = 600;
    let bench = PgBench::open().await;
    let all: Vec<Entry> = (0..ENTRIES)
        .map(|number| entry(number, &format!("acct_{}", number % 7), bench.version))
        .collect();
    let all = Arc::new(all);
    let mut replicas = JoinSet::new();
    for replica in 0..REPLICAS {
        let ledger = PgLedger::open(&bench.store).await.unwrap();
        let all = Arc::clone(&all);
        replicas.spawn(async move {
            for round in 0..30 {
                // Half of everything, begun elsewhere and walked with another stride each time.
                let stride = [1, 7, 11, 13][usize::try_from((replica + round) % 4).unwrap()];
                let batch: Vec<Entry> = (0..ENTRIES / 2)
                    .map(|step| (replica * 150 + round * 37 + step * stride) % ENTRIES)
                    .map(|number| all[usize::try_from(number).unwrap()].clone())
                    .collect();
                ledger.commit(&batch).await.unwrap();
                let credit: Vec<_> = (0..7)
                    .map(|number| (number + replica + round) % 7)
                    .map(|number| adjustment(number, &format!("acct_{number}"), 1_000))
                    .collect();
                ledger.adjust(&credit).await.unwrap();
            }
            ledger.commit(&all[..300]).await.unwrap();
            ledger.commit(&all[300..]).await.unwrap();
        });
    }
    replicas.join_all().await;
    let verified = bench.ledger.verify().await.unwrap();
    assert_eq!(
        (verified.entries, verified.adjustments, verified.discrepancies),
        (ENTRIES, 7, vec![])
    );
    assert_eq!(verified.cost, cost_sum(&all));
}

#[tokio::test]
async fn what_counts_against_ceilings_moves_with_what_is_booked() {
    let bench = PgBench::open().await;
    let mut all = entries(0..6, "acct_a", bench.version);
    let month = Month::of_ms(all[0].admitted_at_ms);
    all[5].admitted_at_ms = month.next().starts_at_ms();
    all[4].admitted_at_ms = month.next().starts_at_ms() - 1;
    bench.ledger.commit(&all).await.unwrap();
    bench.ledger.commit(&all).await.unwrap();
    let credit = [adjustment(1, "acct_a", 70), adjustment(2, "acct_b", -5)];
    bench.ledger.adjust(&credit).await.unwrap();
    bench.ledger.adjust(&credit).await.unwrap();

    let (this, next) = (i64::from(month.index()), i64::from(month.next().index()));
    let cost = |numbers: &[usize]| -> i128 { numbers.iter().map(|number| all[*number].cost.get()).sum() };
    let expected = [
        (("account_month", "acct_a", this), cost(&[0, 1, 2, 3, 4])),
        (("account_month", "acct_a", next), cost(&[5])),
        (("credit", "acct_a", 0), cost(&[0, 1, 2, 3, 4, 5]) - 70),
        (("credit", "acct_b", 0), 5),
        (("key_month", "key_0", this), cost(&[0, 3])),
        (("key_month", "key_1", this), cost(&[1, 4])),
        (("key_month", "key_2", this), cost(&[2])),
        (("key_month", "key_2", next), cost(&[5])),
    ];
    let expected =
        expected.map(|((kind, owner, period), spent)| ((kind.to_owned(), owner.to_owned(), period), spent));
    assert_eq!(bench.spending().await, BTreeMap::from(expected));
    assert_eq!(bench.ledger.verify().await.unwrap().discrepancies, []);

    bench
        .database
        .doctor("UPDATE spending SET spent = 1 WHERE owner = 'acct_b'; DELETE FROM spending WHERE owner = 'key_0'")
        .await;
    let wrong = |ceiling: &str, owner: &str, period, booked, expected| {
        Discrepancy::Spending(SpendingRow {
            ceiling: ceiling.to_owned(),
            owner: owner.to_owned(),
            period,
            booked: Picodollars::new(booked),
            expected: Picodollars::new(expected),
        })
    };
    assert_eq!(
        bench.ledger.verify().await.unwrap().discrepancies,
        [
            wrong("credit", "acct_b", 0, 1, 5),
            wrong("key_month", "key_0", this, 0, cost(&[0, 3]))
        ]
    );
}

#[tokio::test]
async fn a_day_is_the_sum_of_its_entries() {
    let bench = PgBench::open().await;
    bench
        .ledger
        .commit(&entries(0..4, "acct_a", bench.version))
        .await
        .unwrap();
    let doctored = "UPDATE usage_days SET prompt_tokens = 7 WHERE api_key = 'key_1';
                    DELETE FROM usage_days WHERE api_key = 'key_2';
                    INSERT INTO usage_days SELECT 'acct_x', day, api_key, model, endpoint, price_version, 1, 1, 1, 1, 1, 0
                    FROM usage_days WHERE api_key = 'key_0'";
    bench.database.doctor(doctored).await;
    let verified = bench.ledger.verify().await.unwrap();
    let days: Vec<(String, u64, u64)> = verified
        .discrepancies
        .iter()
        .filter_map(|found| match found {
            Discrepancy::DayRollup {
                group,
                booked,
                expected,
            } => {
                let key = group.key.as_ref().unwrap().to_string();
                Some((
                    key,
                    booked.map_or(0, |sum| sum.prompt_tokens),
                    expected.prompt_tokens,
                ))
            }
            _ => None,
        })
        .collect();
    let of = |key: &str, booked, expected| (key.to_owned(), booked, expected);
    assert_eq!(days.len(), 3, "{days:?}");
    for found in [of("key_1", 7, 101), of("key_2", 0, 102), of("key_0", 1, 0)] {
        assert!(days.contains(&found), "{found:?} in {days:?}");
    }
}

/// The database and the domain agree on which month a time is in, also at the ends of what they know.
#[tokio::test]
async fn months_are_the_domains() {
    let bench = PgBench::open().await;
    let mut raw = bench.database.raw().await;
    let mut times = vec![
        0,
        253_402_300_799_999,
        253_402_300_800_000,
        u64::try_from(i64::MAX).unwrap(),
    ];
    // The first and the last moment of every month of 40 years, leap years among them, and of the century that has none.
    for index in (0..480).chain(1_550..1_575) {
        let starts = Month::from_index(index).starts_at_ms();
        times.extend([starts, starts.saturating_sub(1)]);
    }
    let asked: Vec<i64> = times.iter().map(|at| i64::try_from(*at).unwrap()).collect();
    let months: Vec<i64> = sqlx::query_scalar(
        "SELECT farebox_month(at) FROM unnest($1) WITH ORDINALITY AS t (at, n) ORDER BY n",
    )
    .bind(asked)
    .fetch_all(&mut raw)
    .await
    .unwrap();
    let expected: Vec<i64> = times
        .iter()
        .map(|at| i64::from(Month::of_ms(*at).index()))
        .collect();
    assert_eq!(months, expected);
}

/// The ledger is told of each outage by an error, and is right again by itself when the database is back.
#[tokio::test]
async fn an_outage_loses_nothing_that_was_booked() {
    let server = Server::start(Durability::Crash);
    let bench = PgBench::open_on(&server).await;
    let ends: [fn(&Server); 3] = [Server::kill, Server::stop_immediately, Server::stop_fast];
    for (from, end) in (0_u64..).step_by(5).zip(ends) {
        let batch = entries(from..from + 5, "acct_a", bench.version);
        bench.ledger.commit(&batch).await.unwrap();
        end(&server);
        bench.ledger.commit(&batch).await.unwrap_err();
        bench.ledger.commit(&batch).await.unwrap_err();
        server.start_again();
        bench.ledger.commit(&batch).await.unwrap();
    }
    let verified = bench.ledger.verify().await.unwrap();
    assert_eq!((verified.entries, verified.discrepancies), (15, vec![]));
}

#[tokio::test]
async fn a_store_in_the_other_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let refused = PgLedger::open(&store).await.err().unwrap();
    assert_eq!(refused.to_string(), "the store is not in postgres");
}
