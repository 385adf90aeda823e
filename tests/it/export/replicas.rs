//! Several replicas that deliver from one queue.

use super::receiver::StandIn;
use super::{Bench, settings};
use crate::ledger::samples::{self, entry};
use crate::place::Place;
use farebox::config::ExportFormat::CloudEvents;
use farebox::ledger::{EventId, ExportQueue, PgLedger};
use farebox::store::AccountRow;
use farebox_domain::ledger::{Leased, Settlement};
use farebox_domain::money::Picodollars;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

async fn take(replica: &Bench, limit: u32, hold: Duration) -> Vec<EventId> {
    let taken = replica.ledger.undelivered(limit, hold).await.unwrap();
    taken.iter().map(|item| item.id()).collect()
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<EventId> {
    numbers.map(|number| *samples::id(number).as_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_tell_all_of_it_and_none_of_it_twice() {
    let place = Place::postgres().await;
    let (one, other) = (Bench::open(&place).await, Bench::open(&place).await);
    let (a, b) = tokio::join!(one.ledger.switch_on(), other.ledger.switch_on());
    a.unwrap();
    b.unwrap();
    one.book(0..500).await;
    let receiver = StandIn::start([]).await;
    let settings = settings(&receiver, CloudEvents);
    let delivering = [one.deliver(&settings), other.deliver(&settings)];
    // While both deliver, both book, the same entries in part.
    tokio::join!(one.book(500..1200), other.book(900..1500));
    one.until_delivered().await;
    assert_eq!(receiver.taken_ids(), one.booked_ids().await);
    let told: usize = receiver
        .taken()
        .iter()
        .map(|request| request.events().len())
        .sum();
    assert_eq!(told, 1500, "each once, since the receiver took each");
    let by_each: Vec<u64> = delivering
        .iter()
        .map(|delivering| delivering.exporter.progress().delivered)
        .collect();
    assert!(by_each.iter().all(|delivered| *delivered > 0), "{by_each:?}");
    assert_eq!(by_each.iter().sum::<u64>(), 1500);
    for delivering in delivering {
        delivering.stop().await;
    }
}

#[tokio::test]
async fn what_one_has_taken_the_other_is_not_given_until_its_time_is_over() {
    let place = Place::postgres().await;
    let (one, other) = (Bench::open(&place).await, Bench::open(&place).await);
    one.ledger.switch_on().await.unwrap();
    one.book(0..10).await;
    assert_eq!(take(&one, 4, HOUR).await, ids(0..4));
    assert_eq!(take(&other, 4, HOUR).await, ids(4..8));
    one.ledger.give_back(&ids(1..3)).await.unwrap();
    assert_eq!(
        take(&other, 4, Duration::ZERO).await,
        [ids(1..3), ids(8..10)].concat()
    );
    // Its time is over at once, as that of a replica that died is at last.
    assert_eq!(take(&one, 1, HOUR).await, ids(1..2));
    assert_eq!(
        one.counts().await.pending,
        10,
        "what is taken is still to be told"
    );
    other.ledger.delivered(&ids(4..8)).await.unwrap();
    assert_eq!(one.counts().await.pending, 6);
}

#[tokio::test]
async fn a_write_off_and_its_entry_are_two_events() {
    let place = Place::postgres().await;
    let (store, _own) = place.open().await;
    let mut account = AccountRow::new("acct_a".into(), "a".into(), 1);
    account.credit_limit = Some(Picodollars::ZERO);
    store.create_account(&account).await.unwrap();
    let ledger = PgLedger::open(&store).await.unwrap();
    ledger.switch_on().await.unwrap();
    // Of a lease that nobody gave: it is beyond the balance.
    let late = Settlement {
        entry: entry(1, "acct_a", farebox_domain::price::PriceVersion(1)),
        leased: Leased {
            credit: true,
            ..Leased::default()
        },
    };
    ledger
        .book("replica_a", std::slice::from_ref(&late))
        .await
        .unwrap();
    ledger
        .book("replica_a", std::slice::from_ref(&late))
        .await
        .unwrap();
    let told = ledger.undelivered(10, HOUR).await.unwrap();
    let mut told: Vec<String> = told.iter().map(|item| item.id_text()[..3].to_owned()).collect();
    told.sort();
    assert_eq!(told, ["adj", "req"]);
}
