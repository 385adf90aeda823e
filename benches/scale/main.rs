//! The scale benchmark: what it costs farebox to be large.
//!
//! 1. A request's CPU by the number of keys, models, engines and ledger entries; it is to be flat.
//! 2. Up to 10,000 streams at once, with an event each 50 ms.
//! 3. Durable settlements a second, and how long one waits.
//!
//! docs/PERFORMANCE.md says how each is measured and how to read it. `make scale`, or `cargo bench --bench scale -- [flags]`.
//! The table goes to stdout, progress to stderr, all figures to `target/bench/scale.json`. Data is kept in `target/bench/scale`
//! (3 GB), and copied for each run, which takes as much again: the first run makes it, in two minutes.
//!
//! # Flags
//!
//! `--only settlements,keys,models,engines,entries,streams`, `--rounds N`, `--quick`; `--svg PATH`, `--markdown PATH` (between the
//! marks "scale" of a file); `--load-core` (0), `--gateway-core` (1). `FAREBOX_BIN` names another farebox for all but the
//! settlements, which are booked in this process.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is the process's edge: it reads the real clock and owns its tasks"
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
mod made;
mod gateway;
mod cost;
mod streams;
mod disk;
mod settle;
mod report;
mod draw;

use clap::Parser as _;
use farebox_bench_support::Outcome;
use farebox_bench_support::children::pin_this_process;
use farebox_bench_support::machine::output_folder;
use farebox_bench_support::roles;
use farebox_bench_support::table::write_between_marks;
use options::{Options, Part};
use report::Report;

fn main() -> std::process::ExitCode {
    match roles::play().unwrap_or_else(|| run(&Options::parse())) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let output = output_folder()?;
    std::fs::create_dir_all(&output)?;
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&output)?;
    let mut report = Report::new(options.rounds());
    if options.parts().any(|part| part == Part::Settlements) {
        // Before this process is pinned: they have both cores.
        report.settlements = settle::run(options, folder.path())?;
    }
    pin_this_process(options.load_core)?;
    let (_upstream, upstream) = roles::start_upstream(options.load_core, folder.path())?;
    let place = gateway::Place {
        core: options.gateway_core,
        upstream,
        folder: folder.path(),
        kept: &output.join("scale"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for part in options.parts() {
        for dimension in cost::dimensions(part, options) {
            match runtime.block_on(dimension.run(options, &place)) {
                Ok(grown) => report.cost.push(grown),
                Err(error) => report.fault(dimension.title, &error),
            }
        }
        if part == Part::Streams {
            match runtime.block_on(streams::run(options, &place)) {
                Ok(streams) => report.streams = streams,
                Err(error) => report.fault("streams", &error),
            }
        }
    }
    let markdown = report.markdown();
    println!("{markdown}");
    std::fs::write(output.join("scale.json"), serde_json::to_vec_pretty(&report)?)?;
    if let Some(path) = &options.svg {
        std::fs::write(path, draw::svg(&report))?;
        println!("drawn in {}", path.display());
    }
    if let Some(path) = &options.markdown {
        write_between_marks(path, "scale", &markdown)?;
        println!("tables in {}", path.display());
    }
    if report.faults.is_empty() {
        Ok(())
    } else {
        Err("not every part gave figures; see above".into())
    }
}
