//! A replica that dies with leases out: who may spend them, until when, and what becomes of what it brings later.

use super::proxy::{ChaosProxy, Mode};
use super::wire::spend_the_rest;
use super::{ask, behind_proxies, leases, standing, verified};
use crate::gateway::{ACCOUNT, Gateway, engine, eventually};
use crate::ledger::samples::{adjustment, entry};
use crate::postgres::{Database, Server};
use crate::replicas::{TOKEN, all_know_of_the_ceiling, booked, credit, priced, quick};
use farebox::ledger::{AdjustmentPage, Ledger, PgLedger};
use farebox::store::{AccountRow, Store};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Entry, Leased, Settlement};
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const CREDIT: i128 = 10_000 * TOKEN;

/// Two replicas with a dollar between them, of which the first dies. It has a lease of half of it, and in its outbox what
/// it served while it could not be reached.
struct Dead {
    database: Database,
    models: String,
    data: TempDir,
    other: Arc<Gateway>,
    /// What is left of the dead one in this process reaches nothing as long as these are there.
    _proxies: Vec<ChaosProxy>,
    /// What it served.
    served: Vec<(RequestId, u64)>,
}

async fn die_with_leases() -> Dead {
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let models = priced(&[&simulated.url]);
    let (mut replicas, proxies) = behind_proxies(&models, &database, 2, 1).await;
    credit(&replicas[0], "1").await;
    all_know_of_the_ceiling(&replicas).await;
    let mut served = vec![ask(&replicas[0], 10).await.unwrap()];
    eventually("it is booked", || replicas[0].app.in_outbox() == Some(0)).await;
    proxies[0].set(Mode::Refuse);
    for _ in 0..30 {
        served.push(ask(&replicas[0], 100).await.unwrap());
    }
    let other = replicas.pop().unwrap();
    let dead = Arc::try_unwrap(replicas.pop().unwrap()).unwrap_or_else(|_| panic!("a client still has it"));
    Dead {
        database,
        models,
        data: dead.die(),
        other,
        _proxies: proxies,
        served,
    }
}

async fn lease_of(database: &Database, dead: &TempDir) -> i128 {
    let id = std::fs::read_to_string(dead.path().join("replica.id")).unwrap();
    let leased: String =
        sqlx::query_scalar("SELECT coalesce(sum(leased), 0)::text FROM leases WHERE replica = $1")
            .bind(id)
            .fetch_one(&mut database.raw().await)
            .await
            .unwrap();
    leased.parse().unwrap()
}

/// Asks for 100 tokens at a time until there is not enough; returns what was answered.
async fn spend_all(replica: &Gateway) -> Vec<(RequestId, u64)> {
    let mut seen = Vec::new();
    loop {
        match ask(replica, 100).await {
            Ok(answer) => seen.push(answer),
            Err((402, code)) => {
                assert_eq!(code, "insufficient_balance");
                return seen;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn cost(seen: &[(RequestId, u64)]) -> i128 {
    seen.iter().map(|(_, tokens)| i128::from(*tokens) * TOKEN).sum()
}

async fn stop(replica: Arc<Gateway>) {
    let replica = Arc::try_unwrap(replica).unwrap_or_else(|_| panic!("a client still has it"));
    replica.stop().await;
}

async fn write_offs(database: &Database) -> Vec<Adjustment> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::connect(folder.path(), &database.parsed_url())
        .await
        .unwrap();
    let page = AdjustmentPage {
        limit: 10_000,
        ..AdjustmentPage::default()
    };
    let all = PgLedger::open(&store)
        .await
        .unwrap()
        .adjustments(&page)
        .await
        .unwrap();
    all.into_iter()
        .filter(|one| one.kind == AdjustmentKind::WriteOff)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_replica_has_is_nobody_elses_until_it_is_back() {
    let Dead {
        database,
        models,
        data,
        other,
        served,
        _proxies,
    } = die_with_leases().await;
    let kept = lease_of(&database, &data).await;
    assert!(kept >= cost(&served[1..]), "what it served is of its lease");
    let mut seen = spend_all(&other).await;
    assert_eq!(lease_of(&database, &data).await, kept);
    assert!(
        cost(&seen) <= CREDIT - cost(&served[..1]) - kept,
        "of what the dead one has, nothing"
    );
    // It is back: what it served is booked, and the rest of its lease is for whoever asks.
    let again = Arc::new(Gateway::start_in(&models, data, Some(database.parsed_url()), 9).await);
    seen.extend(served);
    spend_the_rest(&[again.clone(), other.clone()], &database, &mut seen).await;
    stop(again).await;
    stop(other).await;
    assert_eq!(write_offs(&database).await, []);
    let (entries, _) = booked(&database).await;
    assert_eq!(entries.len(), seen.len());
    assert!(standing(&database, "credit", ACCOUNT).await.spent <= 0);
    verified(&database).await;
    assert_eq!(leases(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_after_the_deadline_is_booked_and_written_off_beyond_the_balance() {
    let Dead {
        database,
        models,
        data,
        other,
        served,
        _proxies,
    } = die_with_leases().await;
    let mut seen = spend_all(&other).await;
    assert!(lease_of(&database, &data).await > 0);
    let lessor = Arc::clone(other.app.pipeline.leases.as_ref().unwrap().lessor());
    // Its deadline passes.
    crate::replicas::until(async || {
        lessor.beat(Duration::from_millis(1)).await.unwrap();
        lease_of(&database, &data).await == 0
    })
    .await;
    spend_the_rest(std::slice::from_ref(&other), &database, &mut seen).await;
    stop(other).await;
    let spent = cost(&seen) + cost(&served);
    assert!(spent > CREDIT, "the same money was spent twice");
    Gateway::start_in(&models, data, Some(database.parsed_url()), 9)
        .await
        .stop()
        .await;

    let (entries, _) = booked(&database).await;
    assert_eq!(entries.len(), seen.len() + served.len(), "all of it is booked");
    let write_offs = write_offs(&database).await;
    let written_off: i128 = write_offs.iter().map(|one| one.amount.get()).sum();
    assert_eq!(written_off, spent - CREDIT, "to the picodollar");
    let costs: HashMap<RequestId, i128> = entries.iter().map(|entry| (entry.id, entry.cost.get())).collect();
    for one in &write_offs {
        let of = one.request.unwrap();
        assert!(served[1..].iter().any(|(id, _)| *id == of), "of what came late");
        assert!(one.amount.get() > 0 && one.amount.get() <= costs[&of]);
        assert_eq!(one.reference, format!("late:{of}"));
    }
    assert_eq!(
        standing(&database, "credit", ACCOUNT).await.spent,
        0,
        "the account has nothing, and owes nothing"
    );
    verified(&database).await;
    assert_eq!(leases(&database).await, 0);
}

fn settled(entry: Entry, leased: Leased) -> Settlement {
    Settlement { entry, leased }
}

/// The amounts, one by one, and each once however often it is booked.
#[tokio::test]
async fn each_entry_that_comes_late_is_written_off_until_the_account_is_at_its_ceiling() {
    const OF: &str = "acct_late";
    let database = Server::shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::connect(folder.path(), &database.parsed_url())
        .await
        .unwrap();
    let ledger = PgLedger::open(&store).await.unwrap();
    let mut account = AccountRow::new(OF.into(), "late".into(), 1);
    account.credit_limit = Some(Picodollars::new(7));
    store.create_account(&account).await.unwrap();
    let all: Vec<Entry> = (0..5).map(|number| entry(number, OF, PriceVersion(1))).collect();
    let costs: Vec<i128> = all.iter().map(|entry| entry.cost.get()).collect();
    // The first is paid for, and booked in time; of the others, all but a half of the second is beyond what there is.
    let paid = costs[0] + costs[1] / 2;
    ledger
        .adjust(&[adjustment(1, OF, i64::try_from(paid).unwrap())])
        .await
        .unwrap();
    let (credit, month) = (
        Leased {
            credit: true,
            ..Leased::default()
        },
        Leased {
            account_month: true,
            key_month: true,
            ..Leased::default()
        },
    );
    ledger
        .book("replica", &[settled(all[0].clone(), Leased::default())])
        .await
        .unwrap();
    assert_eq!(
        write_offs(&database).await,
        [],
        "what was spent of no lease is not late"
    );
    ledger
        .book("replica", &[settled(all[1].clone(), month)])
        .await
        .unwrap();
    assert_eq!(
        write_offs(&database).await,
        [],
        "a month has nothing that could be written off"
    );
    let late: Vec<Settlement> = all[2..]
        .iter()
        .map(|entry| settled(entry.clone(), credit))
        .collect();
    // It may owe seven picodollars, so it does.
    let mut over = costs.iter().sum::<i128>() - paid - 7;
    for _ in 0..3 {
        ledger.book("replica", &late).await.unwrap();
        ledger.book("replica", &late[1..2]).await.unwrap();
    }
    let written_off = write_offs(&database).await;
    for one in &late {
        let expected = over.min(one.entry.cost.get());
        over -= expected;
        let found: Vec<_> = written_off
            .iter()
            .filter(|of| of.request == Some(one.entry.id))
            .collect();
        match expected {
            0 => assert_eq!(found.len(), 0),
            _ => assert_eq!((found.len(), found[0].amount.get()), (1, expected)),
        }
    }
    // The half of the second that is beyond the balance was spent of no lease of it: nobody else had that money.
    assert_eq!(standing(&database, "credit", OF).await.spent, 7 + over);
}
