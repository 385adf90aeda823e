//! 100,000 keys of 10,000 accounts: how long they take to read at start, and one to find. Run on a quiet machine:
//! `cargo test --release --test it measure_100_000_keys -- --ignored --nocapture`
#![expect(clippy::print_stderr, reason = "the numbers are what this is for")]

use farebox::admission::directory::{Directory, hash_secret};
use farebox::admission::hmac::verifier_of;
use farebox::admission::jwt::sign;
use farebox::clock::Clock;
use farebox::store::{AccountRow, KeyRow, Store};
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
    let (accounts, keys) = (store.accounts().await.unwrap(), store.keys().await.unwrap());
    directory.refresh(accounts, keys, store.limits().await.unwrap());
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
