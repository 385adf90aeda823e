//! 100,000 keys of 10,000 accounts: how long they take to read at start, and one to find; and how long a whole farebox takes
//! to start with them, and each page of the dashboard to be answered. Run on a quiet machine:
//! `cargo test --release --test it measure_100_000_keys -- --ignored --nocapture`
#![expect(clippy::print_stderr, reason = "the numbers are what this is for")]

use crate::crash::Process;
use crate::gateway::{ADMIN_TOKEN, client, engine, models};
use crate::ledger::samples::{self, id_at, model, price};
use farebox::admission::directory::{Directory, hash_secret};
use farebox::admission::hmac::verifier_of;
use farebox::admission::jwt::sign;
use farebox::clock::Clock;
use farebox::ledger::{Ledger, MAX_BATCH, SqliteLedger};
use farebox::simulate::Settings;
use farebox::store::{AccountRow, KeyRow, PriceSource, Store};
use farebox_domain::ledger::Entry;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

const ACCOUNTS: u64 = 10_000;
const KEYS: u64 = 100_000;

fn secret(number: u64) -> String {
    format!("fb_{number:043}")
}

fn row(number: u64) -> KeyRow {
    let account = format!("acct_{:016x}", number % ACCOUNTS).into();
    let id = format!("key_{number:016x}").into();
    KeyRow {
        jwt_verifier: Some(verifier_of(&secret(number))),
        ..KeyRow::new(id, account, "laptop".into(), hash_secret(&secret(number)), number)
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_100_000_keys() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    drop(Store::open(folder.path()).await.unwrap());
    fill(folder.path()).await;
    let begun = clock.now();
    let store = Store::open(folder.path()).await.unwrap();
    let directory = Directory::default();
    directory.read(&store).await.unwrap();
    let took = clock.now().duration_since(begun);
    eprintln!(
        "{KEYS} keys of {ACCOUNTS} accounts are read in {} ms",
        took.as_millis()
    );

    let secrets: Vec<_> = (0..KEYS).map(|number| secret(number * 7919 % KEYS)).collect();
    let begun = clock.now();
    for secret in &secrets {
        directory.find_key(secret, 1_000_000).unwrap();
    }
    let took = clock.now().duration_since(begun);
    eprintln!("a key is found in {} ns", took.as_nanos() / u128::from(KEYS));

    let tokens: Vec<_> = (0..1000)
        .map(|number| {
            let kid = format!("key_{number:016x}");
            sign(
                &secret(number),
                &kid,
                r#"{"exp":4000000000,"models":["org/large"]}"#,
            )
        })
        .collect();
    let begun = clock.now();
    for token in &tokens {
        directory.find_token(token, 1_000_000).unwrap();
    }
    let took = clock.now().duration_since(begun);
    eprintln!("a signed token is found in {} ns", took.as_nanos() / 1000);
}

/// What the pages ask for when they are opened, and when one searches in them.
const PAGES: [(&str, &[&str]); 11] = [
    (
        "Keys",
        &[
            "keys?limit=100&status=active",
            "keys?limit=1000",
            "keys?search=0001869f",
            "keys?search=account%209999",
            "keys?search=nowhere",
            "keys?account=account%209999",
        ],
    ),
    (
        "Accounts",
        &[
            "accounts?limit=100",
            "accounts?limit=1000",
            "accounts?search=9999",
            "accounts?search=nowhere",
        ],
    ),
    (
        "An account",
        &[
            "accounts/account%209999",
            "accounts/account%209999/limits",
            "accounts/account%209999/balance",
            "accounts/account%209999/adjustments",
            "usage?group_by=model&since=24h&account=account%209999",
        ],
    ),
    (
        "Overview",
        &["series?span=1h", "usage?group_by=account&since=24h&limit=8"],
    ),
    (
        "Usage and cost",
        &[
            "usage?group_by=account&since=24h&limit=1000",
            "usage?group_by=account,key&since=30d&limit=1000",
        ],
    ),
    ("Requests for more", &["limit-requests?state=open&limit=100"]),
    ("Engines", &["engines"]),
    ("Models", &["models"]),
    ("Audit", &["audit?limit=100"]),
    ("In flight, refusals", &["in-flight", "refusals"]),
    ("Replicas and settings", &["replicas", "defaults", "tokens"]),
];
const TURNS: usize = 9;

/// With a limit of each account's own, and a request that was booked with each key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_100_000_keys_start_and_pages() {
    let behind = engine(Settings::default()).await;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (config, data) = (folder.path().join("models.yaml"), folder.path().join("data"));
    std::fs::write(&config, models(&[&behind.url], "")).unwrap();
    drop(Store::open(&data).await.unwrap());
    fill(&data).await;
    book(&data).await;
    let (clock, http) = (Clock::system(), client());
    for number in 1..=3 {
        let begun = clock.now();
        let farebox = Process::start_on(&config, &data, None)
            .wait_until_ready()
            .unwrap();
        let listens = clock.now().duration_since(begun);
        while http
            .get(format!("{}/ready", farebox.url))
            .send()
            .await
            .unwrap()
            .status()
            != 200
        {}
        let ready = clock.now().duration_since(begun);
        eprintln!(
            "start {number}: it listens after {} ms and is ready after {} ms",
            listens.as_millis(),
            ready.as_millis()
        );
    }
    let farebox = Process::start_on(&config, &data, None)
        .wait_until_ready()
        .unwrap();
    for (page, asked) in PAGES {
        eprintln!("{page}");
        for path in asked {
            let (mut took, mut bytes) = (Vec::new(), 0);
            for _ in 0..TURNS {
                let begun = clock.now();
                let answer = http.get(format!("{}/admin/v1/{path}", farebox.admin));
                let answer = answer.bearer_auth(ADMIN_TOKEN).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                bytes = answer.bytes().await.unwrap().len();
                took.push(clock.now().duration_since(begun).as_micros());
            }
            let first = took[0];
            took.sort_unstable();
            eprintln!(
                "    {path:<56} {:>7} us, first {first:>7} us, {bytes:>7} bytes",
                took[TURNS / 2]
            );
        }
    }
}

/// A request with each key, in the last hours.
async fn book(folder: &std::path::Path) {
    let store = Store::open(folder).await.unwrap();
    let version = store
        .add_price(&model(), &price(), Some(1), PriceSource::Catalog, 1)
        .await
        .unwrap();
    let ledger = SqliteLedger::open(&store).await.unwrap();
    let now_ms = Clock::system().unix_ms();
    let entries: Vec<Entry> = (0..KEYS)
        .map(|number| {
            let key = row(number);
            let at_ms = now_ms - number * 100;
            Entry {
                id: id_at(at_ms, number),
                key: key.id,
                admitted_at_ms: at_ms,
                ..samples::entry(number, key.account.as_str(), version)
            }
        })
        .collect();
    for batch in entries.chunks(MAX_BATCH) {
        ledger.commit(batch).await.unwrap();
    }
}

/// Through a connection of its own, in one transaction.
async fn fill(folder: &std::path::Path) {
    let options = SqliteConnectOptions::new().filename(folder.join("farebox.sqlite"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    for number in 0..ACCOUNTS {
        let account = AccountRow::new(
            format!("acct_{number:016x}").into(),
            format!("account {number}"),
            1,
        );
        sqlx::query("INSERT INTO accounts (id, name, created_at_ms) VALUES ($1, $2, 1)")
            .bind(account.id.as_str())
            .bind(account.name.as_str())
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query("INSERT INTO limits (account, model, concurrent_requests) VALUES ($1, '', 300)")
            .bind(account.id.as_str())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    let sql = "INSERT INTO api_keys (id, account, name, hash, created_at_ms, jwt_verifier) VALUES ($1, $2, $3, $4, $5, $6)";
    for number in 0..KEYS {
        let key = row(number);
        sqlx::query(sql)
            .bind(key.id.as_str())
            .bind(key.account.as_str())
            .bind(key.name.as_str())
            .bind(key.hash.as_slice())
            .bind(i64::try_from(key.created_at_ms).unwrap())
            .bind(key.jwt_verifier.as_ref().map(|verifier| verifier.as_slice()))
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}
