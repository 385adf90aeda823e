//! What each stage takes by the clock on the wall: `cargo bench -p farebox-stages --bench clock [-- STAGE]`.
#![expect(clippy::disallowed_methods, reason = "it measures with the real clock")]

use criterion::Criterion;
use farebox_stages::STAGES;
use farebox_stages::run::{Fault, Run};
use std::time::{Duration, Instant};

/// Runs that are prepared at once.
const TOGETHER: u64 = 16;

fn main() -> Result<(), Fault> {
    let mut criterion = Criterion::default().configure_from_args();
    for stage in STAGES {
        // Set up for the stages that are asked for alone: a hundred thousand keys take a moment.
        let mut ready: Option<Box<dyn Run>> = None;
        let mut fault = None;
        criterion.bench_function(stage.name, |bencher| {
            bencher.iter_custom(|runs| {
                timed(&mut ready, stage, runs).unwrap_or_else(|failed| {
                    fault = Some(failed);
                    // Criterion wants a time, and does not believe in zero.
                    Duration::from_secs(1)
                })
            });
        });
        if let Some(fault) = fault {
            return Err(format!("{}: {fault}", stage.name).into());
        }
    }
    criterion.final_summary();
    Ok(())
}

fn timed(
    ready: &mut Option<Box<dyn Run>>,
    stage: &farebox_stages::Stage,
    runs: u64,
) -> Result<Duration, Fault> {
    let ready = match ready {
        Some(ready) => ready,
        none => none.insert((stage.set_up)()?),
    };
    let (mut left, mut spent) = (runs, Duration::ZERO);
    while left > 0 {
        let together = left.min(TOGETHER);
        for _ in 0..together {
            ready.prepare()?;
        }
        let begun = Instant::now();
        for _ in 0..together {
            ready.run()?;
        }
        spent += begun.elapsed();
        left -= together;
    }
    Ok(spent)
}
