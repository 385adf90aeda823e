//! Recording: durable, in order, once.

use super::{kept, open, raw, settlement, settlements, try_open};
use crate::ledger::samples::{ADMITTED_AT_MS, entry, id};
use farebox::clock::Clock;
use farebox::ledger::{Journal, LedgerFault, MAX_BATCH, Outbox, OutboxFault, Shipper};
use farebox::store::{DataDirectory, StoreFault};
use farebox_domain::ledger::{Leased, Settlement};
use farebox_domain::money::Picodollars;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

#[tokio::test]
async fn what_is_recorded_is_there_after_a_restart_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    // Not in the order of their ids: what ends first is recorded first.
    let numbers = [5, 3, 900, 4, 1];
    let outbox = open(folder.path()).await;
    for number in numbers {
        outbox.record(&[settlement(number)]).await.unwrap();
    }
    let many = settlements((1_000..1_300).rev());
    outbox.record(&many).await.unwrap();
    assert_eq!(outbox.pending(), 305);
    drop(outbox);

    let reopened = open(folder.path()).await;
    assert_eq!(reopened.pending(), 305);
    let mut expected = settlements(numbers);
    expected.extend(many);
    assert_eq!(kept(folder.path()).await, expected);
}

#[tokio::test]
async fn recording_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    outbox.record(&settlements(0..10)).await.unwrap();
    let mut other = settlement(3);
    other.leased = Leased::default();
    outbox.record(&[other, settlement(10)]).await.unwrap();
    outbox.record(&settlements(0..11)).await.unwrap();
    outbox.record(&[]).await.unwrap();
    assert_eq!(outbox.pending(), 11);
    assert_eq!(kept(folder.path()).await, settlements(0..11));
}

#[tokio::test]
async fn what_can_never_be_booked_is_refused_at_once_and_records_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    let mut impossible = settlement(1);
    impossible.entry.cost = Picodollars::new(i128::MAX);
    let refused = outbox.record(&[settlement(0), impossible]).await.unwrap_err();
    assert!(matches!(refused, LedgerFault::OutOfRange { .. }), "{refused}");
    let many = settlements(0..=MAX_BATCH as u64);
    let refused = outbox.record(&many).await.unwrap_err();
    assert!(matches!(refused, LedgerFault::TooMany(_)), "{refused}");
    assert_eq!((outbox.pending(), kept(folder.path()).await), (0, vec![]));
}

#[tokio::test]
async fn a_record_that_is_dropped_on_its_way_is_counted_as_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    for polls in 0..40 {
        let batch = settlements(polls * 5..polls * 5 + 5);
        {
            let mut recording = std::pin::pin!(outbox.record(&batch));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if recording.as_mut().poll(&mut context).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Whatever became of it, the same again is right.
        outbox.record(&batch).await.unwrap();
        assert_eq!(outbox.pending(), polls * 5 + 5);
    }
    assert_eq!(kept(folder.path()).await, settlements(0..200));
    drop(outbox);
    open(folder.path()).await;
}

#[tokio::test]
async fn what_a_dead_process_left_open_is_recorded_once_when_it_is_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    let so_far = |number, tokens| {
        let mut open = entry(number, "acct_a", super::VERSION);
        open.usage.completion_tokens = tokens;
        // What it uses up of its leases is known to the next process too: it is taken from them when it is booked.
        let leased = Leased {
            credit: true,
            ..Leased::default()
        };
        Settlement { entry: open, leased }
    };
    outbox
        .checkpoint(&[so_far(1, 1), so_far(2, 1), so_far(3, 1)])
        .await
        .unwrap();
    outbox.checkpoint(&[so_far(1, 7), so_far(2, 7)]).await.unwrap();
    // The second one ends; a last checkpoint of it comes too late.
    outbox.record(&[settlement(2)]).await.unwrap();
    outbox.checkpoint(&[so_far(2, 9)]).await.unwrap();
    drop(outbox);

    let reopened = open(folder.path()).await;
    assert_eq!(reopened.recover().await.unwrap(), 2);
    assert_eq!(reopened.recover().await.unwrap(), 0);
    let expected = vec![settlement(2), so_far(1, 7), so_far(3, 1)];
    assert_eq!(kept(folder.path()).await, expected);
    assert_eq!(reopened.pending(), 3);
}

#[tokio::test]
async fn a_second_outbox_in_the_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await;
    let refused = try_open(folder.path()).await.err().unwrap();
    assert!(
        matches!(refused, OutboxFault::File(StoreFault::InUse(_))),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .starts_with("another farebox uses the data directory")
    );
    drop(first);
    open(folder.path()).await;
}

#[tokio::test]
async fn a_file_of_a_newer_farebox_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await);
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut raw(folder.path()).await)
    .await
    .unwrap();
    let refused = try_open(folder.path()).await.err().unwrap();
    assert!(
        matches!(refused, OutboxFault::File(StoreFault::Migration(_))),
        "{refused}"
    );
}

#[tokio::test]
async fn the_age_of_the_oldest_is_since_it_was_settled() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::standing_at(ADMITTED_AT_MS);
    let directory = DataDirectory::claim(folder.path()).unwrap();
    let outbox = Arc::new(Outbox::open(&directory, clock.clone()).await.unwrap());
    assert_eq!(outbox.oldest_ms(), None);
    // Admitted at a time of its own, and settled 90 ms later.
    outbox.record(&settlements([7, 8])).await.unwrap();
    let (target, bookkeeper) = super::targets::shared(super::targets::Target::new());
    target.set_away(true);
    let shipper = Shipper::new(Arc::clone(&outbox), bookkeeper);
    let attempt = async {
        target.attempted.notified().await;
        clock.set_unix_ms(ADMITTED_AT_MS + 7 + 90 + 4_000);
        assert_eq!(outbox.oldest_ms(), Some(4_000));
        // A clock that went back.
        clock.set_unix_ms(1);
        assert_eq!(outbox.oldest_ms(), Some(0));
        target.set_away(false);
    };
    let (left, ()) = tokio::join!(shipper.drain(std::time::Duration::from_secs(60)), attempt);
    assert_eq!((left, outbox.oldest_ms()), (0, None));
    assert_eq!(super::ids(&target.booked()), [id(7), id(8)]);
}
