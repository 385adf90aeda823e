//! The table, a line as each run ends.

use crate::world::run::{Outcome, Setting};
use crate::world::trace::{self, Request};

const HEADER: &str = "\
engines  load  policy        hit rate  of bound  spared Mtok  TTFT p50      p90      p99 ms  max/mean  foretold";

/// What is replayed, and what the columns are.
pub fn about(trace: &[Request], cache_blocks: usize) -> String {
    format!(
        "\
{} requests, {} distinct blocks of {} tokens; caches of {cache_blocks} blocks in all, shared out among the engines

  load         of what the engines do with one infinite cache, in percent
  policy       oracle is prefix with one infinite cache that all engines have in common
  hit rate     of the prompts' tokens, those that were cached
  of bound     the hit rate, of that of one cache as large as all together which every request goes through in order
  spared       tokens of prefill that were not computed, in millions
  TTFT         time to the first token, in virtual milliseconds
  max/mean     the work of the engine that had most to do, of the mean
  foretold     of the cached tokens that routing predicted, those that were
",
        trace.len(),
        trace::distinct(trace),
        trace::BLOCK_TOKENS
    )
}

/// The head of a part of the table.
pub fn heading(what: &str) -> String {
    format!("\n{what}\n{HEADER}")
}

/// One run.
pub fn line(run: &Outcome) -> String {
    let columns = format!(
        "{:>7} {:>4}%  {:<12} {:>8.1}% {:>8.1}% {:>12.1} {:>9.0} {:>8.0} {:>11.0} {:>9.2} {:>8.1}%",
        run.setting.engines,
        run.setting.load,
        run.setting.policy.as_str(),
        run.hit_rate * 100.0,
        run.of_bound() * 100.0,
        trace::ratio(run.spared_tokens, 1_000_000),
        run.ttft_ms.p50,
        run.ttft_ms.p90,
        run.ttft_ms.p99,
        run.imbalance,
        run.foretold * 100.0,
    );
    let Setting {
        believed_percent,
        told,
        slow,
        ..
    } = run.setting;
    let remark = match (believed_percent, told, slow) {
        (100, true, 1) => return columns,
        (100, true, slow) => format!("one {slow} times slower"),
        (percent, true, _) => format!("believed {percent}%, told"),
        (percent, false, _) => format!("believed {percent}%, not told"),
    };
    format!("{columns}  {remark}")
}
