//! `make sim`: a trace replayed through farebox's own routing, with simulated engines in virtual time.
//!
//! - `trace`: requests, from a file or made up
//! - `engine`: an engine that batches continuously, prefills in chunks and keeps a cache of blocks
//! - `run`: one policy, one load; `policy`: who chooses
//! - `report`: a table and a drawing
#![allow(
    clippy::float_arithmetic,
    clippy::print_stdout,
    reason = "it draws and prints what it measured"
)]

mod trace;
mod engine;
mod policy;
mod run;
mod report;

use clap::Parser;
use policy::Policy;
use std::path::PathBuf;

/// Replays a trace through the routing code with simulated engines in virtual time.
#[derive(Debug, Parser)]
struct Args {
    /// One request a line: timestamp (ms), input_length, output_length, hash_ids. Made up where it is not given.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Engines.
    #[arg(long, value_delimiter = ',', default_value = "8,64")]
    engines: Vec<usize>,
    /// Percent of the capacity that the engines would have with one infinite cache.
    #[arg(long, value_delimiter = ',', default_value = "60,80,95")]
    loads: Vec<u32>,
    /// Blocks that one engine's cache holds; all of them together hold the same number at any number of engines.
    #[arg(long, default_value_t = 60_000)]
    cache_blocks: usize,
    /// How many times as often the hottest prefix is asked for.
    #[arg(long, default_value_t = 10)]
    hot: usize,
    /// Where the drawing goes.
    #[arg(long, default_value = "target/sim.svg")]
    svg: PathBuf,
    /// Where the figures go.
    #[arg(long, default_value = "target/sim.json")]
    json: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let trace = match &args.trace {
        Some(path) => trace::read(path)?,
        None => trace::made_up(),
    };
    println!("{}", report::about(&trace, args.cache_blocks));
    println!("{}", report::HEADER);
    let mut rows = Vec::new();
    for &engines in &args.engines {
        let capacity = run::capacity(&trace, engines);
        for &load in &args.loads {
            for policy in Policy::ALL {
                let result = run::run(&trace, policy, engines, args.cache_blocks, capacity, load);
                println!("{}", report::line(&result));
                rows.push(result);
            }
        }
    }
    let hot = trace::hot(&trace, args.hot);
    println!(
        "\nThe hottest prefix {} times as often:\n{}",
        args.hot,
        report::HEADER
    );
    for &engines in &args.engines {
        let capacity = run::capacity(&hot, engines);
        for policy in [Policy::LeastLoaded, Policy::Prefix] {
            let result = run::run(&hot, policy, engines, args.cache_blocks, capacity, 80);
            println!("{}", report::line(&result));
        }
    }
    std::fs::write(&args.svg, report::draw(&rows))?;
    std::fs::write(&args.json, serde_json::to_string_pretty(&rows)?)?;
    println!(
        "\nDrawn in {}, figures in {}",
        args.svg.display(),
        args.json.display()
    );
    Ok(())
}
