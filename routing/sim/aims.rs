//! What routing is held to, and whether it was so.

use crate::world::policy::Policy;
use crate::world::run::Outcome;

const LEAST_OF_BOUND: f64 = 0.95;
const MOST_OF_LEAST_LOADED: f64 = 0.5;
const MOST_IMBALANCE: f64 = 1.3;
const MOST_IMBALANCE_IF_HOT: f64 = 1.5;

const HEADER: &str = "
                 hit rate      TTFT p90, of            TTFT p50, p90, p99,   max/mean
                 of bound      least_loaded's          the worst of          load
                               (the oracle's)          least_loaded's
engines  load    >= 95%        <= 0.50                 <= 1.00               < 1.30";

/// Every aim in every cell, and the count of those that were met.
pub struct Aims {
    lines: Vec<String>,
    met: usize,
    missed: Vec<String>,
}

impl Aims {
    /// Of the runs at full load, at light load, with a hot prefix, and with a slow engine.
    pub fn of(full: &[Outcome], light: &[Outcome], hot: &[Outcome], slow: &[Outcome]) -> Self {
        let mut aims = Self {
            lines: Vec::new(),
            met: 0,
            missed: Vec::new(),
        };
        aims.lines.push(HEADER.to_owned());
        for run in prefix(full) {
            aims.full(run, full);
        }
        for run in prefix(light) {
            let never = aims.never_worse(run, light, "");
            aims.row(run, &[String::new(), String::new(), never]);
        }
        aims.lines.push(format!("\n{:<77}< 1.50", "  with a hot prefix"));
        for run in prefix(hot) {
            let never = aims.never_worse(run, hot, " with a hot prefix");
            let balanced = aims.balance(run, MOST_IMBALANCE_IF_HOT, " with a hot prefix");
            aims.row(run, &[String::new(), String::new(), never, balanced]);
        }
        aims.lines.push("\n  with a slow engine".to_owned());
        for run in prefix(slow) {
            let never = aims.never_worse(run, slow, " with a slow engine");
            aims.row(run, &[String::new(), String::new(), never]);
        }
        aims
    }

    fn full(&mut self, run: &Outcome, all: &[Outcome]) {
        let of_bound = run.of_bound();
        let hit_rate = self.aim(
            run,
            of_bound >= LEAST_OF_BOUND,
            format!("{:.1}%", of_bound * 100.0),
            "hit rate of bound",
        );
        let p90 = |policy| at(all, run, policy).map_or(f64::NAN, |run| run.ttft_ms.p90);
        let (least_loaded, oracle) = (p90(Policy::LeastLoaded), p90(Policy::Oracle));
        let share = run.ttft_ms.p90 / least_loaded;
        let half = self.aim(
            run,
            share <= MOST_OF_LEAST_LOADED,
            format!("{share:.3} ({:.3})", oracle / least_loaded),
            "TTFT p90 of least_loaded's (the oracle's)",
        );
        let never = self.never_worse(run, all, "");
        let balanced = self.balance(run, MOST_IMBALANCE, "");
        self.row(run, &[hit_rate, half, never, balanced]);
    }

    fn never_worse(&mut self, run: &Outcome, all: &[Outcome], with: &str) -> String {
        let Some(other) = at(all, run, Policy::LeastLoaded) else {
            return String::new();
        };
        let (ours, theirs) = (run.ttft_ms, other.ttft_ms);
        let shares = [
            ours.p50 / theirs.p50,
            ours.p90 / theirs.p90,
            ours.p99 / theirs.p99,
        ];
        let worst = shares.into_iter().fold(0.0, f64::max);
        let what = format!("TTFT, the worst of least_loaded's{with}");
        self.aim(run, worst <= 1.0, format!("{worst:.3}"), &what)
    }

    fn balance(&mut self, run: &Outcome, most: f64, with: &str) -> String {
        let value = format!("{:.2}", run.imbalance);
        self.aim(run, run.imbalance < most, value, &format!("max/mean{with}"))
    }

    fn aim(&mut self, run: &Outcome, met: bool, value: String, what: &str) -> String {
        if met {
            self.met += 1;
            return format!("met {value}");
        }
        let (engines, load) = (run.setting.engines, run.setting.load);
        self.missed
            .push(format!("{engines} engines at {load}%: {what}: {value}"));
        format!("MISSED {value}")
    }

    fn row(&mut self, run: &Outcome, cells: &[String]) {
        let mut line = format!("{:>7} {:>4}%    ", run.setting.engines, run.setting.load);
        for (cell, width) in cells.iter().zip([14, 24, 22, 0]) {
            line.push_str(&format!("{cell:<width$}"));
        }
        self.lines.push(line.trim_end().to_owned());
    }
}

impl std::fmt::Display for Aims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\nWhat prefix is held to\n{}", self.lines.join("\n"))?;
        writeln!(f, "\n{} of {} aims met", self.met, self.met + self.missed.len())?;
        for missed in &self.missed {
            writeln!(f, "  missed: {missed}")?;
        }
        Ok(())
    }
}

fn prefix(runs: &[Outcome]) -> impl Iterator<Item = &Outcome> {
    runs.iter().filter(|run| run.setting.policy == Policy::Prefix)
}

/// The run under the same load with another policy.
fn at<'a>(all: &'a [Outcome], run: &Outcome, policy: Policy) -> Option<&'a Outcome> {
    all.iter().find(|other| {
        (other.setting.engines, other.setting.load) == (run.setting.engines, run.setting.load)
            && other.setting.policy == policy
    })
}
