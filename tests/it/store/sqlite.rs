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
