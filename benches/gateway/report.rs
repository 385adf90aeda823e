//! Medians, spread and ratios; the table and the JSON.

use crate::options::{Options, Phase, Subject};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A figure that a round gives for a subject. `main.rs` says what each is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Metric {
    /// CPU microseconds a request.
    RequestCpu,
    /// Requests a second.
    RequestRate,
    /// How much of its core the gateway had, percent.
    CoreBusy,
    /// CPU microseconds an event, streams as fast as they go.
    BurstChunkCpu,
    /// CPU microseconds an event, streams that step together.
    SteppedChunkCpu,
    /// CPU microseconds an event, slow streams.
    PacedChunkCpu,
    /// Microseconds to the first event, median.
    TtftP50,
    /// Microseconds to the first event, 99th percentile.
    TtftP99,
    /// `TtftP50` less the direct one.
    AddedTtftP50,
    /// `TtftP99` less the direct one.
    AddedTtftP99,
    /// Resident memory with all streams open, MiB.
    Resident,
}

impl Metric {
    /// In the order of the table.
    pub const ALL: [Self; 11] = [
        Self::RequestCpu,
        Self::PacedChunkCpu,
        Self::SteppedChunkCpu,
        Self::BurstChunkCpu,
        Self::TtftP50,
        Self::TtftP99,
        Self::AddedTtftP50,
        Self::AddedTtftP99,
        Self::Resident,
        Self::RequestRate,
        Self::CoreBusy,
    ];

    /// Its name in the JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::RequestCpu => "request_cpu_us",
            Self::RequestRate => "requests_per_second",
            Self::CoreBusy => "request_core_busy_percent",
            Self::BurstChunkCpu => "burst_chunk_cpu_us",
            Self::SteppedChunkCpu => "stepped_chunk_cpu_us",
            Self::PacedChunkCpu => "paced_chunk_cpu_us",
            Self::TtftP50 => "ttft_p50_us",
            Self::TtftP99 => "ttft_p99_us",
            Self::AddedTtftP50 => "added_ttft_p50_us",
            Self::AddedTtftP99 => "added_ttft_p99_us",
            Self::Resident => "rss_mib",
        }
    }

    fn title(self, options: &Options) -> String {
        match self {
            Self::RequestCpu => "request at C=32, CPU us".into(),
            Self::RequestRate => "requests a second at C=32".into(),
            Self::CoreBusy => "gateway's core while it does, %".into(),
            Self::BurstChunkCpu => "burst SSE chunk, CPU us".into(),
            Self::SteppedChunkCpu => "stepped SSE chunk, CPU us".into(),
            Self::PacedChunkCpu => "paced SSE chunk, CPU us".into(),
            Self::TtftP50 => "TTFT p50 at C=32, us".into(),
            Self::TtftP99 => "TTFT p99 at C=32, us".into(),
            Self::AddedTtftP50 => "TTFT p50 added over direct, us".into(),
            Self::AddedTtftP99 => "TTFT p99 added over direct, us".into(),
            Self::Resident => format!("RSS at {} open streams, MiB", options.open_streams()),
        }
    }
}

/// All figures of one round.
#[derive(Default)]
pub struct Round(BTreeMap<(Metric, Subject), f64>);

impl Round {
    /// What a phase gave.
    pub fn add(&mut self, subject: Subject, figures: Vec<(Metric, f64)>) {
        self.0.extend(
            figures
                .into_iter()
                .map(|(metric, value)| ((metric, subject), value)),
        );
    }

    /// Once all phases are through: what each gateway adds over direct.
    pub fn add_latencies(&mut self) {
        for (total, added) in [
            (Metric::TtftP50, Metric::AddedTtftP50),
            (Metric::TtftP99, Metric::AddedTtftP99),
        ] {
            let Some(direct) = self.get(total, Subject::Direct) else {
                continue;
            };
            for subject in Subject::ALL
                .into_iter()
                .filter(|subject| *subject != Subject::Direct)
            {
                if let Some(through) = self.get(total, subject) {
                    self.0.insert((added, subject), through - direct);
                }
            }
        }
    }

    fn get(&self, metric: Metric, subject: Subject) -> Option<f64> {
        self.0.get(&(metric, subject)).copied()
    }
}

/// A median with its spread.
struct Summary {
    median: f64,
    min: f64,
    max: f64,
}

impl Summary {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self {
            median: f64::midpoint(lower, upper),
            min,
            max,
        })
    }

    fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// Everything that a run has to say.
pub struct Report<'a> {
    options: &'a Options,
    /// In the order in which they were run.
    pub rounds: Vec<Round>,
    /// What gave no figure, and why.
    pub faults: Vec<String>,
    left_out: BTreeMap<Subject, String>,
    load_before: String,
}

impl<'a> Report<'a> {
    /// Before the first round.
    pub fn new(options: &'a Options) -> Self {
        let load_before = load_average();
        Self {
            options,
            rounds: Vec::new(),
            faults: Vec::new(),
            left_out: BTreeMap::new(),
            load_before,
        }
    }

    /// `subject` did not start. Only farebox and the pass-through are this bench's to answer for.
    pub fn leave_out(&mut self, subject: Subject, why: &str) {
        if self.left_out.insert(subject, why.to_owned()).is_none() {
            eprintln!("{} is left out: {why}", subject.name());
        }
        if matches!(
            subject,
            Subject::Farebox | Subject::Rated | Subject::Passthrough | Subject::Direct
        ) {
            self.faults.push(format!("{}: {why}", subject.name()));
        }
    }

    /// `phase` of `subject` gave no figure.
    pub fn fault(&mut self, subject: Subject, phase: Phase, why: &str) {
        let fault = format!("{} {phase:?}: {why}", subject.name());
        eprintln!("{fault}");
        self.faults.push(fault);
    }

    fn figures(&self, metric: Metric, subject: Subject) -> Option<Summary> {
        Summary::of(
            self.rounds
                .iter()
                .filter_map(|round| round.get(metric, subject))
                .collect(),
        )
    }

    /// To the pass-through of the same round.
    fn ratios(&self, metric: Metric, subject: Subject) -> Option<Summary> {
        let ratio = |round: &Round| {
            let (own, floor) = (
                round.get(metric, subject)?,
                round.get(metric, Subject::Passthrough)?,
            );
            // A latency below direct's is noise, and so is what it would be divided by.
            (own > 0.0 && floor > 0.0).then(|| own / floor)
        };
        Summary::of(self.rounds.iter().filter_map(ratio).collect())
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let (machine, rounds, kind) = (machine(), self.rounds.len(), &self.options.kind);
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            table,
            "{machine}; median of {rounds} rounds (min to max); engine kind {kind}\n"
        );
        for metric in Metric::ALL {
            let _infallible = writeln!(table, "{}", metric.title(self.options));
            for subject in Subject::ALL {
                let Some(figure) = self.figures(metric, subject) else {
                    continue;
                };
                let ratio = self.ratios(metric, subject).map_or_else(String::new, |ratio| {
                    format!("{:6.2}x  ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max)
                });
                let spread = format!("({:.1} to {:.1})", figure.min, figure.max);
                let _infallible = writeln!(
                    table,
                    "  {:<12}{:>10.1}  {spread:<22}{ratio}",
                    subject.name(),
                    figure.median
                );
            }
        }
        for (subject, why) in &self.left_out {
            let _infallible = writeln!(table, "{} is left out: {why}", subject.name());
        }
        table
    }

    /// For programs: summaries, and under `rounds` the raw figures.
    pub fn json(&self) -> Value {
        let summaries = Metric::ALL.map(|metric| {
            let subjects = Subject::ALL.into_iter().filter_map(|subject| {
                let mut entry = self.figures(metric, subject)?.json();
                entry["ratio"] = self
                    .ratios(metric, subject)
                    .map_or(Value::Null, |ratio| ratio.json());
                Some((subject.name().to_owned(), entry))
            });
            (metric.key().to_owned(), Value::Object(subjects.collect()))
        });
        let raw = |round: &Round| {
            let mut by_metric = json!({});
            for ((metric, subject), value) in &round.0 {
                by_metric[metric.key()][subject.name()] = json!(value);
            }
            by_metric
        };
        let left_out = self
            .left_out
            .iter()
            .map(|(subject, why)| (subject.name().to_owned(), json!(why)));
        json!({
            "machine": machine(),
            "load_average_before": self.load_before,
            "engine_kind": self.options.kind,
            "open_streams": self.options.open_streams(),
            "metrics": Value::Object(summaries.into_iter().collect()),
            "rounds": self.rounds.iter().map(raw).collect::<Vec<_>>(),
            "left_out": Value::Object(left_out.collect()),
            "faults": self.faults,
        })
    }
}

/// Processor, cores and kernel: enough to know whether two runs compare.
fn machine() -> String {
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
fn load_average() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}
