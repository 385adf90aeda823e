//! `make routers`: farebox, smg and vllm-router side by side, in real time, in front of the same simulated engines.
//!
//! Each contender is given eight engines (`farebox simulate`) of its own that were started a moment ago, so that their caches are
//! empty, and then the same requests at the same moments over HTTP: the first of a trace (`make sim` reads the same one), its
//! times drawn together until the engines are as busy as `--load` says. The contenders take turns, in an order that rotates from
//! round to round.
//!
//! # The engines
//!
//! An engine works on one request after another (`--slots 1`): a prefill waits for those before it, as it does in an engine
//! that is given more prompts than a step takes. Twice as fast as `make sim`'s, and with a sixteenth of the output tokens
//! at a sixteenth of their rate, so that a run takes a minute and two cores are enough for everything in it.
//!
//! `front.rs` stands before each and answers `/tokenize`, which vllm-router asks for and the simulated engine has not.
//!
//! # What is measured
//!
//! | name | how |
//! | --- | --- |
//! | hit rate | what the engines' own `/metrics` say: cached tokens of all prompts' tokens |
//! | computed | tokens of prompts that were not cached |
//! | TTFT | by the client, from the moment it sends a request to the first content in its stream |
//! | CPU | what the gateway's process used, for each request |
//! | max/mean | the work of the engine that had most to do, prefill and decode in time, of the mean |
//!
//! A figure is the median over the rounds with the smallest and the largest; `x` is the median of the ratios to farebox of the same
//! round. The table goes to stdout, progress to stderr, every round's figures to `target/bench/routers.json`.
//!
//! `FAREBOX_BIN` names another farebox than `target/release/farebox`; `PEERS` is the folder with the two others' programs.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is the process's edge: it reads the real clock and environment, and owns its tasks"
)]
#![allow(
    clippy::float_arithmetic,
    reason = "medians and ratios of measurements; no money is near"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table is what this program is for"
)]

#[expect(
    dead_code,
    reason = "the simulation uses all of it; here only the traces are wanted"
)]
#[path = "../sim/world/mod.rs"]
mod world;
mod options;
mod load;
mod front;
mod engines;
mod gateways;
mod client;
mod figures;
mod report;

use clap::Parser as _;
use farebox_bench_support::{Outcome, children, cpu};
use figures::Run;
use gateways::Contender;
use options::Options;

/// Engines and the client share one core, the gateway has another to itself.
const LOAD_CORE: u32 = 0;
const GATEWAY_CORE: u32 = 1;

fn main() -> std::process::ExitCode {
    match rounds(&Options::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("routers: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn rounds(options: &Options) -> Outcome<()> {
    children::pin_this_process(LOAD_CORE)?;
    let load = load::of(options)?;
    println!("{}", report::about(options, &load));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut runs = Vec::new();
    for round in 0..options.rounds {
        let mut contenders = options.contenders.clone();
        let turns = contenders.len();
        contenders.rotate_left(round % turns.max(1));
        for contender in contenders {
            let run = runtime.block_on(one_run(options, &load, contender, round))?;
            eprintln!("{}", report::progress(&run));
            runs.push(run);
        }
    }
    println!("{}", report::table(&runs));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder)?;
    let file = options
        .json
        .clone()
        .unwrap_or_else(|| folder.join("routers.json"));
    std::fs::write(
        &file,
        serde_json::to_string_pretty(&report::json(options, &load, &runs))?,
    )?;
    println!("every round's figures are in {}", file.display());
    Ok(())
}

/// Engines and a gateway that know nothing yet, all requests, and what came of them.
async fn one_run(options: &Options, load: &load::Load, contender: Contender, round: usize) -> Outcome<Run> {
    let folder = std::env::temp_dir().join(format!("farebox-routers-{}", std::process::id()));
    let _nothing_there = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let fleet = engines::start(options, load, &folder).await?;
    let gateway = gateways::start(options, load, contender, &fleet, &folder).await?;
    let before = cpu::CpuReading::of(gateway.id())?;
    let answers = client::replay(&gateway, load).await?;
    let cpu_us = cpu::CpuReading::of(gateway.id())?.microseconds_since(&before);
    let engines = fleet.said().await?;
    drop((gateway, fleet));
    std::fs::remove_dir_all(&folder)?;
    Ok(Run::new(options, (contender, round), &answers, engines, cpu_us))
}
