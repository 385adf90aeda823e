//! The gateway benchmark: what a request and a chunk cost farebox, beside proxies that bill nothing.
//!
//! `make bench` (or `cargo bench --bench gateway -- [flags]`) runs on one upstream and one load, in one go:
//!
//! - **farebox**, release binary, engine kind vllm, with keys, the cap, metering and the durable ledger on;
//! - **passthrough**, the floor for this stack: axum and reqwest, one key lookup, one usage scan (`passthrough.rs`);
//! - **nginx** and **HAProxy** as reverse proxies, one worker each, set up for SSE (`proxies.rs`);
//! - **direct**, no gateway at all, as the zero of the latencies.
//!
//! The load generator and the upstream share one core (`--load-core`, 0), the gateways have another to
//! themselves (`--gateway-core`, 1). Everything is on loopback. A proxy that is not installed is said and left out.
//!
//! # What is measured
//!
//! | name | unit | how |
//! | --- | --- | --- |
//! | `request_cpu_us` | CPU us a request | 32 clients in a closed loop, 1 KB chat request, 600-byte JSON answer with usage |
//! | `requests_per_second` | 1/s | the same phase. Both cores count: it is a bound, not a capacity |
//! | `paced_chunk_cpu_us` | CPU us an SSE event | 64 streams, one 230-byte event each 50 ms, in mid-stream: no request begins or ends |
//! | `stepped_chunk_cpu_us` | CPU us an SSE event | 64 streams of 500 events, one event each millisecond: 64,000 a second, nearly each read on its own |
//! | `burst_chunk_cpu_us` | CPU us an SSE event | 8 streams at a time of 500 events as fast as they go, several to a read |
//! | `ttft_p50_us`, `ttft_p99_us` | us | 32 streams in a closed loop, 20 events 10 ms apart, the first at once: request written to first event read |
//! | `added_ttft_p50_us`, `added_ttft_p99_us` | us | the same, less the direct figure of the same round |
//! | `rss_mib` | MiB | resident set with 1,000 streams open (an event a second each), after the phases above |
//!
//! CPU is the process's own accounting: the sum over its threads of `/proc/PID/task/*/schedstat` (nanoseconds),
//! read when a phase has settled and again at its end, divided by what the clients received in between. Nothing is
//! subtracted: health probes, timers, commits and metrics are in it. System time is in it too, so that a cheap
//! gateway is close to the cost of its system calls.
//!
//! An engine steps its streams together, and so does this upstream, with a write for each event. What an event costs
//! depends most on what comes with it: in the paced phase the gateway sleeps between steps and wakes cold, in the
//! stepped one it is busy and warm, and in the burst it has fallen behind and finds several events in one read. The
//! stepped figure is the steadiest; the burst one rewards whoever is slow to come and read. A stepped or burst event
//! carries its 500th of the request that opened the stream.
//!
//! # How to read it
//!
//! A run is `--rounds` rounds. In a round every gateway starts afresh, and each phase visits all of them in turn, in
//! an order that rotates, before the next phase begins: what the machine does to one it does to all. A figure is
//! the median over the rounds, with the smallest and the largest; `x` is the median of the ratios to the
//! pass-through *of the same round*. Compare ratios between machines, never microseconds. A spread wider than the
//! difference you look for means a busy machine: run it again, or with more rounds. A phase in which any answer
//! was wrong, short or refused is an error and gives no figure. The load average before the run is printed: where it
//! is not near zero, others use the two cores, and figures in wall time (TTFT, requests a second) mean little.
//!
//! The table goes to stdout, progress to stderr, every round's raw figure to `target/bench/gateway.json`.
//!
//! # Flags
//!
//! `--quick` is a smoke test of seconds. `--rounds N`. `--only farebox,passthrough` (the pass-through may be left
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
mod wire;
mod sse;
mod upstream;
mod passthrough;
mod children;
mod proxies;
mod farebox;
mod cpu;
mod load;
mod phases;
mod rounds;
mod report;

use clap::Parser as _;

/// What can go wrong in a benchmark is told to a person, once, as text.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> std::process::ExitCode {
    let outcome = match options::Role::of_this_process() {
        options::Role::Upstream => upstream::run(),
        options::Role::Passthrough(upstream) => passthrough::run(&upstream),
        options::Role::Bench => rounds::run(&options::Options::parse()),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
