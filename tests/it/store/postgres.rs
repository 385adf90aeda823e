//! The store in PostgreSQL: the conformance suite, and what is particular to it.

use super::conformance::{Bench, account, conformance, key};
use crate::postgres::{Database, Durability, Server};
use farebox::store::{DatabaseUrl, PriceSource, Store, StoreFault};
use farebox_domain::ids::ModelId;
use farebox_domain::price::{Price, TokenPrice};
use sqlx::Executor;
use std::path::Path;
use tempfile::TempDir;
use tokio::task::JoinSet;

struct PgBench {
    store: Store,
    database: Database,
    _directory: TempDir,
}

impl Bench for PgBench {
    async fn open() -> Self {
        let database = Server::shared().database().await;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::connect(directory.path(), &database.parsed_url())
            .await
            .unwrap();
        Self {
            store,
            database,
            _directory: directory,
        }
    }

    fn store(&self) -> &Store {
        &self.store
    }

    async fn open_in(&self, data_dir: &Path) -> Result<Store, StoreFault> {
        Store::connect(data_dir, &self.database.parsed_url()).await
    }
}

fn price() -> Price {
    Price::of_tokens(
        TokenPrice::from_picodollars(1),
        None,
        TokenPrice::from_picodollars(2),
    )
}

conformance! { PgBench }

/// Whatever the server is set to. A trigger sees what a writer's connection has.
#[tokio::test]
async fn commits_reach_the_disk_before_they_return() {
    let PgBench { store, database, .. } = PgBench::open().await;
    let off = format!("ALTER DATABASE {} SET synchronous_commit = off", database.name());
    let mut raw = database.raw().await;
    raw.execute(sqlx::AssertSqlSafe(off)).await.unwrap();
    raw.execute(
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN NEW.name = current_setting('synchronous_commit'); RETURN NEW; END $$;
         CREATE TRIGGER tell BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION tell()",
    )
    .await
    .unwrap();
    store.create_account(&account(1)).await.unwrap();
    assert_eq!(store.accounts().await.unwrap()[0].name, "on");
}

#[tokio::test]
async fn what_one_replica_changes_another_is_told() {
    let bench = PgBench::open().await;
    let directory = tempfile::tempdir().unwrap();
    let other = bench.open_in(directory.path()).await.unwrap();
    let mut changes = other.changes().await.unwrap().unwrap();
    let (store, owner) = (&bench.store, account(1));
    let price = price();
    let mut last = other.revision().await.unwrap().unwrap();
    for step in 0..5 {
        match step {
            0 => store.create_account(&owner).await.unwrap(),
            1 => store.create_key(&key(1, &owner.id)).await.unwrap(),
            2 => store.set_concurrency(&owner.id, None, Some(1)).await.unwrap(),
            3 => assert!(store.close_account(&owner.id, 5).await.unwrap()),
            _ => {
                let source = PriceSource::Admin;
                store
                    .add_price(&"m".into(), &price, Some(1), source, 1)
                    .await
                    .unwrap();
            }
        }
        changes.next().await.unwrap();
        let revision = other.revision().await.unwrap().unwrap();
        assert!(revision > last, "step {step}");
        last = revision;
    }
    assert_eq!(other.accounts().await.unwrap(), store.accounts().await.unwrap());
    assert_eq!(other.keys().await.unwrap(), store.keys().await.unwrap());
}

#[tokio::test]
async fn replicas_that_start_at_once_note_a_price_once() {
    let bench = PgBench::open().await;
    let price = price();
    let model: ModelId = "test/a".into();
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let (store, model, price) = (bench.store.clone(), model.clone(), price.clone());
        starting.spawn(async move { store.note_catalog_price(&model, &price, 7).await.unwrap() });
    }
    starting.join_all().await;
    assert_eq!(bench.store.prices(&model).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_connection_counts_as_a_change() {
    let server = Server::start(Durability::Fast);
    let database = server.database().await;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::connect(directory.path(), &database.parsed_url())
        .await
        .unwrap();
    let mut changes = store.changes().await.unwrap().unwrap();
    server.stop_fast();
    server.start_again();
    changes.next().await.unwrap();
    store.create_account(&account(1)).await.unwrap();
    changes.next().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_its_password() {
    let directory = tempfile::tempdir().unwrap();
    // Reserved, and nobody listens there.
    let url: DatabaseUrl = "postgres://me:secret@127.0.0.1:1/farebox?sslmode=disable"
        .parse()
        .unwrap();
    let refused = Store::connect(directory.path(), &url).await.err().unwrap();
    assert!(matches!(refused, StoreFault::Away { .. }), "{refused}");
    let told = format!("{refused} {refused:?} {url} {url:?}");
    assert!(told.contains("postgres://me@127.0.0.1:1/farebox"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn what_is_no_url_of_postgresql_is_not_told_either() {
    for wrong in [
        "mysql://me:secret@h/d",
        "secret",
        "postgres://me:secret@h:secret/d",
    ] {
        let refused = wrong.parse::<DatabaseUrl>().unwrap_err();
        assert!(matches!(refused, StoreFault::Url(_)), "{refused}");
        assert!(
            !format!("{refused} {refused:?}").contains("secret"),
            "{refused:?}"
        );
    }
}
