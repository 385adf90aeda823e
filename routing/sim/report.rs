//! A table for the reader and a drawing for the docs.

use crate::run::Outcome;
use crate::trace::{self, Request};

pub const HEADER: &str = "engines  load  policy        hit rate  of bound  spared Mtok  TTFT p50     p90      p99 ms  max/mean  foretold";

pub fn about(trace: &[Request], cache_blocks: usize) -> String {
    format!(
        "{} requests, {} distinct blocks of {} tokens; caches of {cache_blocks} blocks in all",
        trace.len(),
        trace::distinct(trace),
        trace::BLOCK_TOKENS
    )
}

pub fn line(run: &Outcome) -> String {
    format!(
        "{:>7} {:>4}%  {:<12} {:>8.1}% {:>8.1}% {:>12.1} {:>9.0} {:>8.0} {:>10.0} {:>9.2} {:>8.1}%",
        run.engines,
        run.load,
        run.policy.as_str(),
        run.hit_rate * 100.0,
        run.hit_rate / run.bound * 100.0,
        trace::ratio(run.spared_tokens, 1_000_000),
        run.ttft_ms[0],
        run.ttft_ms[1],
        run.ttft_ms[2],
        run.imbalance,
        run.foretold * 100.0,
    )
}

pub fn draw(_rows: &[Outcome]) -> String {
    String::new()
}
