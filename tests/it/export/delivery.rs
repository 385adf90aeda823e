//! What arrives, and when it does not.

use super::receiver::{StandIn, Trouble};
use super::{Bench, adjustment, settings};
use crate::ledger::samples;
use crate::place::{Place, on_both};
use farebox::config::ExportFormat::CloudEvents;
use farebox::ledger::MAX_BATCH;
use farebox_domain::ledger::AdjustmentKind;
use std::time::Duration;

on_both! {
    everything_arrives_whatever_the_receiver_does,
    a_restart_in_the_middle_loses_nothing,
    an_event_that_is_refused_holds_up_nobody_and_can_be_tried_again,
    a_key_that_is_not_taken_sets_nothing_aside,
    nothing_is_kept_for_a_receiver_while_it_is_off,
    what_was_booked_before_is_told_if_it_is_asked_for,
    a_row_that_cannot_be_read_is_set_aside,
}

fn every_trouble() -> Vec<Trouble> {
    vec![
        Trouble::Answers(500, "", "no"),
        Trouble::ClosesAtOnce,
        Trouble::Silent,
        Trouble::ClosesMidHead,
        Trouble::TakesAndCloses,
        Trouble::Answers(429, "retry-after: 0\r\n", ""),
        Trouble::Answers(503, "retry-after: soon\r\n", ""),
        Trouble::Answers(302, "location: http://127.0.0.1:1/\r\n", ""),
        Trouble::TakesAndClosesMidBody,
        Trouble::Answers(408, "", ""),
        Trouble::TakesAndCloses,
    ]
}

async fn everything_arrives_whatever_the_receiver_does(place: Place) {
    let bench = Bench::open(&place).await;
    bench.ledger.switch_on().await.unwrap();
    bench.book(0..40).await;
    let adjustments = [
        AdjustmentKind::Credit,
        AdjustmentKind::Refund,
        AdjustmentKind::Correction,
    ];
    let adjustments: Vec<_> = (0..)
        .zip(adjustments)
        .map(|(n, kind)| adjustment(n, kind))
        .collect();
    bench.ledger.adjust(&adjustments).await.unwrap();

    let receiver = StandIn::start(every_trouble()).await;
    let delivering = bench.deliver(&settings(&receiver, CloudEvents));
    bench.until_delivered().await;
    assert_eq!(receiver.troubles_left(), 0, "all of it was gone through");
    assert_eq!(receiver.taken_ids(), bench.booked_ids().await);
    let told: usize = receiver
        .taken()
        .iter()
        .map(|request| request.events().len())
        .sum();
    assert!(told > 43, "what was taken without an answer was told again");
    let progress = delivering.exporter.progress();
    assert_eq!((progress.delivered, progress.failing), (43, false));
    assert!(progress.last_failure.is_some());

    // And what comes while it runs. An entry that is booked twice is told of once.
    let before = receiver.taken().len();
    bench.book(30..50).await;
    bench.until_delivered().await;
    assert_eq!(receiver.taken_ids(), bench.booked_ids().await);
    let told_again = samples::id(35).to_string();
    let later = receiver.taken().split_off(before);
    assert!(later.iter().all(|request| !request.body.contains(&told_again)));
    delivering.stop().await;
}

async fn a_restart_in_the_middle_loses_nothing(place: Place) {
    let receiver = StandIn::start([]).await;
    for round in 0..5_u64 {
        let bench = Bench::open(&place).await;
        bench.ledger.switch_on().await.unwrap();
        bench.book(round * 100..round * 100 + 100).await;
        let requests = receiver.requests();
        receiver.silent_after(Some(1));
        let delivering = bench.deliver(&settings(&receiver, CloudEvents));
        // Somewhere in the middle: as soon as it has told of something.
        while receiver.requests() == requests {
            tokio::task::yield_now().await;
        }
        delivering.stop().await;
        assert!(bench.counts().await.pending > 0, "it was the middle");
    }
    receiver.silent_after(None);
    let bench = Bench::open(&place).await;
    let delivering = bench.deliver(&settings(&receiver, CloudEvents));
    bench.until_delivered().await;
    assert_eq!(receiver.taken_ids(), bench.booked_ids().await);
    delivering.stop().await;
}

async fn an_event_that_is_refused_holds_up_nobody_and_can_be_tried_again(place: Place) {
    let bench = Bench::open(&place).await;
    bench.ledger.switch_on().await.unwrap();
    bench.book(0..20).await;
    let receiver = StandIn::start([]).await;
    let (first, second) = (samples::id(3).to_string(), samples::id(11).to_string());
    receiver.refuse(first.clone(), 400, "no such\u{7} subject");
    receiver.refuse(second.clone(), 422, "");
    let delivering = bench.deliver(&settings(&receiver, CloudEvents));
    bench.until_delivered().await;
    let counts = bench.counts().await;
    let refused: Vec<_> = counts
        .first_refused
        .iter()
        .map(|(id, refused)| (id.clone(), refused.status, refused.reason.as_str()))
        .collect();
    assert_eq!(
        refused,
        [
            (first.clone(), 400, "no such\u{7} subject"),
            (second.clone(), 422, "")
        ]
    );
    let mut expected = bench.booked_ids().await;
    expected.remove(&first);
    expected.remove(&second);
    assert_eq!(receiver.taken_ids(), expected);

    receiver.refuse_no_more();
    assert_eq!(bench.ledger.retry_refused().await.unwrap(), 2);
    bench.until_delivered().await;
    assert_eq!(receiver.taken_ids(), bench.booked_ids().await);
    assert_eq!(bench.counts().await.refused, 0);
    delivering.stop().await;
}

async fn a_key_that_is_not_taken_sets_nothing_aside(place: Place) {
    let bench = Bench::open(&place).await;
    bench.ledger.switch_on().await.unwrap();
    bench.book(0..20).await;
    let wrong = [401, 403, 404, 405].map(|status| Trouble::Answers(status, "", "who are you"));
    let receiver = StandIn::start(wrong).await;
    let delivering = bench.deliver(&settings(&receiver, CloudEvents));
    bench.until_delivered().await;
    assert_eq!(bench.counts().await.refused, 0);
    assert_eq!(receiver.taken_ids(), bench.booked_ids().await);
    let head = receiver.taken()[0].head.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer the-key"), "{head}");
    assert!(
        head.contains("content-type: application/cloudevents-batch+json"),
        "{head}"
    );
    delivering.stop().await;
}

async fn nothing_is_kept_for_a_receiver_while_it_is_off(place: Place) {
    let bench = Bench::open(&place).await;
    bench.book(0..10).await;
    assert_eq!(bench.counts().await, Default::default());

    bench.ledger.switch_on().await.unwrap();
    bench.ledger.switch_on().await.unwrap();
    assert_eq!(
        bench.counts().await.pending,
        0,
        "what was booked before is not told"
    );
    bench.book(0..12).await;
    assert_eq!(
        bench.counts().await.pending,
        2,
        "an entry that was there is not new"
    );

    bench.ledger.switch_off().await.unwrap();
    bench.book(12..20).await;
    assert_eq!(bench.counts().await, Default::default());
    let triggers = place.export_triggers().await;
    assert_eq!(triggers, 0, "a settlement pays nothing for what is off");
}

async fn what_was_booked_before_is_told_if_it_is_asked_for(place: Place) {
    let bench = Bench::open(&place).await;
    let booked = 5 * u64::try_from(MAX_BATCH).unwrap();
    bench.book(0..booked).await;
    bench
        .ledger
        .adjust(&[adjustment(0, AdjustmentKind::Credit)])
        .await
        .unwrap();
    bench.ledger.switch_on().await.unwrap();
    // Sample 1000 was admitted a second after the first; the adjustment was booked with the first.
    let since_ms = samples::ADMITTED_AT_MS + 1000;
    assert_eq!(bench.ledger.backfill(since_ms).await.unwrap(), booked - 1000);
    assert_eq!(
        bench.ledger.backfill(since_ms).await.unwrap(),
        0,
        "they wait already"
    );
    assert_eq!(bench.ledger.backfill(0).await.unwrap(), 1001);
    let items = bench.ledger.undelivered(1000, Duration::ZERO).await.unwrap();
    assert_eq!(items.len(), 1000);
    assert!(items.iter().map(|item| item.id()).is_sorted());
    assert_eq!(items[999].made_at_ms(), samples::ADMITTED_AT_MS);
}

async fn a_row_that_cannot_be_read_is_set_aside(place: Place) {
    let bench = Bench::open(&place).await;
    bench.ledger.switch_on().await.unwrap();
    bench.book(0..3).await;
    place
        .doctor("UPDATE entries SET state = 'lost' WHERE id = (SELECT id FROM entries ORDER BY id LIMIT 1)")
        .await;
    let receiver = StandIn::start([]).await;
    let delivering = bench.deliver(&settings(&receiver, CloudEvents));
    bench.until_delivered().await;
    assert_eq!(receiver.taken_ids().len(), 2);
    let counts = bench.counts().await;
    assert_eq!(counts.first_refused[0].0, samples::id(0).to_string());
    assert_eq!(counts.first_refused[0].1.status, 0);
    delivering.stop().await;
}
