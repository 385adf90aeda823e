//! How a database comes to this farebox's form: from nothing, from each form that there was, and not from a later one.

use super::sqlite;
use crate::cli::plain;
use crate::ledger::samples::{balance, entry, id, model, price};
use crate::postgres::{Database, Server};
use farebox::ledger::{Bucket, GroupBy, Ledger, PgLedger, SqliteLedger, UsageQuery};
use farebox::store::{self, PriceSource, Store, StoreFault};
use farebox_domain::ledger::Entry;
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Executor, SqlSafeStr};
use tokio::task::JoinSet;

const SQLITE_0001: &str = include_str!("../../../migrations/sqlite/0001_init.sql");

/// The forms of PostgreSQL that this farebox knows.
const FORMS: &[i64] = &[1, 2, 3, 4, 5, 6, 7, 8];
/// The last of them.
const LATEST: i64 = 8;

async fn connect(database: &Database) -> Result<Store, StoreFault> {
    let directory = tempfile::tempdir().unwrap();
    Store::connect(directory.path(), &database.parsed_url()).await
}

/// Accounts are kept, an entry is booked, the ledger holds.
async fn works(database: &Database) {
    let store = connect(database).await.unwrap();
    let version = store
        .add_price(&model(), &price(), Some(1), PriceSource::Catalog, 1)
        .await
        .unwrap();
    let ledger = PgLedger::open(&store).await.unwrap();
    ledger.commit(&[entry(1, "acct_a", version)]).await.unwrap();
    let verified = ledger.verify().await.unwrap();
    assert_eq!((verified.entries, verified.discrepancies), (1, vec![]));
}

#[tokio::test]
async fn a_database_comes_to_this_form_from_nothing_and_from_each_form() {
    for &from in [0].iter().chain(FORMS) {
        let database = Server::shared().empty_database().await;
        let url = database.parsed_url();
        if from > 0 {
            store::migrate(&url, Some(from)).await.unwrap();
        }
        let versions =
            |steps: Vec<store::Step>| -> Vec<i64> { steps.iter().map(|step| step.version).collect() };
        let expected: Vec<i64> = FORMS.iter().copied().filter(|form| *form > from).collect();
        assert_eq!(
            versions(store::missing(&url).await.unwrap()),
            expected,
            "from {from}"
        );
        if from < LATEST {
            let refused = connect(&database).await.err().unwrap();
            assert!(matches!(refused, StoreFault::OldForm(_)), "{refused}");
        }
        assert_eq!(
            versions(store::migrate(&url, None).await.unwrap()),
            expected,
            "from {from}"
        );
        assert_eq!(store::migrate(&url, None).await.unwrap(), []);
        works(&database).await;
    }
}

#[tokio::test]
async fn of_migrations_at_once_one_works() {
    let database = Server::shared().empty_database().await;
    let mut migrating = JoinSet::new();
    for _ in 0..6 {
        let url = database.parsed_url();
        migrating.spawn(async move { store::migrate(&url, None).await.unwrap().len() });
    }
    let taken: usize = migrating.join_all().await.into_iter().sum();
    assert_eq!(taken, FORMS.len());
    works(&database).await;
}

#[tokio::test]
async fn a_newer_form_and_an_edited_one_are_refused() {
    let database = Server::shared().database().await;
    let url = database.parsed_url();
    let mut raw = database.raw().await;
    raw.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, '\\x00', 0)",
    )
    .await
    .unwrap();
    for refused in [
        connect(&database).await.err().unwrap(),
        store::migrate(&url, None).await.unwrap_err(),
        store::missing(&url).await.unwrap_err(),
    ] {
        assert!(matches!(refused, StoreFault::NewerForm(9999)), "{refused}");
    }
    raw.execute(
        "DELETE FROM _sqlx_migrations WHERE version = 9999;
         UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1",
    )
    .await
    .unwrap();
    let refused = connect(&database).await.err().unwrap();
    assert!(matches!(refused, StoreFault::Migration(_)), "{refused}");
}

/// Runs a command line to its end, with the database shown as URL.
async fn farebox(line: &str, database: &Database) -> String {
    let mut args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    args.extend(["--database".to_owned(), database.url().to_owned()]);
    let told = tokio::task::spawn_blocking(move || plain(args)).await.unwrap();
    assert!(!told.contains("not-a-secret"), "{told}");
    told.replace(&database.parsed_url().to_string(), "URL")
}

#[tokio::test]
async fn the_command_says_what_it_does_and_serve_says_the_command() {
    // As `main` does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let database = Server::shared().empty_database().await;
    insta::assert_snapshot!(farebox("farebox migrate --check", &database).await, @"
    URL: lacks 0001_init
    URL: lacks 0002_export
    URL: lacks 0003_counters
    URL: lacks 0004_history
    URL: lacks 0005_keys
    URL: lacks 0006_administration
    URL: lacks 0007_rates
    URL: lacks 0008_dashboard
    error: 8 migrations missing. Run `farebox migrate`
    [2]
    ");
    let data = tempfile::tempdir().unwrap();
    let serve = format!(
        "farebox serve --demo --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data {}",
        data.path().display()
    );
    insta::assert_snapshot!(farebox(&serve, &database).await, @"
    error: the database is of an older farebox: it lacks 0001_init. Run `farebox migrate` with the same --database first
    [1]
    ");
    insta::assert_snapshot!(farebox("farebox migrate", &database).await, @"
    URL: applied 0001_init
    URL: applied 0002_export
    URL: applied 0003_counters
    URL: applied 0004_history
    URL: applied 0005_keys
    URL: applied 0006_administration
    URL: applied 0007_rates
    URL: applied 0008_dashboard
    [0]
    ");
    insta::assert_snapshot!(farebox("farebox migrate", &database).await, @"
    URL: nothing is missing
    [0]
    ");
    insta::assert_snapshot!(farebox("farebox migrate --check", &database).await, @"
    URL: nothing is missing
    [0]
    ");
}

#[test]
fn what_names_no_database_is_bad_usage_and_not_shown() {
    let told = plain(
        ["farebox", "migrate", "--database", "not-a-secret"]
            .map(str::to_owned)
            .into(),
    );
    insta::assert_snapshot!(told, @"
    error: the database's URL does not hold: it does not begin with postgres://
    [64]
    ");
}

/// Forty entries of two accounts in two hours, two of them dear.
async fn book_in_the_first_form(old: &mut SqliteConnection) -> Vec<Entry> {
    let mut booked: Vec<Entry> = (0..40)
        .map(|number| {
            entry(
                number,
                if number % 3 == 0 { "acct_b" } else { "acct_a" },
                PriceVersion(1),
            )
        })
        .collect();
    for entry in &mut booked[20..] {
        entry.admitted_at_ms += 3_600_000;
    }
    for entry in &mut booked[1..3] {
        entry.cost = Picodollars::new(i64::MAX.into());
    }
    for entry in &booked {
        let of = |number: u64| i64::try_from(number).unwrap();
        sqlx::query("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(entry.id.as_bytes().as_slice())
            .bind(entry.client_request_id.as_deref())
            .bind(entry.account.as_str())
            .bind(entry.key.as_str())
            .bind(entry.model.as_str())
            .bind(entry.engine.as_ref().map(|engine| engine.as_str()))
            .bind(entry.endpoint.as_str())
            .bind(entry.state.as_str())
            .bind(of(entry.usage.prompt_tokens))
            .bind(of(entry.usage.cached_tokens))
            .bind(of(entry.usage.completion_tokens))
            .bind(of(entry.usage.reasoning_tokens))
            .bind(entry.usage_source.as_str())
            .bind(entry.price_version.0)
            .bind(entry.cost.to_i64().unwrap())
            .bind(of(entry.admitted_at_ms))
            .bind(of(entry.timings.queue_us))
            .bind(entry.timings.ttft_us.map(of))
            .bind(of(entry.timings.total_us))
            .execute(&mut *old)
            .await
            .unwrap();
    }
    booked
}

/// A file of the first release's form, with all that it could hold, ends with the same bill.
#[tokio::test]
async fn a_sqlite_file_of_the_first_form_keeps_its_bill() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = sqlite::raw(directory.path()).await;
    let first = Migration::new(
        1,
        "init".into(),
        MigrationType::Simple,
        SQLITE_0001.into_sql_str(),
        false,
    );
    Migrator::with_migrations(vec![first])
        .run(&mut old)
        .await
        .unwrap();
    old.execute(
        "INSERT INTO accounts VALUES ('acct_a', 'a', 1), ('acct_b', 'b', 2);
         INSERT INTO api_keys VALUES ('key_0', 'acct_a', 'laptop', zeroblob(32), 3, NULL, 4);
         INSERT INTO limits VALUES ('acct_a', '', 7);
         INSERT INTO settings VALUES ('kept', x'01');
         INSERT INTO price_versions VALUES (1, 'test/model-1', 100000, 20000, 320000, 5),
                                           (2, 'test/model-2', 9, NULL, 9, 6)",
    )
    .await
    .unwrap();
    let booked = book_in_the_first_form(&mut old).await;
    drop(old);

    let store = Store::open(directory.path()).await.unwrap();
    let accounts = store.accounts().await.unwrap();
    let names: Vec<&str> = accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        accounts
            .iter()
            .all(|account| account.credit_limit.is_none() && account.closed_at_ms.is_none())
    );
    assert_eq!(store.keys().await.unwrap()[0].revoked_at_ms, Some(4));
    assert_eq!(store.limits().await.unwrap()[0].concurrent_requests, 7);
    assert_eq!(store.setting("kept").await.unwrap(), Some(vec![1]));
    let prices = store.prices(&model()).await.unwrap();
    assert_eq!(
        (prices.len(), prices[0].version, prices[0].effective_at_ms),
        (1, PriceVersion(1), Some(5))
    );
    assert_eq!(prices[0].price, price());

    let ledger = SqliteLedger::open(&store).await.unwrap();
    for entry in &booked {
        assert_eq!(ledger.entry(entry.id).await.unwrap().as_ref(), Some(entry));
    }
    let total = |account: &str| {
        let of: Vec<i128> = booked
            .iter()
            .filter(|entry| entry.account.as_str() == account)
            .map(|entry| entry.cost.get())
            .collect();
        (Picodollars::new(of.iter().sum()), of.len() as u64)
    };
    for account in ["acct_a", "acct_b"] {
        assert_eq!(balance(&ledger, account).await, total(account));
    }
    let by_hour = UsageQuery {
        group_by: GroupBy {
            bucket: Some(Bucket::Hour),
            ..GroupBy::default()
        },
        ..UsageQuery::default()
    };
    let hours: Vec<u64> = ledger
        .usage(&by_hour)
        .await
        .unwrap()
        .iter()
        .map(|row| row.sum.requests)
        .collect();
    assert_eq!(hours, [20, 20]);
    // Costs that no 64 bits hold together were booked at another price, so only those stand out.
    let verified = ledger.verify().await.unwrap();
    let kinds: Vec<String> = verified
        .discrepancies
        .iter()
        .map(|found| {
            serde_json::to_value(found).unwrap()["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds, ["cost", "cost"]);
    ledger
        .commit(&[entry(1_000, "acct_a", PriceVersion(1))])
        .await
        .unwrap();
    assert!(ledger.entry(id(1_000)).await.unwrap().is_some());
}
