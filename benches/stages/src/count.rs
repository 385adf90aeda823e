//! Counting the instructions of a stage: this program again, under valgrind's callgrind, which collects while [`counted`] runs.
//!
//! What is set up and prepared is outside of it, so it costs time and counts nothing. Callgrind has a processor of its own, so
//! the count depends neither on what else the machine does nor on how fast it is.

use crate::run::{Fault, Run};
use crate::{STAGES, Stage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// How callgrind calls [`counted`], whatever the compiler puts around it.
const TOGGLE: &str = "--toggle-collect=*farebox_stages::count::counted*";
/// Runs before the first that counts: what is made once, such as a table or a buffer, is there then.
const WARM_UP: u64 = 8;

/// What is counted. Callgrind knows it by its name, so it stays a function of its own.
#[inline(never)]
pub fn counted(stage: &mut dyn Run, runs: u64) -> Result<(), Fault> {
    for _ in 0..runs {
        stage.run()?;
    }
    Ok(())
}

/// Sets a stage up and runs it, warm: the process that callgrind looks at.
pub fn run(stage: &Stage) -> Result<(), Fault> {
    let mut ready = (stage.set_up)()?;
    for _ in 0..WARM_UP {
        ready.prepare()?;
        ready.run()?;
    }
    for _ in 0..stage.runs {
        ready.prepare()?;
    }
    counted(&mut *ready, stage.runs)
}

/// The profile that callgrind left of a stage, in this folder.
pub fn profile_of(stage: &str, folder: &Path) -> PathBuf {
    folder.join(format!("{stage}.callgrind"))
}

/// Instructions of one run of each stage, by its name. The profiles go into `folder`. As many are counted at once as there
/// are processors.
pub fn all(folder: &Path) -> Result<BTreeMap<String, u64>, Fault> {
    std::fs::create_dir_all(folder)?;
    // Last come those that take as long as all others.
    let left = Mutex::new(STAGES.iter().collect::<Vec<_>>());
    let found = Mutex::new(Ok(BTreeMap::new()));
    let work = || {
        while let Some(stage) = left.lock().ok().and_then(|mut left| left.pop()) {
            let count = one(stage, folder);
            let Ok(mut found) = found.lock() else { return };
            match (&mut *found, count) {
                (Ok(found), Ok(count)) => drop(found.insert(stage.name.to_owned(), count)),
                (Ok(_), Err(fault)) => *found = Err(fault),
                (Err(_), _) => return,
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    found.into_inner().map_err(|_| "a count panicked")?
}

fn one(stage: &Stage, folder: &Path) -> Result<u64, Fault> {
    let profile = profile_of(stage.name, folder);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", TOGGLE])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args(["--run", stage.name])
        .output()
        .map_err(|fault| format!("valgrind: {fault} (scripts/setup tools installs it)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} did not run:\n{said}", stage.name).into());
    }
    let total = total_of(&std::fs::read_to_string(&profile)?);
    // A name that was not found counts nothing at all.
    let total = total.filter(|total| *total > 0);
    let total = total.ok_or_else(|| format!("{}: callgrind collected nothing:\n{said}", stage.name))?;
    Ok(total / stage.runs)
}

/// `totals: N`, the last line of a profile.
fn total_of(profile: &str) -> Option<u64> {
    profile
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(total_of("events: Ir\n\n0 12\n\ntotals: 4711\n"), Some(4711));
        assert_eq!(total_of("events: Ir\n"), None);
    }

    #[test]
    fn each_stage_does_what_it_should_again_and_again() -> Result<(), Fault> {
        for stage in STAGES {
            let mut ready = (stage.set_up)()?;
            for _ in 0..3 {
                ready.prepare()?;
                ready.prepare()?;
            }
            counted(&mut *ready, 6).map_err(|fault| format!("{}: {fault}", stage.name))?;
        }
        Ok(())
    }
}
