//! The tables: of every figure with its spread, and of the aims. As text, and as Markdown for docs/PERFORMANCE.md.

use crate::Outcome;
use crate::metric::{Bound, Metric};
use crate::options::Subject;
use crate::report::{Report, Verdict};
use farebox_bench_support::machine::machine;
use farebox_bench_support::spread::Spread;
use farebox_bench_support::table::{short, write_between_marks};
use std::fmt::Write as _;
use std::path::Path;

/// As text, for a terminal.
pub fn text(report: &Report<'_>) -> String {
    let mut table = format!("{}\n", about(report));
    for metric in Metric::ALL {
        let mut titled = false;
        for subject in Subject::ALL {
            let Some(figure) = report.figures(metric, subject) else {
                continue;
            };
            if !std::mem::replace(&mut titled, true) {
                // Writing to a string cannot fail.
                let _infallible = writeln!(table, "{}", metric.title(report.options));
            }
            let ratio = report.ratios(metric, subject).map_or_else(String::new, |ratio| {
                format!("{:6.2}x  ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max)
            });
            let spread = format!("({} to {})", short(figure.min), short(figure.max));
            let (name, median) = (subject.name(), short(figure.median));
            let _infallible = writeln!(table, "  {name:<14}{median:>10}  {spread:<22}{ratio}");
        }
    }
    for (what, why) in &report.left_out {
        let _infallible = writeln!(table, "{what} is left out: {why}");
    }
    let verdicts = report.verdicts();
    let met = verdicts.iter().filter(|verdict| verdict.met).count();
    let _infallible = writeln!(table, "\nfarebox's aims: {met} of {} met", verdicts.len());
    for verdict in &verdicts {
        let (title, bound) = (verdict.metric.title(report.options), verdict.bound);
        let _infallible = writeln!(
            table,
            "  {:<8} {title}, at most {bound}: {}",
            verdict.word(),
            verdict.said()
        );
    }
    table
}

/// Into `path`, as Markdown: between the marks of a file that is there, or a new one with them.
pub fn write_markdown(report: &Report<'_>, path: &Path) -> Outcome<()> {
    write_between_marks(path, "figures", &markdown(report))
}

fn markdown(report: &Report<'_>) -> String {
    let mut text = format!(
        "{}\n| farebox's aim | at most | is | |\n| --- | --- | --- | --- |\n",
        about(report)
    );
    for verdict in report.verdicts() {
        let (title, bound) = (verdict.metric.title(report.options), verdict.bound);
        let (said, word) = (verdict.said(), verdict.word());
        let _infallible = writeln!(text, "| {title} | {bound} | {said} | {word} |");
    }
    let there = |subject: &Subject| {
        Metric::ALL
            .into_iter()
            .any(|metric| report.figures(metric, *subject).is_some())
    };
    let subjects: Vec<Subject> = Subject::ALL.into_iter().filter(there).collect();
    text.push_str("\n| |");
    for subject in &subjects {
        let _infallible = write!(text, " {} |", subject.name());
    }
    let _infallible = writeln!(text, "\n| --- |{}", " --- |".repeat(subjects.len()));
    for metric in Metric::ALL {
        let cells: Vec<String> = subjects
            .iter()
            .map(|subject| cell(report, metric, *subject))
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let title = metric.title(report.options);
            let _infallible = writeln!(text, "| {title} | {} |", cells.join(" | "));
        }
    }
    for (what, why) in &report.left_out {
        let _infallible = writeln!(text, "\n{what} is left out: {why}");
    }
    text
}

fn cell(report: &Report<'_>, metric: Metric, subject: Subject) -> String {
    let Some(figure) = report.figures(metric, subject) else {
        return String::new();
    };
    // The pass-through's own is 1.
    let ratio = report
        .ratios(metric, subject)
        .filter(|_| subject != Subject::Passthrough);
    let ratio = ratio.map_or_else(String::new, |ratio| {
        format!("<br>{:.2}x ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max)
    });
    let [median, min, max] = [figure.median, figure.min, figure.max].map(short);
    format!("{median} ({min} to {max}){ratio}")
}

/// What a reader has to know before the first figure.
fn about(report: &Report<'_>) -> String {
    let (machine, rounds, kind) = (machine(), report.rounds.len(), &report.options.kind);
    let load = &report.load_before;
    format!(
        "{machine}; load average before {load}; median of {rounds} rounds (min to max); engine kind {kind}\n"
    )
}

impl Verdict {
    fn word(&self) -> &'static str {
        if self.met { "met" } else { "NOT met" }
    }

    fn said(&self) -> String {
        let Spread { median, min, max } = self.figure;
        match self.bound {
            Bound::Times(_) => format!("{median:.2}x ({min:.2} to {max:.2})"),
            Bound::AtMost(..) => format!("{} ({} to {})", short(median), short(min), short(max)),
        }
    }
}
