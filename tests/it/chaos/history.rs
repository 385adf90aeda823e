//! Another database answers in the ledger's place: a new one, or an older copy. Nothing is booked there, nothing is lost,
//! and somebody is told.

use super::proxy::{ChaosProxy, Mode};
use super::{ask, behind_proxies, is_away, leases, verified};
use crate::gateway::{Gateway, engine, eventually};
use crate::postgres::{Database, Server};
use crate::replicas::{all_know_of_the_ceiling, booked, credit, priced, quick};
use farebox::app::StartFault;
use farebox::clock::Clock;
use farebox::store::{HistoryFault, StoreFault};
use farebox_domain::ids::RequestId;
use std::collections::HashSet;
use std::sync::Arc;
use tempfile::TempDir;

/// One replica behind a proxy, with credit, and what it has answered.
struct Bench {
    database: Database,
    replica: Arc<Gateway>,
    proxy: ChaosProxy,
    models: String,
    seen: Vec<RequestId>,
}

impl Bench {
    async fn start() -> Self {
        let simulated = engine(quick()).await;
        let database = Server::shared().database().await;
        let models = priced(&[&simulated.url]);
        let (mut replicas, mut proxies) = behind_proxies(&models, &database, 1, 1).await;
        credit(&replicas[0], "1").await;
        all_know_of_the_ceiling(&replicas).await;
        Self {
            database,
            replica: replicas.pop().unwrap(),
            proxy: proxies.pop().unwrap(),
            models,
            seen: Vec::new(),
        }
    }

    async fn ask(&mut self, times: usize) {
        for _ in 0..times {
            let (id, _) = ask(&self.replica, 10).await.unwrap();
            self.seen.push(id);
        }
    }

    async fn all_is_booked(&self) {
        eventually("the outbox is empty", || self.replica.app.in_outbox() == Some(0)).await;
    }

    /// The replica has looked at what answers, more than once, and turned away.
    async fn looked(&self) {
        let before = self.proxy.ended();
        eventually("it looks at the database", || self.proxy.ended() >= before + 4).await;
    }

    /// Its process dies.
    fn die(self) -> (Database, ChaosProxy, String, TempDir, Vec<RequestId>) {
        let replica = Arc::try_unwrap(self.replica).unwrap_or_else(|_| panic!("a client still has it"));
        (self.database, self.proxy, self.models, replica.die(), self.seen)
    }
}

async fn try_start(
    models: &str,
    data: TempDir,
    database: &Database,
) -> Result<Gateway, (StartFault, TempDir)> {
    Gateway::try_start_by(Clock::system(), models, data, Some(database.parsed_url()), 9).await
}

/// A copy of what a process that runs has in its directory.
fn copy_of(replica: &Gateway) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(replica.data.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

async fn booked_ids(database: &Database) -> HashSet<RequestId> {
    booked(database).await.0.iter().map(|entry| entry.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_booked_in_another_database_and_the_outbox_waits_for_the_right_one() {
    let mut bench = Bench::start().await;
    bench.ask(3).await;
    bench.all_is_booked().await;
    bench.proxy.set(Mode::Refuse);
    bench.ask(5).await;
    let aside = format!("{}_aside", bench.database.name());
    bench.database.rename_to(&aside).await;
    bench.database.make_anew().await;
    bench.proxy.set(Mode::Pass);
    bench.looked().await;

    // It goes on within its leases, and asks for no more: there is no ceiling in that database.
    bench.ask(2).await;
    let refused = ask(&bench.replica, 4_000).await;
    let more = match refused {
        Err(refused) => {
            assert!(is_away(&refused), "{refused:?}");
            0
        }
        // It had so much.
        Ok((id, _)) => {
            bench.seen.push(id);
            1
        }
    };
    assert_eq!(bench.replica.app.in_outbox(), Some(7 + more));
    let mut raw = bench.database.raw().await;
    for table in [
        "entries",
        "replicas",
        "leases",
        "bookings",
        "accounts",
        "price_versions",
    ] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut raw).await.unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    drop(raw);
    // A start says what is the matter.
    let (fault, _) = try_start(&bench.models, copy_of(&bench.replica), &bench.database)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(
            &fault,
            StartFault::Store(StoreFault::History(HistoryFault::Other { .. }))
        ),
        "{fault}"
    );
    assert!(
        fault
            .to_string()
            .contains("not the ledger that this data directory books in"),
        "{fault}"
    );

    bench.proxy.set(Mode::Refuse);
    bench.database.rename_from(&aside).await;
    bench.proxy.set(Mode::Pass);
    bench.all_is_booked().await;
    bench.ask(1).await;
    let Bench {
        database,
        replica,
        seen,
        ..
    } = bench;
    Arc::try_unwrap(replica)
        .unwrap_or_else(|_| panic!("a client still has it"))
        .stop()
        .await;
    assert_eq!(booked_ids(&database).await, seen.into_iter().collect());
    verified(&database).await;
    assert_eq!(leases(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_ledger_is_not_booked_in_before_somebody_says_so() {
    let mut bench = Bench::start().await;
    bench.ask(3).await;
    bench.all_is_booked().await;
    let (backup, aside) = (
        format!("{}_backup", bench.database.name()),
        format!("{}_aside", bench.database.name()),
    );
    bench.proxy.set(Mode::Refuse);
    bench.database.copy_to(&backup).await;
    bench.proxy.set(Mode::Pass);
    // What the copy lacks.
    bench.ask(4).await;
    bench.all_is_booked().await;
    let lost: Vec<RequestId> = bench.seen.split_off(3);
    bench.proxy.set(Mode::Refuse);
    bench.database.rename_to(&aside).await;
    bench.database.rename_from(&backup).await;
    bench.proxy.set(Mode::Pass);
    bench.looked().await;
    bench.ask(5).await;
    assert_eq!(bench.replica.app.in_outbox(), Some(5), "kept");
    bench.proxy.set(Mode::Refuse);
    let (database, _proxy, models, data, seen) = bench.die();
    let (fault, data) = try_start(&models, data, &database).await.err().unwrap();
    assert!(
        matches!(
            &fault,
            StartFault::Store(StoreFault::History(HistoryFault::Older { .. }))
        ),
        "{fault}"
    );
    assert!(
        fault.to_string().contains("lacks bookings that it had confirmed"),
        "{fault}"
    );
    // The operator has no newer one, and says so.
    std::fs::remove_file(data.path().join("ledger.mark")).unwrap();
    let Ok(again) = try_start(&models, data, &database).await else {
        panic!("it starts")
    };
    again.stop().await;
    let booked = booked_ids(&database).await;
    assert_eq!(booked, seen.into_iter().collect());
    assert!(lost.iter().all(|id| !booked.contains(id)));
    verified(&database).await;
    assert_eq!(leases(&database).await, 0);
    database.drop_also(&aside).await;
}
