//! Each reason why an engine's count and the ledger's may differ, by itself.

use super::samples::{ADMITTED_AT_MS, entry};
use crate::place::{Place, on_both};
use farebox::ledger::reconcile::{CountingRule, ModelBounds, Reason, Reconciled, Reconciler, Why};
use farebox::ledger::{Books, CounterSample};
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::price::PriceVersion;
use farebox_domain::tokens::{Usage, UsageSource};

const RULE: CountingRule = CountingRule {
    prompt_excludes_cached: false,
    may_skip_aborted: false,
};
const BOUNDS: ModelBounds = ModelBounds {
    prompt: 1000,
    completion: 500,
};
const FROM: u64 = ADMITTED_AT_MS;

fn sample(seconds: u64, prompt_tokens: u64, generation_tokens: u64) -> CounterSample {
    CounterSample {
        engine: "vllm-a".into(),
        at_ms: FROM + seconds * 1000,
        replica: String::new(),
        prompt_tokens,
        generation_tokens,
        cached_tokens: None,
        started_at_s: None,
        in_flight: 0,
        failed_attempts: 0,
    }
}

/// A request of 100 prompt tokens, 40 of them cached, and 10 more, from one second to another.
fn request(began: u64, ended: u64) -> Entry {
    let mut request = entry(1, "acct_a", PriceVersion(1));
    request.usage = Usage::new(100, 40, 10);
    request.admitted_at_ms = FROM + began * 1000;
    request.timings.queue_us = 0;
    request.timings.total_us = (ended - began) * 1_000_000;
    request
}

fn reconciled(samples: Vec<CounterSample>, rule: CountingRule, entries: &[Entry]) -> Reconciled {
    let mut reconciler = Reconciler::new(samples, rule, BOUNDS).unwrap();
    for entry in entries {
        reconciler.entry(entry, |_| None);
    }
    reconciler.finish(0)
}

/// The generation's reasons, for samples at 0 s and 100 s that saw this much.
fn reasons(generation: u64, entries: &[Entry]) -> (Vec<Reason>, i128) {
    let samples = vec![sample(0, 0, 0), sample(100, 100, generation)];
    let found = reconciled(samples, RULE, entries);
    (found.generation.reasons, found.generation.unexplained)
}

fn reason(why: Why, least: i128, most: i128) -> Reason {
    let count = 1;
    Reason {
        why,
        count,
        least,
        most,
    }
}

#[test]
fn equal_is_equal_and_needs_no_reason() {
    assert_eq!(reasons(10, &[request(10, 20)]), (vec![], 0));
    assert_eq!(
        reasons(11, &[request(10, 20)]),
        (vec![], 0),
        "one token a request"
    );
    assert_eq!(reasons(12, &[request(10, 20)]), (vec![], 2));
    assert_eq!(reasons(8, &[request(10, 20)]), (vec![], -2));
}

#[test]
fn at_an_edge_a_request_counts_for_all_or_nothing() {
    assert_eq!(
        reasons(0, &[request(95, 99)]),
        (vec![reason(Why::Edges, -10, 0)], 0)
    );
    assert_eq!(
        reasons(0, &[request(95, 120)]),
        (vec![reason(Why::Edges, -10, 0)], 0)
    );
    assert_eq!(reasons(3, &[request(95, 120)]).1, 0);
    assert_eq!(
        reasons(10, &[entry_before_the_span()]),
        (vec![reason(Why::Edges, 0, 10)], 0)
    );
    assert_eq!(reasons(12, &[entry_before_the_span()]).1, 2);
    assert_eq!(reasons(5, &[request(101, 110)]), (vec![], 5), "not in the span");
}

fn entry_before_the_span() -> Entry {
    let mut request = request(0, 7);
    request.admitted_at_ms = FROM - 5000;
    request
}

#[test]
fn what_a_usage_leaves_open_has_its_bounds() {
    let with = |state: EntryState, source: UsageSource| {
        let mut request = request(10, 20);
        (request.state, request.usage_source) = (state, source);
        request
    };
    let completed = EntryState::Completed;
    for (state, source, expected) in [
        (
            EntryState::Cancelled,
            UsageSource::EngineContinuous,
            reason(Why::CutShort, 0, 490),
        ),
        (
            EntryState::Interrupted,
            UsageSource::Deltas,
            reason(Why::CutShort, 0, 490),
        ),
        (completed, UsageSource::Deltas, reason(Why::Deltas, 0, 63_990)),
        (
            completed,
            UsageSource::EngineCorrected,
            reason(Why::Corrected, 0, 63_990),
        ),
        (
            completed,
            UsageSource::EnginePartial,
            reason(Why::Partial, 0, 63_990),
        ),
        (
            EntryState::Failed,
            UsageSource::None,
            reason(Why::FailedAttempts, 0, 500),
        ),
    ] {
        assert_eq!(reasons(10, &[with(state, source)]), (vec![expected], 0));
    }
    let counted_at_the_end = CountingRule {
        may_skip_aborted: true,
        ..RULE
    };
    let cancelled = with(EntryState::Cancelled, UsageSource::EngineContinuous);
    let found = reconciled(
        vec![sample(0, 0, 0), sample(100, 0, 0)],
        counted_at_the_end,
        &[cancelled],
    );
    assert!(found.is_explained(), "{found:?}");
}

#[test]
fn an_engine_that_counts_no_cached_tokens_is_compared_without_them() {
    let rule = CountingRule {
        prompt_excludes_cached: true,
        ..RULE
    };
    let found = reconciled(
        vec![sample(0, 5, 5), sample(100, 65, 15)],
        rule,
        &[request(10, 20)],
    );
    assert_eq!((found.prompt.engine, found.prompt.ledger), (60, 60));
    assert_eq!((found.generation.engine, found.generation.ledger), (10, 10));
}

#[test]
fn counters_are_summed_over_restarts() {
    let samples = vec![sample(0, 500, 50), sample(50, 600, 60), sample(100, 100, 10)];
    let found = reconciled(
        samples,
        RULE,
        &[request(10, 20), request(60, 70), request(80, 90)],
    );
    assert_eq!(
        (found.restarts, found.generation.engine, found.generation.ledger),
        (1, 20, 30)
    );
    assert_eq!(
        found.generation.reasons,
        [Reason {
            count: 2,
            ..reason(Why::Restart, -20, 0)
        }]
    );
    assert!(found.is_explained());

    // A process that is another, though its counter has passed the old one's by now.
    let mut other = sample(100, 700, 70);
    other.started_at_s = Some(2);
    let mut first = sample(0, 0, 0);
    first.started_at_s = Some(1);
    let found = reconciled(vec![first, other], RULE, &[]);
    assert_eq!(
        (
            found.restarts,
            found.generation.engine,
            found.generation.unexplained
        ),
        (1, 70, 70)
    );
}

#[test]
fn what_is_open_still_may_have_used_what_its_model_allows() {
    let mut last = sample(100, 0, 300);
    last.in_flight = 1;
    let found = reconciled(vec![sample(0, 0, 0), last.clone()], RULE, &[]);
    assert_eq!(found.generation.reasons, [reason(Why::Open, 0, 500)]);
    assert!(found.is_explained());
    let ended_since = reconciled(vec![sample(0, 0, 0), last], RULE, &[request(95, 120)]);
    assert_eq!(
        ended_since.generation.unexplained,
        300 - 10,
        "it is in the ledger, with ten tokens"
    );
}

#[test]
fn one_sample_says_nothing() {
    assert!(Reconciler::new(vec![sample(0, 0, 0)], RULE, BOUNDS).is_none());
}

fn by(replica: &str, seconds: u64, tokens: u64, in_flight: u64, failed_attempts: u64) -> CounterSample {
    CounterSample {
        replica: replica.to_owned(),
        in_flight,
        failed_attempts,
        ..sample(seconds, tokens, tokens)
    }
}

#[test]
fn replicas_sample_one_engine_and_their_clocks_differ() {
    // By the clock of `b`, which is behind, the engine had 300 tokens before it had 200 by the clock of `a`.
    let samples = vec![
        by("a", 0, 0, 0, 5),
        by("b", 59, 300, 2, 1),
        by("a", 60, 200, 0, 1),
        by("b", 119, 500, 3, 1),
        by("a", 120, 400, 1, 0),
    ];
    let found = reconciled(samples, RULE, &[]);
    assert_eq!(
        (found.restarts, found.samples, found.generation.engine),
        (0, 3, 400)
    );
    // What `a` has now and the most that `b` lately had; the tries of both since the span began.
    let counts: Vec<_> = found
        .generation
        .reasons
        .iter()
        .map(|reason| (reason.why, reason.count))
        .collect();
    assert_eq!(counts, [(Why::Open, 4), (Why::FailedAttempts, 3)]);
}

#[test]
fn a_replica_that_came_later_is_followed_back_to_the_one_before_it() {
    let samples = vec![
        by("a", 0, 10, 0, 0),
        by("a", 60, 20, 9, 0),
        by("a", 120, 30, 9, 0),
        by("b", 250, 50, 0, 0),
        by("b", 310, 60, 0, 0),
    ];
    let found = reconciled(samples, RULE, &[]);
    assert_eq!(
        (found.from_ms, found.samples, found.generation.engine),
        (FROM, 4, 50)
    );
    assert_eq!(found.generation.reasons, [], "`a` is gone, with what it had");
}

on_both! { samples_are_kept_for_ninety_days }

async fn samples_are_kept_for_ninety_days(place: Place) {
    let (store, _own) = place.open().await;
    let (_, counters) = Books::open(&store).await.unwrap().beside();
    let old = by("a", 0, 1, 2, 3);
    let mut full = by("b", 60, 4, 5, 6);
    (full.cached_tokens, full.started_at_s) = (Some(7), Some(8));
    counters
        .keep_counters(&[full.clone(), old.clone()])
        .await
        .unwrap();
    // Two that ask at once are two samples; the same again is none.
    let twin = by("b", 0, 1, 0, 0);
    for _ in 0..2 {
        counters.keep_counters(std::slice::from_ref(&twin)).await.unwrap();
    }
    let all = counters.counters(0, u64::MAX).await.unwrap();
    assert_eq!(all, [old.clone(), twin, full.clone()]);
    assert_eq!(counters.counters(full.at_ms, full.at_ms).await.unwrap().len(), 1);

    let later = by("a", 90 * 24 * 3600 + 1, 9, 0, 0);
    counters
        .keep_counters(std::slice::from_ref(&later))
        .await
        .unwrap();
    assert_eq!(counters.counters(0, u64::MAX).await.unwrap(), [full, later]);
}
