//! What the rounds gave: medians, spread, ratios, aims; and all of it as JSON.

use crate::metric::{AIMS, Bound, Metric, aims_of};
use crate::options::{Options, Phase, Subject};
use farebox_bench_support::machine::{load_average, machine};
use farebox_bench_support::spread::Spread;
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
        for (total, added) in Metric::ADDED {
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

/// An aim, and whether it was met.
pub struct Verdict {
    /// What is bound.
    pub metric: Metric,
    /// By how much.
    pub bound: Bound,
    /// What the bound is on: farebox's figure, or its ratio.
    pub figure: Spread,
    /// By the median.
    pub met: bool,
}

/// Everything that a run has to say.
pub struct Report<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// In the order in which they were run.
    pub rounds: Vec<Round>,
    /// What gave no figure, and why.
    faults: Vec<String>,
    /// Whether any of that was this repository's to answer for.
    pub failed: bool,
    /// Who or what is not in this run, and why.
    pub left_out: BTreeMap<&'static str, String>,
    /// Over the last minute before the first round.
    pub load_before: String,
}

impl<'a> Report<'a> {
    /// Before the first round.
    pub fn new(options: &'a Options) -> Self {
        let load_before = load_average();
        Self {
            options,
            rounds: Vec::new(),
            faults: Vec::new(),
            failed: false,
            left_out: BTreeMap::new(),
            load_before,
        }
    }

    /// `subject` did not start.
    pub fn leave_out(&mut self, subject: Subject, why: &str) {
        if subject.is_ours() {
            self.failed = true;
            self.faults.push(format!("{}: {why}", subject.name()));
        }
        self.leave_out_all(subject.name(), why);
    }

    /// `what` is not measured, said once.
    pub fn leave_out_all(&mut self, what: &'static str, why: &str) {
        if self.left_out.insert(what, why.to_owned()).is_none() {
            eprintln!("{what} is left out: {why}");
        }
    }

    /// `phase` of `subject` gave no figure. What another gateway cannot do is said, and is no fault of this bench.
    pub fn fault(&mut self, subject: Subject, phase: Phase, why: &str) {
        let fault = format!("{} {phase:?}: {why}", subject.name());
        eprintln!("{fault}");
        self.failed |= subject.is_ours();
        self.faults.push(fault);
    }

    /// Those of all rounds.
    pub fn figures(&self, metric: Metric, subject: Subject) -> Option<Spread> {
        Spread::of(
            self.rounds
                .iter()
                .filter_map(|round| round.get(metric, subject))
                .collect(),
        )
    }

    /// To the pass-through of the same round.
    pub fn ratios(&self, metric: Metric, subject: Subject) -> Option<Spread> {
        let ratio = |round: &Round| {
            let (own, floor) = (
                round.get(metric, subject)?,
                round.get(metric, Subject::Passthrough)?,
            );
            // A latency below direct's is noise, and so is what it would be divided by.
            (own > 0.0 && floor > 0.0).then(|| own / floor)
        };
        Spread::of(self.rounds.iter().filter_map(ratio).collect())
    }

    /// How farebox stands to each aim that it gave a figure for.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let verdict = |(metric, bound): (Metric, Bound)| {
            let (figure, most) = match bound {
                Bound::Times(most) => (self.ratios(metric, Subject::Farebox)?, most),
                Bound::AtMost(most, _) => (self.figures(metric, Subject::Farebox)?, most),
            };
            let met = figure.median <= most;
            Some(Verdict {
                metric,
                bound,
                figure,
                met,
            })
        };
        let held_to = AIMS
            .into_iter()
            .filter(|(metric, _)| aims_of(*metric, self.options).next().is_some());
        held_to.filter_map(verdict).collect()
    }

    /// For programs: summaries, and under `rounds` the raw figures.
    pub fn json(&self) -> Value {
        let summaries = Metric::ALL.map(|metric| {
            let subjects = Subject::ALL.into_iter().filter_map(|subject| {
                let mut entry = json!(self.figures(metric, subject)?);
                entry["ratio"] = json!(self.ratios(metric, subject));
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
        let aims = self.verdicts().into_iter().map(|verdict| {
            json!({
                "metric": verdict.metric.key(),
                "bound": verdict.bound.to_string(),
                "figure": verdict.figure,
                "met": verdict.met,
            })
        });
        json!({
            "machine": machine(),
            "load_average_before": self.load_before,
            "engine_kind": self.options.kind,
            "open_streams": self.options.open_streams(),
            "metrics": Value::Object(summaries.into_iter().collect()),
            "rounds": self.rounds.iter().map(raw).collect::<Vec<_>>(),
            "aims": aims.collect::<Vec<_>>(),
            "left_out": self.left_out,
            "faults": self.faults,
        })
    }
}
