//! The gateway benchmark: what a request and a chunk cost farebox, beside proxies that bill nothing.
//!
//! docs/PERFORMANCE.md says who is measured, how each figure comes about, and how to read it; `metric.rs` has the figures and the
//! aims. `make bench`, or `cargo bench --bench gateway -- [flags]`, runs on one upstream and one load, in one go; `PEERS` is the
//! folder with smg, vllm-router and sglang-router (`scripts/setup peers`).
//!
//! The table goes to stdout, progress to stderr, every round's raw figure to `target/bench/gateway.json`.
//!
//! # Flags
//!
//! `--quick` is a smoke test of a minute or two. `--rounds N`. `--svg PATH` draws the ratios; `--markdown PATH` writes the tables
//! between two marks of a file, or into a new one. `--load-core` (0) has the clients and the upstream, `--gateway-core` (1) the
//! gateways. `--only farebox,passthrough` (the pass-through may be left
//! out, the ratios then are too). `--kind openai` makes farebox treat the engine as one without continuous usage;
//! `--rename` makes the engine serve under another model name; `--no-usage` leaves `include_usage` to the gateway.
//! `FAREBOX_BIN` names another farebox. `--profile farebox --phase request --seconds 60` starts that gateway alone,
//! prints its PID and repeats one phase, for perf or a debugger to attach to.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is the process's edge: it reads the real clock and environment, and owns its tasks"
)]
#![expect(
    clippy::float_arithmetic,
    reason = "medians and ratios of measurements; no money is near"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table is what this program is for"
)]

mod options;
mod proxies;
mod farebox;
mod ledger;
mod calls;
mod metric;
mod phases;
mod rounds;
mod report;
mod table;
mod draw;

use clap::Parser as _;
use farebox_bench_support::{Outcome, roles};

fn main() -> std::process::ExitCode {
    let outcome = roles::play().unwrap_or_else(|| rounds::run(&options::Options::parse()));
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
