//! PostgreSQL for tests: a server of this run's own on a free port, with a database of its own for each test.
//!
//! [`Server::shared`] is one server for every test of a run, whether they share a process (`cargo test`) or not
//! (`cargo nextest run`). The first that needs it starts it, under a lock; each process holds another lock, shared, for as
//! long as it lives, and a watchdog ends the server once nobody has held that for a while. [`Server::start`] is one for
//! a test that stops it. Whatever becomes of the test, the watchdog ends it and removes its folder.

mod installed;
mod server;
mod serve;

pub(crate) use server::{Durability, Server};

use farebox::store::{self, DatabaseUrl};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use std::sync::atomic::{AtomicU64, Ordering};

/// A database that is there for one test.
pub(crate) struct Database {
    name: String,
    url: String,
    maintenance_url: String,
}

/// In the order in which this process makes databases.
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Server {
    /// A database of this farebox's form.
    pub(crate) async fn database(&self) -> Database {
        self.new_database(&format!("TEMPLATE {}", server::TEMPLATE)).await
    }

    /// A database with nothing in it.
    pub(crate) async fn empty_database(&self) -> Database {
        self.new_database("TEMPLATE template0").await
    }

    async fn new_database(&self, how: &str) -> Database {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let database = Database {
            url: self.url(&name),
            maintenance_url: self.url("postgres"),
            name,
        };
        database
            .maintain(&format!("CREATE DATABASE {} {how}", database.name))
            .await;
        database
    }
}

impl Database {
    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it is, as farebox takes it.
    pub(crate) fn parsed_url(&self) -> DatabaseUrl {
        self.url.parse().unwrap()
    }

    /// A connection that knows no rules.
    pub(crate) async fn raw(&self) -> PgConnection {
        let options: PgConnectOptions = self.url.parse().unwrap();
        options.disable_statement_logging().connect().await.unwrap()
    }

    /// Does this behind farebox's back: no trigger and no foreign key sees it.
    pub(crate) async fn doctor(&self, sql: &str) {
        let mut raw = self.raw().await;
        raw.execute("SET session_replication_role = replica")
            .await
            .unwrap();
        raw.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// Puts this database under another name, whoever is connected to it, and leaves its own name free.
    pub(crate) async fn rename_to(&self, name: &str) {
        self.end_connections(&self.name).await;
        self.maintain(&format!("ALTER DATABASE {} RENAME TO {name}", self.name))
            .await;
    }

    /// Gives the name to a database that was put under another one, in place of whatever has it.
    pub(crate) async fn rename_from(&self, name: &str) {
        self.maintain(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name))
            .await;
        self.maintain(&format!("ALTER DATABASE {name} RENAME TO {}", self.name))
            .await;
    }

    /// Copies it as it is now.
    pub(crate) async fn copy_to(&self, name: &str) {
        self.end_connections(&self.name).await;
        self.maintain(&format!("CREATE DATABASE {name} TEMPLATE {}", self.name))
            .await;
    }

    /// A database of this farebox's form under the name, which is free: another ledger.
    pub(crate) async fn make_anew(&self) {
        self.maintain(&format!("CREATE DATABASE {} TEMPLATE template0", self.name))
            .await;
        migrate(&self.url).await;
    }

    pub(crate) async fn drop_also(&self, name: &str) {
        self.maintain(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await;
    }

    /// Ends every connection to it, and waits until they are gone.
    async fn end_connections(&self, name: &str) {
        let mut maintenance = PgConnection::connect(&self.maintenance_url).await.unwrap();
        loop {
            let ended: Vec<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            )
            .bind(name)
            .fetch_all(&mut maintenance)
            .await
            .unwrap();
            if ended.is_empty() {
                return;
            }
        }
    }

    async fn maintain(&self, sql: &str) {
        let mut maintenance = PgConnection::connect(&self.maintenance_url).await.unwrap();
        maintenance
            .execute(sqlx::AssertSqlSafe(sql.to_owned()))
            .await
            .unwrap();
        maintenance.close().await.unwrap();
    }
}

impl Drop for Database {
    /// Each takes 8 MB, and a property makes many. A server that is down has nothing to drop.
    fn drop(&mut self) {
        let (url, name) = (self.maintenance_url.clone(), self.name.clone());
        server::in_a_runtime(async move {
            if let Ok(mut maintenance) = PgConnection::connect(&url).await {
                let sql = format!("DROP DATABASE {name} WITH (FORCE)");
                let _ = maintenance.execute(sqlx::AssertSqlSafe(sql)).await;
            }
        });
    }
}

/// Brings the database at this URL to farebox's form.
async fn migrate(url: &str) {
    store::migrate(&url.parse().unwrap(), None).await.unwrap();
}

#[tokio::test]
async fn a_server_of_ones_own_comes_back_on_its_port_however_it_ended() {
    let server = Server::start(Durability::Crash);
    let database = server.database().await;
    let mut raw = database.raw().await;
    raw.execute("CREATE TABLE kept (number bigint)").await.unwrap();
    let ends: [fn(&Server); 3] = [Server::stop_fast, Server::stop_immediately, Server::kill];
    for (number, end) in (1_i64..).zip(ends) {
        let mut raw = database.raw().await;
        sqlx::query("INSERT INTO kept VALUES ($1)")
            .bind(number)
            .execute(&mut raw)
            .await
            .unwrap();
        end(&server);
        raw.execute("SELECT 1").await.unwrap_err();
        server.start_again();
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM kept")
            .fetch_one(&mut database.raw().await)
            .await
            .unwrap();
        assert_eq!(kept, number);
    }
}
