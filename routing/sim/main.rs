//! `make sim`: a trace replayed through farebox's own routing, with simulated engines in virtual time.
//!
//! - `world`: requests, engines, and the gateway between them
//! - `report`: a table; `aims`: what routing is held to; `draw`: a drawing
#![allow(
    clippy::float_arithmetic,
    clippy::print_stdout,
    reason = "it draws and prints what it measured"
)]

mod world;
mod report;
mod aims;
mod draw;

use aims::Aims;
use clap::Parser;
use std::path::{Path, PathBuf};
use world::policy::Policy;
use world::run::{Outcome, Setting, capacity, run};
use world::trace::{self, Request};

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
    /// Loads at which prefix must not be worse than least_loaded either.
    #[arg(long, value_delimiter = ',', default_value = "10,30")]
    light_loads: Vec<u32>,
    /// Blocks that all caches hold together, shared out among the engines.
    #[arg(long, default_value_t = 60_000)]
    cache_blocks: usize,
    /// How many times as often the hottest prefix is asked for.
    #[arg(long, default_value_t = 10)]
    hot: usize,
    /// The gateway thinks that the engines hold so many percent of what they do.
    #[arg(long, value_delimiter = ',', default_value = "200,50")]
    believed_cache_percent: Vec<usize>,
    /// How many times slower one engine is.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    slow: u64,
    /// Where the drawing goes.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Where the figures go.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let trace = match &args.trace {
        Some(path) => read(path).map_err(|fault| format!("{}: {fault}", path.display()))?,
        None => trace::made_up(),
    };
    println!("{}", report::about(&trace, args.cache_blocks));
    let plain = |policy, engines, load| Setting::plain(policy, engines, load, args.cache_blocks);

    let full = Part::of(&trace, &args.engines, "Each policy at each load", |engines| {
        each(&args.loads, &Policy::ALL, |load, policy| {
            plain(policy, engines, load)
        })
    });
    let pair = [Policy::LeastLoaded, Policy::Prefix];
    let light = Part::of(&trace, &args.engines, "Light loads", |engines| {
        each(&args.light_loads, &pair, |load, policy| {
            plain(policy, engines, load)
        })
    });
    let hotter = trace::hot(&trace, args.hot);
    let about = format!("The hottest prefix {} times as often", args.hot);
    let hot = Part::of(&hotter, &args.engines, &about, |engines| {
        each(&args.loads, &pair, |load, policy| plain(policy, engines, load))
    });
    let about = "The gateway thinks that the engines hold more or less than they do; they say what was cached, or do not";
    let wrong = Part::of(&trace, &args.engines, about, |engines| {
        each(
            &args.believed_cache_percent,
            &[true, false],
            |believed_percent, told| Setting {
                believed_percent,
                told,
                ..plain(Policy::Prefix, engines, 80)
            },
        )
    });
    let about = format!(
        "One engine {} times slower, at the same percent of the capacity that is left",
        args.slow
    );
    let slow = Part::of(&trace, &args.engines, &about, |engines| {
        each(&args.loads, &pair, |load, policy| Setting {
            slow: args.slow,
            ..plain(policy, engines, load)
        })
    });

    println!("{}", Aims::of(&full.runs, &light.runs, &hot.runs, &slow.runs));
    if let Some(path) = &args.svg {
        std::fs::write(path, draw::svg(&full.runs))?;
        println!("drawn in {}", path.display());
    }
    if let Some(path) = &args.json {
        let parts = [full, light, hot, wrong, slow];
        std::fs::write(path, serde_json::to_string_pretty(&parts)?)?;
        println!("figures in {}", path.display());
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Request>, String> {
    trace::parse(&std::fs::read_to_string(path).map_err(|fault| fault.to_string())?)
}

fn each<A: Copy, B: Copy>(ones: &[A], others: &[B], setting: impl Fn(A, B) -> Setting) -> Vec<Setting> {
    let pairs = ones
        .iter()
        .flat_map(|&one| others.iter().map(move |&other| (one, other)));
    pairs.map(|(one, other)| setting(one, other)).collect()
}

/// Runs that belong together.
#[derive(serde::Serialize)]
struct Part {
    about: String,
    runs: Vec<Outcome>,
}

impl Part {
    /// Runs the settings for each number of engines, and prints each as it ends.
    fn of(
        trace: &[Request],
        engines: &[usize],
        about: &str,
        settings: impl Fn(usize) -> Vec<Setting>,
    ) -> Self {
        println!("{}", report::heading(about));
        let mut runs = Vec::new();
        for &engines in engines {
            let capacity = capacity(trace, engines);
            for setting in settings(engines) {
                let outcome = run(trace, setting, capacity);
                println!("{}", report::line(&outcome));
                runs.push(outcome);
            }
        }
        Self {
            about: about.to_owned(),
            runs,
        }
    }
}
