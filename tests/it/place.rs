//! Where a store is, for what is promised of both: a SQLite file or a PostgreSQL. `on_both!` runs a test at each place.

use crate::gateway::Gateway;
use crate::postgres::{Database, Server};
use farebox::store::Store;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};
use std::path::PathBuf;
use tempfile::TempDir;

/// A place for one test, empty, and gone with it.
pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

/// Runs each of these, which take a [`Place`], once for each database.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::place::Place::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::place::Place::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        Self::Postgres(Server::shared().database().await)
    }

    /// The store there. What belongs to the one who opens it is in the folder that comes with it.
    pub(crate) async fn open(&self) -> (Store, TempDir) {
        let own = tempfile::tempdir().unwrap();
        let store = match self {
            Self::Sqlite(folder) => Store::open(folder.path()).await,
            Self::Postgres(database) => Store::connect(own.path(), &database.parsed_url()).await,
        };
        (store.unwrap(), own)
    }

    /// A gateway there, with its account. In SQLite it has a folder of its own.
    pub(crate) async fn gateway(&self, models: &str) -> Gateway {
        let url = match self {
            Self::Sqlite(_) => None,
            Self::Postgres(database) => Some(database.parsed_url()),
        };
        let gateway = Gateway::start_in(models, tempfile::tempdir().unwrap(), url, 7).await;
        gateway.make_account().await;
        gateway
    }

    /// Does this behind farebox's back, where no rule holds.
    pub(crate) async fn doctor(&self, sql: &str) {
        match self {
            Self::Postgres(database) => database.doctor(sql).await,
            Self::Sqlite(folder) => {
                let mut raw = SqliteConnectOptions::new()
                    .filename(file_in(folder))
                    .connect()
                    .await
                    .unwrap();
                raw.execute("DROP TRIGGER entries_are_not_updated").await.unwrap();
                raw.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
            }
        }
    }

    /// How many triggers fill the export's queue.
    pub(crate) async fn export_triggers(&self) -> i64 {
        match self {
            Self::Postgres(database) => {
                let mut raw = database.raw().await;
                let sql =
                    "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%exported' AND tgenabled <> 'D'";
                sqlx::query_scalar(sql).fetch_one(&mut raw).await.unwrap()
            }
            Self::Sqlite(folder) => {
                let options = SqliteConnectOptions::new().filename(file_in(folder));
                let mut raw = options.connect().await.unwrap();
                let sql =
                    "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%exported'";
                sqlx::query_scalar(sql).fetch_one(&mut raw).await.unwrap()
            }
        }
    }
}

fn file_in(folder: &TempDir) -> PathBuf {
    folder.path().join("farebox.sqlite")
}
