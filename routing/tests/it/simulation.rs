//! The made-up trace through the whole: smaller than `make sim`, and held to the same.

use crate::world::policy::Policy;
use crate::world::run::{Outcome, Setting, capacity, run};
use crate::world::trace::{self, Request};

/// Fewer than the requests bring in.
const CACHE_BLOCKS: usize = 8_000;

/// The first of the made-up requests.
fn requests() -> Vec<Request> {
    let mut requests = trace::made_up();
    requests.truncate(1_500);
    requests
}

fn of(requests: &[Request], setting: Setting) -> Outcome {
    run(requests, setting, capacity(requests, setting.engines))
}

fn plain(policy: Policy) -> Setting {
    Setting::plain(policy, 8, 80, CACHE_BLOCKS)
}

#[test]
fn prefix_finds_what_one_large_cache_would_and_shares_the_work_out() {
    let requests = requests();
    let [least_loaded, prefix, oracle] =
        [Policy::LeastLoaded, Policy::Prefix, Policy::Oracle].map(|policy| of(&requests, plain(policy)));
    assert!(prefix.of_bound() >= 0.95, "{prefix:?}");
    assert!(prefix.imbalance < 1.3, "{prefix:?}");
    assert!(
        prefix.ttft_ms.p90 <= least_loaded.ttft_ms.p90 / 2.0,
        "{prefix:?} {least_loaded:?}"
    );
    assert!(prefix.hit_rate <= oracle.hit_rate, "{prefix:?} {oracle:?}");
    assert!(prefix.foretold > 0.999, "the model is the cache: {prefix:?}");
}

#[test]
fn a_hot_prefix_spreads() {
    let hot = of(&trace::hot(&requests(), 10), plain(Policy::Prefix));
    assert!(hot.imbalance < 1.5, "{hot:?}");
    assert!(hot.of_bound() >= 0.95, "{hot:?}");
}

#[test]
fn one_slow_engine_is_learned_and_given_less() {
    let requests = requests();
    let even = of(&requests, plain(Policy::Prefix));
    let slow = of(
        &requests,
        Setting {
            slow: 10,
            ..plain(Policy::Prefix)
        },
    );
    assert!(slow.ttft_ms.p90 < even.ttft_ms.p90 * 1.5, "{slow:?} {even:?}");
}

#[test]
fn the_same_trace_ends_the_same() {
    let requests = requests();
    let once = || of(&requests, plain(Policy::Prefix));
    assert_eq!(once(), once());
}

#[test]
fn a_trace_begins_when_its_first_request_comes_and_a_bad_line_is_named() {
    let line = |at| {
        format!(r#"{{"timestamp":{at},"input_length":1100,"output_length":0,"hash_ids":[7,8,9],"more":1}}"#)
    };
    let requests = trace::parse(&format!("{}\n\n{}\n", line(5_500), line(5_000))).unwrap();
    let read = requests
        .iter()
        .map(|request| (request.at_ms, request.blocks.len(), request.output));
    assert_eq!(read.collect::<Vec<_>>(), [(0.0, 2, 1), (500.0, 2, 1)]);
    let fault = trace::parse(&format!("{}\nnonsense", line(0))).unwrap_err();
    assert!(fault.starts_with("line 2: "), "{fault}");
    assert!(trace::parse("\n").is_err());
}
