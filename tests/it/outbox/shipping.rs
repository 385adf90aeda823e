//! Shipping: in order, at least once, and once in the ledger.

use super::targets::{Fate, Target, shared};
use super::{ids, open, raw, settlement, settlements};
use crate::gateway::eventually;
use crate::ledger::samples::id;
use farebox::ledger::{Journal, Ledger, LedgerFault, MAX_BATCH, Outbox, Shipper};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::Settlement;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(120);

/// The first time that each was booked.
fn firsts(booked: &[Settlement]) -> Vec<RequestId> {
    let mut seen = HashSet::new();
    ids(booked).into_iter().filter(|id| seen.insert(*id)).collect()
}

async fn record_all(outbox: &Outbox, all: &[Settlement]) {
    for batch in all.chunks(MAX_BATCH) {
        outbox.record(batch).await.unwrap();
    }
}

#[tokio::test]
async fn a_record_wakes_the_shipper_and_what_was_shipped_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    let (target, bookkeeper) = shared(Target::new());
    let shipper = Arc::new(Shipper::new(Arc::clone(&outbox), bookkeeper));
    let stop = CancellationToken::new();
    let (running, stopped) = (Arc::clone(&shipper), stop.clone());
    let run = tokio::spawn(async move { running.run(stopped).await });
    for number in 0..5 {
        outbox.record(&[settlement(number)]).await.unwrap();
        eventually("it is shipped and removed", || {
            target.booked().len() as u64 == number + 1 && outbox.pending() == 0
        })
        .await;
    }
    stop.cancel();
    run.await.unwrap();
    // Nobody ships any more; a drain does.
    outbox.record(&[settlement(5)]).await.unwrap();
    assert_eq!(outbox.pending(), 1);
    assert_eq!(shipper.drain(LONG).await, 0);
    assert_eq!(target.booked(), settlements(0..6));
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_says_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    outbox.record(&settlements(0..7)).await.unwrap();
    let (target, bookkeeper) = shared(Target::new());
    target.set_away(true);
    let shipper = Shipper::new(Arc::clone(&outbox), bookkeeper);
    assert_eq!(shipper.drain(Duration::from_millis(1)).await, 7);
    target.set_away(false);
    assert_eq!(shipper.drain(LONG).await, 0);
}

#[tokio::test]
async fn an_outage_is_queued_and_drained_in_order() {
    const ENTRIES: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    let (target, _ledger) = Target::embedded().await;
    let (target, bookkeeper) = shared(target);
    target.set_away(true);
    let shipper = Arc::new(Shipper::new(Arc::clone(&outbox), bookkeeper));
    let stop = CancellationToken::new();
    let (running, stopped) = (Arc::clone(&shipper), stop.clone());
    let run = tokio::spawn(async move { running.run(stopped).await });
    let all = settlements(0..ENTRIES);
    record_all(&outbox, &all).await;
    target.attempted.notified().await;
    assert_eq!((outbox.pending(), target.booked().len()), (ENTRIES, 0));

    target.set_away(false);
    assert_eq!(shipper.drain(LONG).await, 0);
    assert_eq!(ids(&target.booked()), ids(&all));
    let verified = target.ledger().verify().await.unwrap();
    assert_eq!((verified.entries, verified.discrepancies), (ENTRIES, vec![]));
    // What the outage took of the disk is given back: 20,000 settlements are more than 2,500 pages.
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&mut raw(folder.path()).await)
        .await
        .unwrap();
    assert!(pages < 1_200, "{pages} pages");
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_recorded_while_it_ships_keeps_its_order() {
    const EACH: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    let (target, bookkeeper) = shared(Target::new());
    let shipper = Arc::new(Shipper::new(Arc::clone(&outbox), bookkeeper));
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    for recorder in 0..4 {
        let outbox = Arc::clone(&outbox);
        tasks.spawn(async move {
            for number in 0..EACH {
                outbox
                    .record(&[settlement(recorder * EACH + number)])
                    .await
                    .unwrap();
            }
        });
    }
    let (running, stopped) = (Arc::clone(&shipper), stop.clone());
    let run = tokio::spawn(async move { running.run(stopped).await });
    tasks.join_all().await;
    // Beside the one that runs.
    assert_eq!(shipper.drain(LONG).await, 0);
    stop.cancel();
    run.await.unwrap();
    let booked = ids(&target.booked());
    assert_eq!(booked.len() as u64, 4 * EACH);
    for recorder in 0..4 {
        let own: Vec<RequestId> = (recorder * EACH..(recorder + 1) * EACH).map(id).collect();
        let in_order: Vec<RequestId> = booked.iter().copied().filter(|id| own.contains(id)).collect();
        assert_eq!(in_order, own);
    }
}

#[tokio::test]
async fn what_the_ledger_refuses_for_itself_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    let all = settlements(0..1_000);
    record_all(&outbox, &all).await;
    let (target, _ledger) = Target::embedded().await;
    let target = target
        .refusing(id(3), || LedgerFault::Overflow)
        .refusing(id(4), || LedgerFault::OutOfRange {
            id: "it".to_owned(),
            column: "cost",
        })
        .refusing(id(700), || LedgerFault::TooMany(1))
        .with_fates([Fate::FailsBefore]);
    sqlx::query("UPDATE outbox SET body = '{}' WHERE seq = 10")
        .execute(&mut raw(folder.path()).await)
        .await
        .unwrap();
    let (target, bookkeeper) = shared(target);
    let shipper = Shipper::new(Arc::clone(&outbox), bookkeeper);
    assert_eq!(shipper.drain(LONG).await, 0);
    let booked: Vec<RequestId> = ids(&target.booked());
    let aside = [id(3), id(4), id(9), id(700)];
    let expected: Vec<RequestId> = ids(&all).into_iter().filter(|id| !aside.contains(id)).collect();
    assert_eq!(booked, expected);
    drop((shipper, outbox));

    let reopened = open(folder.path()).await;
    assert_eq!((reopened.pending(), reopened.refused_count()), (0, 4));
    let refused = reopened.refused().await.unwrap();
    let listed: Vec<(u64, &str)> = refused
        .iter()
        .map(|refused| (refused.number, refused.reason.as_str()))
        .collect();
    insta::assert_debug_snapshot!(listed, @r#"
    [
        (
            4,
            "a sum is outside the range that can be represented",
        ),
        (
            5,
            "it cannot be booked: its cost is outside the range that can be stored",
        ),
        (
            10,
            "it cannot be read back from the outbox",
        ),
        (
            701,
            "1 entries are more than one commit takes",
        ),
    ]
    "#);
    let body: Settlement = serde_json::from_str(&refused[0].body).unwrap();
    assert_eq!(body, settlement(3));
}

#[derive(Debug, Clone)]
struct Round {
    batches: Vec<usize>,
    fates: Vec<Fate>,
    restart: bool,
}

/// Never two failures in a row: the wait after a first one is short.
fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let fate = prop_oneof![Just(Fate::FailsBefore), Just(Fate::FailsAfter)];
    let round = (
        proptest::collection::vec(1..=MAX_BATCH, 1..4),
        proptest::collection::vec(fate, 0..3),
        any::<bool>(),
    );
    let round = round.prop_map(|(batches, failures, restart)| Round {
        batches,
        fates: failures
            .into_iter()
            .flat_map(|fate| [fate, Fate::Booked])
            .collect(),
        restart,
    });
    proptest::collection::vec(round, 1..4)
}

/// Ships after each round, with the failures that the round has, and restarts in between.
async fn ship_through(rounds: Vec<Round>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path()).await;
    let (mut target, ledger_folder) = Target::embedded().await;
    let (mut all, mut booked) = (Vec::new(), Vec::new());
    for round in rounds {
        for len in round.batches {
            let next = all.len() as u64;
            let batch = settlements(next..next + len as u64);
            outbox.record(&batch).await.unwrap();
            all.extend(batch);
        }
        target = target.with_fates(round.fates);
        let (shipped_to, bookkeeper) = shared(target);
        let shipper = Shipper::new(Arc::clone(&outbox), bookkeeper);
        prop_assert_eq!(shipper.drain(LONG).await, 0);
        drop(shipper);
        booked = shipped_to.booked();
        target = Arc::into_inner(shipped_to).unwrap();
        if round.restart {
            drop(outbox);
            outbox = open(folder.path()).await;
        }
    }
    prop_assert_eq!(firsts(&booked), ids(&all));
    let verified = target.ledger().verify().await.unwrap();
    prop_assert_eq!(verified.discrepancies_total, 0);
    prop_assert_eq!(verified.entries, all.len() as u64);
    drop(ledger_folder);
    Ok(())
}

#[test]
fn the_ledger_has_each_settlement_once_and_in_order_whatever_fails() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let held = runner.run(&rounds(), |rounds| runtime.block_on(ship_through(rounds)));
    if let Err(fault) = held {
        panic!("{fault}");
    }
}
