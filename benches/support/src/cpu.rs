//! What the kernel says a process has used: CPU time of all of its threads, and resident memory.

use crate::Outcome;
use std::collections::BTreeMap;
use std::path::Path;

/// A tick of `/proc/PID/stat` in nanoseconds: USER_HZ is 100 on Linux.
const TICK_NS: u64 = 10_000_000;

/// CPU time since a process began.
pub struct CpuReading {
    /// By thread id, nanoseconds on a core. A thread that has ended is in here no more.
    threads: BTreeMap<String, u64>,
    /// utime + stime of the process, ended threads too, but only to the tick.
    process_ns: u64,
}

impl CpuReading {
    /// Of the process `id`, now.
    pub fn of(id: u32) -> Outcome<Self> {
        let mut threads = BTreeMap::new();
        for thread in std::fs::read_dir(format!("/proc/{id}/task"))?.flatten() {
            if let Some(on_core) = nanoseconds_on_core(&thread.path()) {
                threads.insert(thread.file_name().to_string_lossy().into_owned(), on_core);
            }
        }
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let (_, after_name) = stat.rsplit_once(')').ok_or("an unreadable /proc/PID/stat")?;
        // proc(5): utime and stime are fields 14 and 15; the state after the name is the third.
        let ticks = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>);
        Ok(Self {
            threads,
            process_ns: ticks.sum::<Result<u64, _>>()? * TICK_NS,
        })
    }

    /// Microseconds used since `earlier`. To the nanosecond, or to the tick where a thread ended in between or the
    /// kernel keeps no schedstat.
    pub fn microseconds_since(&self, earlier: &Self) -> f64 {
        let a_thread_ended = earlier
            .threads
            .keys()
            .any(|thread| !self.threads.contains_key(thread));
        let nanoseconds = if a_thread_ended || self.threads.is_empty() {
            self.process_ns.saturating_sub(earlier.process_ns)
        } else {
            let (now, then) = (
                self.threads.values().sum::<u64>(),
                earlier.threads.values().sum::<u64>(),
            );
            now.saturating_sub(then)
        };
        nanoseconds as f64 / 1_000.0
    }
}

/// CPU microseconds so far of those threads of the process `id` whose name begins so.
pub fn microseconds_of_threads(id: u32, name: &str) -> Outcome<f64> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task"))?.flatten();
    let named = threads.filter(|thread| {
        let comm = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        comm.starts_with(name)
    });
    let nanoseconds: u64 = named
        .filter_map(|thread| nanoseconds_on_core(&thread.path()))
        .sum();
    Ok(nanoseconds as f64 / 1_000.0)
}

/// The first field of `schedstat`. `None`: the thread has just ended, or the kernel does not keep it.
fn nanoseconds_on_core(thread: &Path) -> Option<u64> {
    let schedstat = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    schedstat.split_whitespace().next()?.parse().ok()
}

/// VmRSS of the process `id`, in bytes.
pub fn resident_bytes(id: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("a process without VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1_024.0)
}
