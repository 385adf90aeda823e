//! What a run gave: as a table for a terminal, as Markdown for docs/PERFORMANCE.md, as JSON.

use crate::cost::{FLAT, Grown};
use crate::settle::{AIM_A_SECOND, Settled};
use crate::streams::Streamed;
use farebox_bench_support::machine::machine;
use farebox_bench_support::spread::Spread;
use farebox_bench_support::table::short;
use serde::Serialize;
use std::fmt::Write as _;

/// Everything that a run has to say.
#[derive(Serialize)]
pub struct Report {
    /// Processor, cores and kernel.
    pub machine: String,
    /// Over the last minute before the run.
    pub load_average_before: String,
    /// Interleaved rounds of each dimension.
    pub rounds: u32,
    /// By number of waiters.
    pub settlements: Vec<Settled>,
    /// By dimension.
    pub cost: Vec<Grown>,
    /// By number of streams.
    pub streams: Vec<Streamed>,
    /// What gave no figures, and why.
    pub faults: Vec<String>,
}

impl Report {
    /// Before anything is measured.
    pub fn new(rounds: u32) -> Self {
        Self {
            machine: machine(),
            load_average_before: farebox_bench_support::machine::load_average(),
            rounds,
            settlements: Vec::new(),
            cost: Vec::new(),
            streams: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// `what` gave no figures. What comes after it is measured all the same.
    pub fn fault(&mut self, what: &str, why: &dyn std::fmt::Display) {
        let fault = format!("{what}: {why}");
        eprintln!("{fault}");
        self.faults.push(fault);
    }

    /// Where and how it was measured, in a line.
    pub fn about(&self) -> String {
        let (machine, load, rounds) = (&self.machine, &self.load_average_before, self.rounds);
        format!("{machine}; load average before {load}; median of {rounds} rounds (min to max)")
    }

    /// As Markdown, which a terminal shows well enough.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.about());
        if !self.cost.is_empty() {
            text.push_str(&self.cost_table());
        }
        if !self.streams.is_empty() {
            text.push_str(&self.streams_table());
        }
        if !self.settlements.is_empty() {
            text.push_str(&self.settlements_table());
        }
        for fault in &self.faults {
            let _infallible = writeln!(text, "\nno figures: {fault}");
        }
        text
    }

    fn cost_table(&self) -> String {
        let mut text = String::from(
            "\n| a request at C=32, by | | CPU us | to the smallest | p50 us | p99 us | idle, % of a core | start, s | RSS at the start, MiB | RSS after, MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for grown in &self.cost {
            for sized in &grown.sizes {
                // Writing to a string cannot fail.
                let _infallible = writeln!(
                    text,
                    "| {} | {} | {} | {:.2}x ({:.2} to {:.2}) | {} | {} | {} | {} | {} | {} |",
                    grown.title,
                    thousands(sized.size),
                    said(sized.cpu_us),
                    sized.ratio.median,
                    sized.ratio.min,
                    sized.ratio.max,
                    short(sized.p50_us.median),
                    short(sized.p99_us.median),
                    short(sized.idle_percent),
                    short(sized.start_seconds),
                    short(sized.resident_mib),
                    short(sized.resident_after_mib),
                );
            }
        }
        let _infallible = writeln!(text, "\n| flat: at most {FLAT}x | |\n| --- | --- |");
        for grown in &self.cost {
            let word = if grown.is_flat() { "flat" } else { "NOT flat" };
            let _infallible = writeln!(text, "| {} | {word} |", grown.title);
        }
        text
    }

    fn streams_table(&self) -> String {
        let mut text = String::from(
            "\n| streams, an event each 50 ms | | whole | events a second | of those paced, % | gateway's core, % | CPU us an event | RSS MiB | KiB a stream | gap p50 ms | gap p99 ms |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        let given = |figure: Option<f64>| figure.map(short).unwrap_or_default();
        for row in &self.streams {
            let paced = f64::from(row.streams) * 20.0;
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {} | {:.0} | {} | {} | {} | {} | {} | {} |",
                thousands(row.streams.into()),
                row.through.name(),
                thousands(row.whole),
                short(row.events_a_second),
                row.events_a_second / paced * 100.0,
                given(row.core_percent),
                given(row.cpu_us),
                given(row.resident_mib),
                given(row.stream_kib),
                short(row.gap_p50_ms),
                short(row.gap_p99_ms),
            );
        }
        for row in &self.streams {
            if let Some(fault) = &row.fault {
                let _infallible = writeln!(text, "\n{} {}: {fault}", row.streams, row.through.name());
            }
        }
        text
    }

    fn settlements_table(&self) -> String {
        let mut text = format!(
            "\n| waiters | settlements a second | wait p50 ms | p99 ms | commits a second | entries each | commit p50 ms | p99 ms | SQLite CPU us an entry | other CPU us | bare fsync p50 ms | p99 ms | {AIM_A_SECOND} a second | p99 within 2 fsyncs |\n|{}\n",
            " --- |".repeat(14)
        );
        let word = |met| if met { "met" } else { "NOT met" };
        for row in &self.settlements {
            let figures = [
                row.a_second,
                row.wait_p50_ms,
                row.wait_p99_ms,
                row.commits_a_second,
                row.batch,
                row.commit_p50_ms,
                row.commit_p99_ms,
                row.sqlite_us,
                row.rest_us,
                row.fsync_p50_ms,
                row.fsync_p99_ms,
            ];
            let cells: Vec<String> = figures.into_iter().map(short).collect();
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {} |",
                thousands(row.waiters),
                cells.join(" | "),
                word(row.is_fast()),
                word(row.is_prompt()),
            );
        }
        text
    }
}

fn said(Spread { median, min, max }: Spread) -> String {
    format!("{} ({} to {})", short(median), short(min), short(max))
}

/// With commas.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
