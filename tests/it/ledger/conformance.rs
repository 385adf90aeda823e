//! What every ledger does, whatever its database: `conformance!` runs all of it on a [`Bench`].

use super::samples::{
    ADMITTED_AT_MS, MODEL, adjustment, balance, cost_sum, entries, entry, id, id_at, model, price,
};
use farebox::ledger::usage::{UsageGroup, UsageSum};
use farebox::ledger::{
    AdjustmentPage, Bucket, Discrepancy, EntryPage, GroupBy, Ledger, LedgerFault, MAX_BATCH, UsageQuery,
    UsageRow,
};
use farebox_domain::ids::{AccountId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Endpoint, Entry, EntryState};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use farebox_domain::price::PriceVersion;
use farebox_domain::tokens::{Usage, UsageSource};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A ledger of one kind, empty, with one price version, and a way to do what a ledger never does.
pub(crate) trait Bench: Sized {
    async fn open() -> Self;
    fn ledger(&self) -> &dyn Ledger;
    /// The version of `samples::price()` for `samples::model()`.
    fn version(&self) -> PriceVersion;
    /// Behind the ledger's back.
    async fn overwrite_cost(&self, id: RequestId, picodollars: i64);
    /// From now on the database refuses the sample entry with this number, after others of its commit.
    async fn refuse(&self, number: u64);
    /// It no longer does.
    async fn refuse_no_more(&self);
    /// Behind the ledger's back.
    async fn overwrite_rollups(&self, account: &str, picodollars: u32);
}

macro_rules! conformance {
    ($bench:ty) => {
        $crate::ledger::conformance::conformance! { $bench:
            an_entry_reads_back_as_it_was_booked,
            many_entries_are_found_at_once,
            an_id_is_booked_once,
            a_batch_of_any_size_is_booked_whole,
            what_cannot_be_booked_books_nothing,
            verify_counts_what_holds,
            verify_finds_what_was_doctored,
            verify_lists_some_and_counts_all,
            sums_leave_64_bits_without_harm,
            usage_is_cut_at_midnight_utc,
            usage_is_summed_by_what_is_asked,
            usage_of_any_span_is_the_fold,
            a_month_is_what_was_admitted_in_it,
            an_adjustment_is_booked_once,
            pages_are_in_the_order_of_ids,
            a_failed_commit_moves_nothing_and_the_next_one_is_right,
        }
    };
    ($bench:ty: $($promise:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $promise() {
            $crate::ledger::conformance::$promise(
                <$bench as $crate::ledger::conformance::Bench>::open().await,
            )
            .await;
        })*
    };
}
pub(crate) use conformance;

pub(crate) async fn an_entry_reads_back_as_it_was_booked(bench: impl Bench) {
    let mut odd = entry(1, "acct_a", bench.version());
    odd.usage = Usage::new(Usage::MAX_TOKENS, 3, 4).with_reasoning(2);
    odd.usage_source = UsageSource::Deltas;
    odd.state = EntryState::Interrupted;
    odd.endpoint = Endpoint::Embeddings;
    odd.cost = Picodollars::new(i64::MAX.into());
    odd.client_request_id = Some("caf\u{e9}'; DROP TABLE entries; --".to_owned());
    let mut all = entries(2..40, "acct_a", bench.version());
    all.push(odd);
    bench.ledger().commit(&all).await.unwrap();
    for booked in &all {
        assert_eq!(
            bench.ledger().entry(booked.id).await.unwrap().as_ref(),
            Some(booked)
        );
    }
    assert_eq!(bench.ledger().entry(id(999)).await.unwrap(), None);
}

pub(crate) async fn many_entries_are_found_at_once(bench: impl Bench) {
    let booked = entries(0..300, "acct_a", bench.version());
    bench.ledger().commit(&booked).await.unwrap();
    let asked: Vec<_> = (100..1_100).map(id).collect();
    let mut found = bench.ledger().entries_of(&asked).await.unwrap();
    found.sort_by_key(|entry| entry.id);
    assert_eq!(found, booked[100..]);
    assert_eq!(bench.ledger().entries_of(&[]).await.unwrap(), []);
}

pub(crate) async fn an_id_is_booked_once(bench: impl Bench) {
    let ledger = bench.ledger();
    let first = entries(0..10, "acct_a", bench.version());
    ledger.commit(&first).await.unwrap();
    ledger.commit(&first).await.unwrap();

    // Some new, some booked, one twice in the batch; what a repeated id says the second time does not matter.
    let mut mixed = entries(5..15, "acct_a", bench.version());
    mixed[0].cost = Picodollars::new(1);
    mixed[1].account = "acct_b".into();
    mixed.push(mixed[9].clone());
    ledger.commit(&mixed).await.unwrap();

    let expected = entries(0..15, "acct_a", bench.version());
    assert_eq!(balance(ledger, "acct_a").await, (cost_sum(&expected), 15));
    assert_eq!(balance(ledger, "acct_b").await, (Picodollars::ZERO, 0));
    assert_eq!(ledger.entry(id(5)).await.unwrap().as_ref(), Some(&expected[5]));
    assert_eq!(ledger.verify().await.unwrap().discrepancies, []);
}

pub(crate) async fn a_batch_of_any_size_is_booked_whole(bench: impl Bench) {
    let mut next = 0;
    for size in [
        1,
        2,
        3,
        4,
        5,
        63,
        64,
        65,
        257,
        MAX_BATCH as u64 - 1,
        MAX_BATCH as u64,
    ] {
        let batch: Vec<Entry> = (next..next + size)
            .map(|number| entry(number, &format!("acct_{number}"), bench.version()))
            .collect();
        next += size;
        bench.ledger().commit(&batch).await.unwrap();
    }
    bench.ledger().commit(&[]).await.unwrap();
    let verified = bench.ledger().verify().await.unwrap();
    assert_eq!((verified.entries, verified.discrepancies_total), (next, 0));
    assert_eq!(bench.ledger().balances().await.unwrap().len() as u64, next);

    let too_many = entries(next..=next + MAX_BATCH as u64, "acct_a", bench.version());
    let refused = bench.ledger().commit(&too_many).await.unwrap_err();
    assert!(matches!(refused, LedgerFault::TooMany(513)), "{refused}");
}

pub(crate) async fn what_cannot_be_booked_books_nothing(bench: impl Bench) {
    let ledger = bench.ledger();
    let mut batch = entries(0..3, "acct_a", bench.version());
    batch[1].cost = Picodollars::new(i128::from(i64::MAX) + 1);
    let refused = ledger.commit(&batch).await.unwrap_err();
    assert!(
        matches!(refused, LedgerFault::OutOfRange { column: "cost", .. }),
        "{refused}"
    );
    batch[1].cost = batch[0].cost;
    batch[2].usage.prompt_tokens = u64::MAX;
    let refused = ledger.commit(&batch).await.unwrap_err();
    assert!(
        matches!(refused, LedgerFault::OutOfRange { column: "tokens", .. }),
        "{refused}"
    );

    assert_eq!(ledger.balances().await.unwrap(), []);
    ledger.commit(&batch[..1]).await.unwrap();
    assert_eq!(balance(ledger, "acct_a").await, (batch[0].cost, 1));
}

pub(crate) async fn verify_counts_what_holds(bench: impl Bench) {
    let mut all = entries(0..12, "acct_a", bench.version());
    for (entry, state) in all.iter_mut().zip(EntryState::ALL.into_iter().cycle()) {
        entry.state = state;
        entry.cost = entry.cost_at(&price()).unwrap();
    }
    for (entry, source) in all.iter_mut().zip(UsageSource::ALL.into_iter().cycle()) {
        entry.usage_source = source;
    }
    bench.ledger().commit(&all).await.unwrap();
    let verified = bench.ledger().verify().await.unwrap();
    // Once for each database, in one process of `cargo test`.
    insta::allow_duplicates! {
    insta::assert_snapshot!(serde_json::to_string_pretty(&verified).unwrap(), @r#"
    {
      "entries": 12,
      "cost": "148580000",
      "adjustments": 0,
      "adjusted": "0",
      "states": {
        "cancelled": 3,
        "capped": 2,
        "completed": 3,
        "failed": 2,
        "interrupted": 2
      },
      "usage_sources": {
        "deltas": 1,
        "engine": 2,
        "engine_continuous": 2,
        "engine_corrected": 2,
        "engine_partial": 2,
        "none": 1,
        "tokenizer": 2
      },
      "discrepancies_total": 0,
      "discrepancies": []
    }
    "#);
    }
}

pub(crate) async fn verify_finds_what_was_doctored(bench: impl Bench) {
    let ledger = bench.ledger();
    let mut all = entries(0..10, "acct_a", bench.version());
    all[8].price_version = PriceVersion(bench.version().0 + 1_000);
    all[9].model = "test/another-model".into();
    ledger.commit(&all).await.unwrap();
    ledger
        .commit(&entries(10..12, "acct_b", bench.version()))
        .await
        .unwrap();
    bench.overwrite_cost(id(3), 7).await;
    bench.overwrite_rollups("acct_b", 5).await;

    let verified = ledger.verify().await.unwrap();
    // What counts against ceilings, and roll-ups by day, are in one of the databases only.
    let lines: Vec<String> = verified
        .discrepancies
        .iter()
        .filter(|found| !matches!(found, Discrepancy::Spending(_) | Discrepancy::DayRollup { .. }))
        .map(|found| serde_json::to_string(found).unwrap())
        .collect();
    // Once for each database, in one process of `cargo test`.
    insta::allow_duplicates! {
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"kind":"cost","id":"req_019ab697e80000000000000000000003","booked":"7","expected":"14220000"}
    {"kind":"price_version","id":"req_019ab697e80000000000000000000008","booked":1001,"expected":"test/model-1"}
    {"kind":"price_version","id":"req_019ab697e80000000000000000000009","booked":1,"expected":"test/another-model"}
    {"kind":"rollup","group":{"account":"acct_a","key":"key_0","model":"test/model-1","endpoint":"chat_completions","price_version":1,"bucket_ms":1764000000000},"booked":{"requests":3,"prompt_tokens":309,"cached_tokens":9,"completion_tokens":39,"reasoning_tokens":4,"cost":"42660000"},"expected":{"requests":3,"prompt_tokens":309,"cached_tokens":9,"completion_tokens":39,"reasoning_tokens":4,"cost":"28440007"}}
    {"kind":"rollup","group":{"account":"acct_b","key":"key_1","model":"test/model-1","endpoint":"chat_completions","price_version":1,"bucket_ms":1764000000000},"booked":{"requests":1,"prompt_tokens":103,"cached_tokens":10,"completion_tokens":20,"reasoning_tokens":0,"cost":"5"},"expected":{"requests":1,"prompt_tokens":103,"cached_tokens":10,"completion_tokens":20,"reasoning_tokens":0,"cost":"15900000"}}
    {"kind":"rollup","group":{"account":"acct_b","key":"key_2","model":"test/model-1","endpoint":"chat_completions","price_version":1,"bucket_ms":1764000000000},"booked":{"requests":1,"prompt_tokens":104,"cached_tokens":11,"completion_tokens":21,"reasoning_tokens":1,"cost":"5"},"expected":{"requests":1,"prompt_tokens":104,"cached_tokens":11,"completion_tokens":21,"reasoning_tokens":1,"cost":"16240000"}}
    "#);
    }
    let listed = u64::try_from(verified.discrepancies.len()).unwrap();
    assert_eq!((lines.len(), verified.discrepancies_total), (6, listed));
}

pub(crate) async fn verify_lists_some_and_counts_all(bench: impl Bench) {
    let wrong = PriceVersion(bench.version().0 + 1_000);
    bench
        .ledger()
        .commit(&entries(0..150, "acct_a", wrong))
        .await
        .unwrap();
    let verified = bench.ledger().verify().await.unwrap();
    assert_eq!(
        (verified.discrepancies_total, verified.discrepancies.len()),
        (150, 100)
    );
    assert!(matches!(
        verified.discrepancies[0],
        Discrepancy::PriceVersion { .. }
    ));
}

pub(crate) async fn sums_leave_64_bits_without_harm(bench: impl Bench) {
    let ledger = bench.ledger();
    let mut all = entries(0..4, "acct_a", bench.version());
    for entry in &mut all[..3] {
        entry.cost = Picodollars::new(i64::MAX.into());
    }
    all[3].cost = Picodollars::new(-5);
    let expected = Picodollars::new(3 * i128::from(i64::MAX) - 5);
    ledger.commit(&all[..3]).await.unwrap();
    ledger.commit(&all[3..]).await.unwrap();
    assert_eq!(balance(ledger, "acct_a").await, (expected, 4));
    let rows = ledger.usage(&UsageQuery::default()).await.unwrap();
    assert_eq!(rows[0].sum.cost, expected);
}

pub(crate) async fn usage_is_cut_at_midnight_utc(bench: impl Bench) {
    const MIDNIGHT: u64 = 1_772_323_200_000; // 2026-03-01T00:00:00Z
    let ledger = bench.ledger();
    let mut all = entries(0..5, "acct_a", bench.version());
    let times = [
        MIDNIGHT - 86_400_000,
        MIDNIGHT - 1,
        MIDNIGHT,
        MIDNIGHT + 86_399_999,
        MIDNIGHT + 86_400_000,
    ];
    for ((entry, at), number) in all.iter_mut().zip(times).zip(0..) {
        (entry.id, entry.admitted_at_ms) = (id_at(at, number), at);
    }
    all[4].account = "acct_b".into();
    ledger.commit(&all).await.unwrap();

    let by_day = GroupBy {
        bucket: Some(Bucket::Day),
        ..GroupBy::default()
    };
    let days = |rows: Vec<UsageRow>| -> Vec<(i64, u64)> {
        let day_of = |row: UsageRow| {
            let from_march_first = row.group.bucket_ms.unwrap().cast_signed() - MIDNIGHT.cast_signed();
            (from_march_first / 86_400_000, row.sum.requests)
        };
        rows.into_iter().map(day_of).collect()
    };
    let query = UsageQuery {
        group_by: by_day,
        ..UsageQuery::default()
    };
    assert_eq!(
        days(ledger.usage(&query).await.unwrap()),
        [(-1, 2), (0, 2), (1, 1)]
    );
    // From a time on, and until just before another.
    let march_first = UsageQuery {
        since_ms: Some(MIDNIGHT),
        until_ms: Some(MIDNIGHT + 86_400_000),
        ..query.clone()
    };
    assert_eq!(days(ledger.usage(&march_first).await.unwrap()), [(0, 2)]);
    let of_b = UsageQuery {
        account: Some("acct_b".into()),
        ..query
    };
    assert_eq!(days(ledger.usage(&of_b).await.unwrap()), [(1, 1)]);
}

pub(crate) async fn usage_is_summed_by_what_is_asked(bench: impl Bench) {
    let ledger = bench.ledger();
    let all = entries(0..30, "acct_a", bench.version());
    ledger.commit(&all).await.unwrap();
    ledger
        .commit(&entries(30..31, "acct_b", bench.version()))
        .await
        .unwrap();

    let group_by = GroupBy {
        account: true,
        key: true,
        model: true,
        bucket: Some(Bucket::Day),
        ..GroupBy::default()
    };
    let rows = ledger
        .usage(&UsageQuery {
            group_by,
            ..UsageQuery::default()
        })
        .await
        .unwrap();
    let keys: Vec<_> = rows
        .iter()
        .map(|row| {
            let account = row.group.account.as_ref().unwrap().as_str();
            (
                account,
                row.group.key.as_ref().unwrap().as_str(),
                row.sum.requests,
            )
        })
        .collect();
    assert_eq!(
        keys,
        [
            ("acct_a", "key_0", 10),
            ("acct_a", "key_1", 10),
            ("acct_a", "key_2", 10),
            ("acct_b", "key_0", 1)
        ]
    );
    assert!(
        rows.iter()
            .all(|row| row.group.model.as_ref().unwrap().as_str() == MODEL)
    );

    let of_a = UsageQuery {
        account: Some("acct_a".into()),
        ..UsageQuery::default()
    };
    let total = &ledger.usage(&of_a).await.unwrap()[0];
    let sum = |of: fn(&Usage) -> u64| -> u64 { all.iter().map(|entry| of(&entry.usage)).sum() };
    assert_eq!(total.sum.prompt_tokens, sum(|usage| usage.prompt_tokens));
    assert_eq!(total.sum.cached_tokens, sum(|usage| usage.cached_tokens));
    assert_eq!(total.sum.completion_tokens, sum(|usage| usage.completion_tokens));
    assert_eq!(total.sum.reasoning_tokens, sum(|usage| usage.reasoning_tokens));
    assert_eq!(total.sum.cost, cost_sum(&all));
    assert_eq!(total.group, UsageGroup::default());

    let of_nobody = UsageQuery {
        account: Some("acct_x".into()),
        ..UsageQuery::default()
    };
    assert_eq!(ledger.usage(&of_nobody).await.unwrap()[0].sum.requests, 0);
}

/// A span that begins and ends within hours, by minutes, hours and days.
pub(crate) async fn usage_of_any_span_is_the_fold(bench: impl Bench) {
    const STEP_MS: u64 = 17 * 60_000 + 123;
    let ledger = bench.ledger();
    let mut all = entries(0..100, "acct_a", bench.version());
    for (entry, number) in all.iter_mut().zip(0..) {
        entry.admitted_at_ms = ADMITTED_AT_MS + number * STEP_MS;
        entry.id = id_at(entry.admitted_at_ms, number);
        // Some waited for an hour to be admitted.
        if number % 10 == 0 {
            entry.id = id_at(entry.admitted_at_ms - 3_600_000, number);
        }
    }
    ledger.commit(&all).await.unwrap();
    let spans = [(0, 100), (3, 4), (2, 50), (7, 91), (50, 50)];
    for (from, until) in
        spans.map(|(from, until)| (ADMITTED_AT_MS + from * STEP_MS, ADMITTED_AT_MS + until * STEP_MS))
    {
        for bucket in [Bucket::Minute, Bucket::Hour, Bucket::Day] {
            let query = UsageQuery {
                group_by: GroupBy {
                    bucket: Some(bucket),
                    key: true,
                    ..GroupBy::default()
                },
                since_ms: Some(from),
                until_ms: Some(until),
                ..UsageQuery::default()
            };
            let mut expected: BTreeMap<UsageGroup, UsageSum> = BTreeMap::new();
            for entry in all
                .iter()
                .filter(|entry| (from..until).contains(&entry.admitted_at_ms))
            {
                let group = UsageGroup {
                    key: Some(entry.key.clone()),
                    bucket_ms: Some(entry.admitted_at_ms / bucket.length_ms() * bucket.length_ms()),
                    ..UsageGroup::default()
                };
                let sum = expected.entry(group).or_default();
                *sum = sum.checked_add(UsageSum::of(entry)).unwrap();
            }
            let expected: Vec<UsageRow> = expected
                .into_iter()
                .map(|(group, sum)| UsageRow { group, sum })
                .collect();
            assert_eq!(
                ledger.usage(&query).await.unwrap(),
                expected,
                "{from} {until} {bucket:?}"
            );
        }
    }
}

pub(crate) async fn a_month_is_what_was_admitted_in_it(bench: impl Bench) {
    let ledger = bench.ledger();
    let month = Month::of_ms(ADMITTED_AT_MS);
    let mut all = entries(0..9, "acct_a", bench.version());
    all[0].admitted_at_ms = month.starts_at_ms();
    all[1].admitted_at_ms = month.starts_at_ms() - 1;
    all[2].admitted_at_ms = month.next().starts_at_ms() - 1;
    all[3].admitted_at_ms = month.next().starts_at_ms();
    all[8].account = "acct_b".into();
    all[7].cost = Picodollars::new(i64::MAX.into());
    all[4].cost = Picodollars::new(i64::MAX.into());
    ledger.commit(&all).await.unwrap();
    let spent = async |month| -> Vec<(String, String, i128)> {
        let rows = ledger.spent_in(month).await.unwrap();
        rows.into_iter()
            .map(|row| (row.account.to_string(), row.key.to_string(), row.spent.get()))
            .collect()
    };
    let row = |account: &str, key: &str, numbers: &[usize]| {
        let cost = numbers.iter().map(|number| all[*number].cost.get()).sum::<i128>();
        (account.to_owned(), key.to_owned(), cost)
    };
    assert_eq!(spent(month.previous()).await, [row("acct_a", "key_1", &[1])]);
    assert_eq!(
        spent(month).await,
        [
            row("acct_a", "key_0", &[0, 6]),
            row("acct_a", "key_1", &[4, 7]),
            row("acct_a", "key_2", &[2, 5]),
            row("acct_b", "key_2", &[8])
        ]
    );
    assert_eq!(spent(month.next()).await, [row("acct_a", "key_0", &[3])]);
    assert_eq!(spent(month.next().next()).await, []);
}

pub(crate) async fn an_adjustment_is_booked_once(bench: impl Bench) {
    let ledger = bench.ledger();
    assert_eq!(ledger.adjust(&[]).await.unwrap(), []);
    let mut refund = adjustment(2, "acct_b", -7);
    (refund.kind, refund.request, refund.price_version) =
        (AdjustmentKind::Refund, Some(id(5)), Some(bench.version()));
    let first = [adjustment(1, "acct_a", i64::MAX), refund];
    assert_eq!(ledger.adjust(&first).await.unwrap(), first);

    // Of a reference that is there, or twice in the batch, the first counts.
    let again = Adjustment {
        reference: first[0].reference.clone(),
        ..adjustment(3, "acct_a", 5)
    };
    let new = adjustment(4, "acct_a", i64::MAX);
    let twice = Adjustment {
        reference: new.reference.clone(),
        ..adjustment(5, "acct_a", 9)
    };
    let anothers = Adjustment {
        reference: first[0].reference.clone(),
        ..adjustment(6, "acct_b", 1)
    };
    let batch = [again, new.clone(), twice, anothers.clone()];
    assert_eq!(ledger.adjust(&batch).await.unwrap(), [new, anothers]);
    assert_eq!(ledger.adjust(&batch).await.unwrap(), []);

    let beyond = Adjustment {
        amount: Picodollars::new(i128::from(i64::MAX) + 1),
        ..adjustment(7, "acct_a", 0)
    };
    let refused = ledger
        .adjust(&[adjustment(8, "acct_a", 1), beyond])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, LedgerFault::OutOfRange { column: "amount", .. }),
        "{refused}"
    );

    let balances = ledger.balances().await.unwrap();
    let adjusted: Vec<(&str, i128, u64)> = balances
        .iter()
        .map(|balance| (balance.account.as_str(), balance.adjusted.get(), balance.entries))
        .collect();
    assert_eq!(
        adjusted,
        [("acct_a", 2 * i128::from(i64::MAX), 0), ("acct_b", -6, 0)]
    );
    assert_eq!(balances[1].balance().unwrap(), Picodollars::new(-6));
    let of = async |accounts: &[&str]| {
        let accounts: Vec<AccountId> = accounts.iter().map(|&id| id.into()).collect();
        ledger.balances_of(&accounts).await.unwrap()
    };
    assert_eq!(of(&["acct_b", "acct_c"]).await, balances[1..]);
    assert_eq!(of(&["acct_a", "acct_b"]).await, balances);
    assert_eq!(of(&[]).await, []);
    let verified = ledger.verify().await.unwrap();
    assert_eq!((verified.adjustments, verified.discrepancies), (4, vec![]));
}

pub(crate) async fn pages_are_in_the_order_of_ids(bench: impl Bench) {
    let ledger = bench.ledger();
    let mut all = entries(0..20, "acct_a", bench.version());
    for entry in &mut all[10..] {
        entry.account = "acct_b".into();
    }
    let shuffled: Vec<Entry> = (0..20).map(|number| all[number * 7 % 20].clone()).collect();
    ledger.commit(&shuffled).await.unwrap();
    let limit = 4;
    let numbers = async |page: EntryPage| -> Vec<u64> {
        let entries = ledger.entries(&page).await.unwrap();
        entries.iter().map(|entry| entry.timings.queue_us).collect()
    };
    let of_b = EntryPage {
        account: Some("acct_b".into()),
        limit,
        ..EntryPage::default()
    };
    assert_eq!(numbers(of_b.clone()).await, [10, 11, 12, 13]);
    assert_eq!(
        numbers(EntryPage {
            after: Some(all[13].id),
            ..of_b.clone()
        })
        .await,
        [14, 15, 16, 17]
    );
    assert_eq!(
        numbers(EntryPage {
            after: Some(all[17].id),
            ..of_b
        })
        .await,
        [18, 19]
    );
    let at = |number: u64| Some(ADMITTED_AT_MS + number);
    let within = EntryPage {
        since_ms: at(8),
        until_ms: at(11),
        limit: 9,
        ..EntryPage::default()
    };
    assert_eq!(numbers(within).await, [8, 9, 10]);

    let credit: Vec<Adjustment> = (0..6)
        .map(|number| adjustment(number, if number % 2 == 0 { "acct_a" } else { "acct_b" }, 1))
        .map(|credit| Adjustment {
            request: (credit.account.as_str() == "acct_b").then_some(id(3)),
            ..credit
        })
        .collect();
    ledger.adjust(&credit).await.unwrap();
    let page = async |page: AdjustmentPage| ledger.adjustments(&page).await.unwrap();
    let all_of_them = AdjustmentPage {
        limit: 100,
        ..AdjustmentPage::default()
    };
    assert_eq!(page(all_of_them.clone()).await, credit);
    let of_a = AdjustmentPage {
        account: Some("acct_a".into()),
        limit: 2,
        ..AdjustmentPage::default()
    };
    assert_eq!(page(of_a.clone()).await, [credit[0].clone(), credit[2].clone()]);
    let newest = AdjustmentPage {
        newest_first: true,
        ..of_a.clone()
    };
    assert_eq!(page(newest.clone()).await, [credit[4].clone(), credit[2].clone()]);
    let behind = AdjustmentPage {
        after: Some(credit[2].id),
        ..newest
    };
    assert_eq!(page(behind).await, [credit[0].clone()]);
    assert_eq!(
        page(AdjustmentPage {
            after: Some(credit[2].id),
            ..of_a
        })
        .await,
        [credit[4].clone()]
    );
    let about = AdjustmentPage {
        request: Some(id(3)),
        since_ms: at(2),
        until_ms: at(5),
        ..all_of_them
    };
    assert_eq!(page(about).await, [credit[3].clone()]);
}

pub(crate) async fn a_failed_commit_moves_nothing_and_the_next_one_is_right(bench: impl Bench) {
    let ledger = bench.ledger();
    let all = entries(0..10, "acct_a", bench.version());
    ledger.commit(&all[..4]).await.unwrap();
    bench.refuse(6).await;
    ledger.commit(&all[4..]).await.unwrap_err();
    ledger.commit(&all[4..]).await.unwrap_err();
    assert_eq!(balance(ledger, "acct_a").await, (cost_sum(&all[..4]), 4));
    ledger.commit(&all[4..6]).await.unwrap();

    bench.refuse_no_more().await;
    ledger.commit(&all[4..]).await.unwrap();
    assert_eq!(balance(ledger, "acct_a").await, (cost_sum(&all), 10));
    assert_eq!(ledger.verify().await.unwrap().discrepancies, []);
}

/// Random entries in random batches, ids repeated within and across them; the oracle is a fold in memory.
pub(crate) fn balances_are_the_fold<B: Bench>() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let one = (0..60u64, 0..4u8, -1_000_000..i64::MAX);
    let batches = prop::collection::vec(prop::collection::vec(one, 0..20), 1..10);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let held = runner.run(&batches, |batches| {
        runtime.block_on(async {
            let bench = B::open().await;
            let mut booked: BTreeMap<RequestId, Entry> = BTreeMap::new();
            for batch in batches {
                let batch: Vec<Entry> = batch
                    .into_iter()
                    .map(|(number, account, cost)| Entry {
                        cost: Picodollars::new(cost.into()),
                        ..entry(number, &format!("acct_{account}"), bench.version())
                    })
                    .collect();
                bench.ledger().commit(&batch).await.unwrap();
                for entry in batch {
                    booked.entry(entry.id).or_insert(entry);
                }
            }
            let mut fold: BTreeMap<AccountId, (Picodollars, u64)> = BTreeMap::new();
            for entry in booked.values() {
                let (sum, count) = fold.entry(entry.account.clone()).or_default();
                *sum = sum.checked_add(entry.cost).unwrap();
                *count += 1;
            }
            let balances: BTreeMap<AccountId, (Picodollars, u64)> = bench
                .ledger()
                .balances()
                .await
                .unwrap()
                .into_iter()
                .map(|row| (row.account, (row.spent, row.entries)))
                .collect();
            prop_assert_eq!(balances, fold);
            Ok(())
        })
    });
    if let Err(fault) = held {
        panic!("{fault}");
    }
}

/// Kept here so that a bench cannot forget which model its version is of.
pub(crate) fn sold() -> (farebox_domain::ids::ModelId, farebox_domain::price::Price) {
    (model(), price())
}
