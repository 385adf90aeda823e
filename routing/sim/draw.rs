//! The drawing: for each number of engines its hit rates and its times to the first token, by load and policy.

use crate::world::policy::Policy;
use crate::world::run::Outcome;
use farebox_bench_support::svg::{line, page, rect, text};
use std::fmt::Write;

const POLICIES: f64 = Policy::ALL.len() as f64;
/// A policy's place in the group of a load, and the groups' distance.
const SLOT: f64 = 40.0;
const GAP: f64 = 22.0;
/// Left of a panel for its axis, above all for the title and the legend, and a panel with what is around it.
const LEFT: f64 = 74.0;
const TOP: f64 = 104.0;
/// Right of a panel, for the bound's value.
const RIGHT: f64 = 44.0;
const HEIGHT: f64 = 220.0;
const ROW: f64 = HEIGHT + 92.0;

const STYLE: &str = "\
  .round_robin { fill: #6e7781 } .least_loaded { fill: #bc4c00 } .prefix { fill: #0969da } .oracle { fill: #1a7f37 }
  .inside { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    .inside { fill: #0d1117 }
    .round_robin { fill: #8b949e } .least_loaded { fill: #f0883e } .prefix { fill: #58a6ff } .oracle { fill: #3fb950 }
  }
";

/// Draws runs of every policy.
pub fn svg(runs: &[Outcome]) -> String {
    let mut numbers: Vec<usize> = runs.iter().map(|run| run.setting.engines).collect();
    numbers.dedup();
    let panels: Vec<Vec<&Outcome>> = numbers
        .iter()
        .map(|&engines| runs.iter().filter(|run| run.setting.engines == engines).collect())
        .collect();
    let wide = panels.iter().map(|panel| width(panel)).fold(240.0, f64::max);
    let (width, height) = (LEFT + wide + RIGHT, TOP + 2.0 * ROW);
    let all = width * count(panels.len()).max(1.0);
    let about = "Hit rate and time to the first token by load, policy and number of engines";
    let mut out = page([all, height], about, STYLE);
    text(
        &mut out,
        LEFT,
        28.0,
        "title",
        "Routing by prefix, simulated on a trace",
    );
    legend(&mut out);
    let ttft = Decades::of(runs);
    for (column, panel) in panels.iter().enumerate() {
        let x = count(column) * width + LEFT;
        hit_rates(&mut out, x, TOP, wide, panel);
        times(&mut out, x, TOP + ROW, wide, panel, ttft);
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String) {
    let mut x = LEFT;
    for policy in Policy::ALL {
        let name = policy.as_str();
        let _ = write!(
            out,
            "<rect class=\"{name}\" x=\"{x:.0}\" y=\"42\" width=\"13\" height=\"13\" rx=\"2\"/>"
        );
        text(out, x + 19.0, 53.0, "", name);
        x += 34.0 + 7.4 * count(name.len());
    }
    line(out, "bound", [x, 48.5], [x + 26.0, 48.5]);
    text(out, x + 32.0, 53.0, "", "bound: one cache as large as all");
}

fn hit_rates(out: &mut String, x: f64, y: f64, wide: f64, panel: &[&Outcome]) {
    // In whole tenths, and room for a value above the highest.
    let highest = panel
        .iter()
        .map(|run| run.hit_rate.max(run.bound))
        .fold(0.0, f64::max);
    let most = ((highest * 10.0 + 0.5).ceil() / 10.0).min(1.1);
    let at = |rate: f64| y + HEIGHT * (1.0 - rate / most);
    title(out, x, y, "prompt tokens found cached", panel);
    for tenth in 0..=10 {
        let rate = f64::from(tenth) / 10.0;
        if rate <= most {
            tick(out, x, at(rate), wide, &format!("{:.0}%", rate * 100.0));
        }
    }
    for (run, left) in slots(panel, x) {
        let (top, name) = (at(run.hit_rate), run.setting.policy.as_str());
        rect(out, name, [left + 4.0, top], [SLOT - 8.0, y + HEIGHT - top]);
        // Within the bar where that is high enough, so that the bound's line crosses no figure.
        let high = y + HEIGHT - top > 30.0;
        let (class, below) = if high {
            ("value inside", 17.0)
        } else {
            ("value", -5.0)
        };
        let value = format!("{:.1}", run.hit_rate * 100.0);
        text(out, left + SLOT / 2.0, top + below, class, &value);
    }
    if let Some(run) = panel.first() {
        line(out, "bound", [x, at(run.bound)], [x + wide, at(run.bound)]);
        let bound = format!("{:.1}", run.bound * 100.0);
        text(out, x + wide + 5.0, at(run.bound) + 4.0, "", &bound);
    }
    loads(out, x, y, wide, panel);
}

fn times(out: &mut String, x: f64, y: f64, wide: f64, panel: &[&Outcome], decades: Decades) {
    title(
        out,
        x,
        y,
        "time to the first token, 90th percentile, log scale",
        panel,
    );
    for decade in decades.first..=decades.last {
        let ms = 10_f64.powi(decade);
        let label = if ms < 1_000.0 {
            seconds(ms)
        } else {
            format!("{:.0} s", ms / 1_000.0)
        };
        tick(out, x, y + decades.at(ms), wide, &label);
    }
    for (run, left) in slots(panel, x) {
        let (middle, name) = (left + SLOT / 2.0, run.setting.policy.as_str());
        let at = y + decades.at(run.ttft_ms.p90);
        let _ = writeln!(
            out,
            "<circle class=\"{name}\" cx=\"{middle:.1}\" cy=\"{at:.1}\" r=\"6\"/>"
        );
        text(out, middle, at - 10.0, "value", &seconds(run.ttft_ms.p90));
    }
    loads(out, x, y, wide, panel);
}

/// The powers of ten that the times are between.
#[derive(Clone, Copy)]
struct Decades {
    first: i32,
    last: i32,
}

impl Decades {
    fn of(runs: &[Outcome]) -> Self {
        let logs = runs.iter().map(|run| run.ttft_ms.p90.max(1.0).log10());
        let least = logs.clone().fold(f64::INFINITY, f64::min).min(6.0).floor();
        let most = logs.fold(0.0, f64::max).ceil().max(least + 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 308")]
        let (first, last) = (least as i32, most as i32);
        Self { first, last }
    }

    fn at(self, ms: f64) -> f64 {
        let share = (ms.max(1.0).log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        HEIGHT * (1.0 - share)
    }
}

fn seconds(ms: f64) -> String {
    match ms / 1_000.0 {
        seconds if seconds < 0.095 => format!("{ms:.0} ms"),
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds => format!("{seconds:.0} s"),
    }
}

fn title(out: &mut String, x: f64, y: f64, what: &str, panel: &[&Outcome]) {
    let engines = panel.first().map_or(0, |run| run.setting.engines);
    text(out, x, y - 14.0, "", &format!("{engines} engines: {what}"));
}

fn tick(out: &mut String, x: f64, y: f64, wide: f64, label: &str) {
    line(out, "grid", [x, y], [x + wide, y]);
    text(out, x - 8.0, y + 4.0, "quiet end", label);
}

/// The loads' names below their groups.
fn loads(out: &mut String, x: f64, y: f64, wide: f64, panel: &[&Outcome]) {
    for (run, left) in slots(panel, x) {
        if run.setting.policy == Policy::ALL[0] {
            let middle = left + SLOT * POLICIES / 2.0;
            let load = format!("{}%", run.setting.load);
            text(out, middle, y + HEIGHT + 18.0, "middle", &load);
        }
    }
    let about = "load, of the capacity with one infinite cache";
    text(out, x + wide / 2.0, y + HEIGHT + 38.0, "quiet middle", about);
}

/// Runs with the left edges of their places. The runs of a load stand together.
fn slots<'a>(panel: &'a [&Outcome], x: f64) -> impl Iterator<Item = (&'a Outcome, f64)> {
    let mut left = x + GAP / 2.0 - SLOT;
    let mut load = panel.first().map(|run| run.setting.load);
    panel.iter().map(move |run| {
        let same = load.replace(run.setting.load) == Some(run.setting.load);
        left += if same { SLOT } else { SLOT + GAP };
        (*run, left)
    })
}

fn width(panel: &[&Outcome]) -> f64 {
    let groups = count(panel.len()) / POLICIES;
    count(panel.len()) * SLOT + groups * GAP
}

fn count(of: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = of as f64;
    count
}
