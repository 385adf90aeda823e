//! What a run is measured on, and where its files go.

use crate::Outcome;
use std::path::PathBuf;

/// Processor, cores and kernel: enough to know whether two runs compare.
pub fn machine() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = processors
        .lines()
        .filter_map(|line| line.strip_prefix("model name"))
        .collect();
    let model = models.first().map_or("unknown processor", |line| {
        line.trim_start_matches(['\t', ' ', ':'])
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} x {model}, Linux {}", models.len().max(1), kernel.trim())
}

/// Over the last minute: above zero, somebody else is using the cores that are being measured.
pub fn load_average() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// `target/bench`, beside the profile's folder that this executable is in: on the disk that builds are on, so that
/// a ledger's fsync is a real one.
pub fn output_folder() -> Outcome<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this
        .ancestors()
        .nth(3)
        .ok_or("an executable that is in no target folder")?
        .join("bench"))
}
