//! The ledger in SQLite: the conformance suite, and what is particular to it.

use super::conformance::{Bench, balances_are_the_fold, conformance, sold};
use super::samples::{balance, cost_sum, entries, entry, id};
use farebox::clock::Clock;
use farebox::ledger::{Discrepancy, Ledger, Settler, SqliteLedger};
use farebox::store::{PriceSource, Store};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Entry, Settlement};
use farebox_domain::price::PriceVersion;
use sqlx::Executor;
use sqlx::sqlite::SqliteConnection;
use std::collections::VecDeque;
use std::future::Future;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use tempfile::TempDir;

struct SqliteBench {
    ledger: SqliteLedger,
    version: PriceVersion,
    directory: TempDir,
}

impl SqliteBench {
    /// A connection that knows no rules.
    async fn raw(&self) -> SqliteConnection {
        crate::store::sqlite::raw(self.directory.path()).await
    }
}

impl Bench for SqliteBench {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let (model, price) = sold();
        let version = store
            .add_price(&model, &price, Some(1), PriceSource::Catalog, 1)
            .await
            .unwrap();
        let ledger = SqliteLedger::open(&store).await.unwrap();
        Self {
            ledger,
            version,
            directory,
        }
    }

    fn ledger(&self) -> &dyn Ledger {
        &self.ledger
    }

    fn version(&self) -> PriceVersion {
        self.version
    }

    async fn overwrite_cost(&self, id: RequestId, picodollars: i64) {
        let mut raw = self.raw().await;
        raw.execute("DROP TRIGGER entries_are_not_updated").await.unwrap();
        sqlx::query("UPDATE entries SET cost_picodollars = ? WHERE id = ?")
            .bind(picodollars)
            .bind(id.as_bytes().as_slice())
            .execute(&mut raw)
            .await
            .unwrap();
    }

    async fn refuse(&self, number: u64) {
        let trouble = format!(
            "CREATE TRIGGER trouble BEFORE INSERT ON entries WHEN NEW.queue_us = {number}
             BEGIN SELECT RAISE(ABORT, 'trouble'); END"
        );
        self.raw()
            .await
            .execute(sqlx::AssertSqlSafe(trouble))
            .await
            .unwrap();
    }

    async fn refuse_no_more(&self) {
        self.raw().await.execute("DROP TRIGGER trouble").await.unwrap();
    }

    async fn overwrite_rollups(&self, account: &str, picodollars: u32) {
        sqlx::query("UPDATE usage_rollups SET cost_high = 0, cost_low = ? WHERE account = ?")
            .bind(picodollars)
            .bind(account)
            .execute(&mut self.raw().await)
            .await
            .unwrap();
    }
}

conformance! { SqliteBench }

#[test]
fn balances_are_the_fold_of_entries() {
    balances_are_the_fold::<SqliteBench>();
}

#[tokio::test]
async fn the_database_refuses_to_change_or_remove_what_is_booked() {
    let bench = SqliteBench::open().await;
    let booked = entries(0..3, "acct_a", bench.version);
    bench.ledger.commit(&booked).await.unwrap();
    for forbidden in [
        "UPDATE entries SET cost_picodollars = 0",
        "DELETE FROM entries",
        "UPDATE price_versions SET price = '{}'",
        "DELETE FROM price_versions",
    ] {
        let refused = bench.raw().await.execute(forbidden).await.unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains("append-only") || message.contains("never"),
            "{forbidden}: {message}"
        );
    }
    assert_eq!(
        bench.ledger.entry(id(1)).await.unwrap().as_ref(),
        Some(&booked[1])
    );
}

/// SQLite deletes for a REPLACE without asking a trigger, so this goes past the rule; the balance tells.
#[tokio::test]
async fn an_entry_that_was_replaced_by_hand_is_found() {
    let bench = SqliteBench::open().await;
    let booked = entries(0..3, "acct_a", bench.version);
    bench.ledger.commit(&booked).await.unwrap();
    let by_hand = "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE queue_us = 1";
    bench.raw().await.execute(by_hand).await.unwrap();
    let verified = bench.ledger.verify().await.unwrap();
    assert!(
        matches!(verified.discrepancies[..], [Discrepancy::Rollup { .. }]),
        "{:?}",
        verified.discrepancies
    );
}

#[tokio::test]
async fn a_commit_that_is_dropped_on_its_way_books_all_or_nothing() {
    let bench = SqliteBench::open().await;
    let mut next = 0;
    for polls in 0..40 {
        let batch = entries(next..next + 5, "acct_a", bench.version);
        next += 5;
        {
            let mut commit = std::pin::pin!(bench.ledger.commit(&batch));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if commit.as_mut().poll(&mut context).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Whatever became of it, the same commit again is right.
        bench.ledger.commit(&batch).await.unwrap();
    }
    let verified = bench.ledger.verify().await.unwrap();
    assert_eq!((verified.entries, verified.discrepancies), (next, vec![]));
}

#[tokio::test]
async fn what_is_booked_is_there_after_a_restart() {
    let SqliteBench {
        ledger,
        version,
        directory,
    } = SqliteBench::open().await;
    let all = entries(0..8, "acct_a", version);
    ledger.commit(&all[..5]).await.unwrap();
    drop(ledger);
    let store = Store::open(directory.path()).await.unwrap();
    let reopened = SqliteLedger::open(&store).await.unwrap();
    reopened.commit(&all[3..]).await.unwrap();
    assert_eq!(balance(&reopened, "acct_a").await, (cost_sum(&all), 8));
    assert_eq!(reopened.verify().await.unwrap().discrepancies, []);
}

#[tokio::test]
async fn verify_reports_a_row_that_is_no_entry_and_still_folds_its_cost() {
    let bench = SqliteBench::open().await;
    let booked = [entry(1, "acct_a", bench.version)];
    bench.ledger.commit(&booked).await.unwrap();
    let mut raw = bench.raw().await;
    raw.execute("DROP TRIGGER entries_are_not_updated").await.unwrap();
    raw.execute("UPDATE entries SET state = 'lost'").await.unwrap();
    let verified = bench.ledger.verify().await.unwrap();
    let expected = Discrepancy::Unreadable {
        id: id(1).to_string(),
        booked: "lost".to_owned(),
        expected: "state",
    };
    assert_eq!(verified.discrepancies, [expected]);
}

/// How often the log has begun anew. https://www.sqlite.org/fileformat2.html#walformat
fn begun(directory: &Path) -> u32 {
    let mut log = std::fs::File::open(directory.join("farebox.sqlite-wal")).unwrap();
    let pages = log.metadata().unwrap().len() / 4096;
    assert!(pages < 30_000, "the log grows for ever");
    let mut header = [0; 16];
    log.read_exact(&mut header).unwrap();
    u32::from_be_bytes(header[12..].try_into().unwrap())
}

/// Has these requests settled until the log begins anew, as they are told.
async fn until_the_log_begins_anew(requests: impl AsyncFnOnce(&Settler, PriceVersion, &dyn Fn() -> bool)) {
    let SqliteBench {
        ledger,
        version,
        directory,
    } = SqliteBench::open().await;
    let (settler, settling) = Settler::new(Arc::new(ledger), Clock::system(), Arc::new(()));
    let before = begun(directory.path());
    let requests = async {
        requests(&settler, version, &|| begun(directory.path()) == before).await;
        settler.close().await;
    };
    tokio::join!(settling, requests);
}

#[tokio::test]
async fn the_log_begins_anew_while_commits_go_on() {
    until_the_log_begins_anew(async |settler, version, is_old| {
        let mut numbers = 0..;
        let mut settle = || {
            let number = numbers.next().unwrap();
            let entry = entry(number, &format!("acct_{}", number % 500), version);
            settler.settle(Settlement::unleased(entry))
        };
        // Always more than a commit takes.
        let mut waiting: VecDeque<_> = (0..2000).map(|_| settle()).collect();
        while is_old() {
            for _ in 0..500 {
                waiting.pop_front().unwrap().await.unwrap().unwrap();
                waiting.push_back(settle());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_log_begins_anew_by_checkpoints_of_open_requests() {
    until_the_log_begins_anew(async |settler, version, is_old| {
        // Two pages each, and never what is there already, which SQLite would not write again.
        let open = |text: &str| -> Vec<_> {
            let long = Some(text.repeat(7_000));
            let open = (0..512).map(|number| Entry {
                client_request_id: long.clone(),
                ..entry(number, "acct_a", version)
            });
            open.map(Settlement::unleased).collect()
        };
        let mut open = ["x", "y"].map(open).into_iter().cycle();
        let mut numbers = 512..;
        while is_old() {
            settler.checkpoint(open.next().unwrap());
            // It is settled before the checkpoint that came with it, and after the one before.
            let number = numbers.next().unwrap();
            let receipt = settler.settle(Settlement::unleased(entry(number, "acct_a", version)));
            receipt.await.unwrap().unwrap();
        }
    })
    .await;
}
