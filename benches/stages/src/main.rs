//! Counts what each stage costs and holds it against `baseline.json`: `make stages`. `--accept` writes that file
//! (`make stages-accept`), `--run STAGE` is what callgrind is given.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program for people to read"
)]

use farebox_stages::baseline::{Baseline, LIMIT_PERCENT, Toolchain, Verdict, change, judge};
use farebox_stages::run::Fault;
use farebox_stages::{STAGES, count, find};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The way to accept what was found.
const ACCEPT: &str = "make stages-accept";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let passed = match arguments[..] {
        [] => gate(),
        ["--accept"] => accept().map(|()| true),
        ["--run", name] => find(name)
            .map_or_else(|| Err("no such stage".into()), count::run)
            .map(|()| true),
        _ => Err("stages [--accept | --run STAGE]".into()),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("stages: {fault}");
            ExitCode::from(64)
        }
    }
}

/// Where this package is.
fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn baseline_file() -> PathBuf {
    home().join("baseline.json")
}

/// Where the profiles go: beside this program.
fn profiles() -> Result<PathBuf, Fault> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("no folder")?.join("profiles"))
}

fn count_all() -> Result<Baseline, Fault> {
    Ok(Baseline {
        counted_with: Toolchain::here()?,
        instructions: count::all(&profiles()?)?,
    })
}

fn accept() -> Result<(), Fault> {
    let now = count_all()?;
    let accepted = match Baseline::read(&baseline_file())? {
        Some(before) => before.accept(now),
        None => now,
    };
    accepted.write(&baseline_file())?;
    println!("written: {}", baseline_file().display());
    Ok(())
}

/// Whether no stage has become dearer than it may.
fn gate() -> Result<bool, Fault> {
    let before = Baseline::read(&baseline_file())?.ok_or("no baseline.json: make stages-accept writes it")?;
    let now = count_all()?;
    let judged = before.counted_with == now.counted_with;
    println!(
        "{:<28} {:>13} {:>13} {:>9}",
        "instructions of one run", "accepted", "now", "change"
    );
    let mut messages = Vec::new();
    let mut passed = true;
    for stage in STAGES {
        let accepted = before.instructions.get(stage.name).copied();
        let count = now
            .instructions
            .get(stage.name)
            .copied()
            .ok_or("a stage was not counted")?;
        let changed = accepted.map_or_else(String::new, |accepted| change(accepted, count));
        let shown = accepted.map_or_else(String::new, |accepted| accepted.to_string());
        println!("{:<28} {shown:>13} {count:>13} {changed:>9}", stage.name);
        match judge(accepted, count) {
            Verdict::Same => {}
            Verdict::New => {
                passed = false;
                messages.push(format!("`{}` has no accepted count.", stage.name));
            }
            Verdict::Dearer => {
                passed = false;
                messages.push(format!(
                    "`{}` costs {count} instructions, {shown} were accepted: {changed}, and {LIMIT_PERCENT} % is let pass.\n    \
                     Where they go: callgrind_annotate {}",
                    stage.name,
                    count::profile_of(stage.name, &profiles()?).display()
                ));
            }
            Verdict::Cheaper => messages.push(format!(
                "`{}` costs {count} instructions, {shown} were accepted: {changed}. `{ACCEPT}` lowers that.",
                stage.name
            )),
        }
    }
    for gone in before.instructions.keys().filter(|name| find(name).is_none()) {
        passed = false;
        messages.push(format!("`{gone}` is in baseline.json and no stage."));
    }
    if !judged {
        println!(
            "\nNot judged: these were accepted with {:?}, and this is {:?}. Two toolchains make other code of the same text; \
             `{ACCEPT}` begins anew with this one.",
            before.counted_with, now.counted_with
        );
        return Ok(true);
    }
    if !messages.is_empty() {
        println!("\n{}", messages.join("\n"));
    }
    if !passed {
        println!(
            "\nIf it is worth it, `{ACCEPT}` writes benches/stages/baseline.json; commit that, and say why."
        );
    }
    Ok(passed)
}
