//! The store in a SQLite file: the conformance suite, and what is particular to it.

use super::conformance::{Bench, conformance};
use farebox::store::{Store, StoreFault};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor};
use std::path::Path;
use tempfile::TempDir;

struct SqliteBench {
    store: Store,
    directory: TempDir,
}

/// A connection that knows no rules.
pub(crate) async fn raw(data_dir: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(data_dir.join("farebox.sqlite"))
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

impl Bench for SqliteBench {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        Self { store, directory }
    }

    fn store(&self) -> &Store {
        &self.store
    }

    async fn open_in(&self, data_dir: &Path) -> Result<Store, StoreFault> {
        Store::open(data_dir).await
    }
}

conformance! { SqliteBench }

#[tokio::test]
async fn a_store_of_a_newer_farebox_is_refused() {
    let bench = SqliteBench::open().await;
    raw(bench.directory.path())
        .await
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'later', 1, x'00', 0)",
        )
        .await
        .unwrap();
    drop(bench.store);
    let refused = Store::open(bench.directory.path()).await.err().unwrap();
    assert!(matches!(refused, StoreFault::Migration(_)), "{refused}");
}

#[tokio::test]
async fn nobody_else_changes_it() {
    let bench = SqliteBench::open().await;
    assert_eq!(bench.store.revision().await.unwrap(), None);
    assert!(bench.store.changes().await.unwrap().is_none());
}

#[tokio::test]
async fn every_key_is_read_once_however_many_there_are() {
    let bench = SqliteBench::open().await;
    let mut raw = raw(bench.directory.path()).await;
    for sql in [
        "INSERT INTO accounts (id, name, created_at_ms) VALUES ('a', 'a', 1)",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO api_keys (id, account, name, hash, created_at_ms)
         SELECT 'key_' || (i * 7919 % 2503), 'a', '\"' || i || char(10) || 'é', unhex(printf('%064x', i)), i FROM n",
    ] {
        raw.execute(sql).await.unwrap();
    }
    let keys = bench.store.keys().await.unwrap();
    assert_eq!(keys.len(), 2_500);
    for (key, number) in keys.iter().zip(1_u64..) {
        assert_eq!(
            (key.created_at_ms, &key.name),
            (number, &format!("\"{number}\né"))
        );
        assert_eq!(key.hash[24..], number.to_be_bytes());
    }
}
