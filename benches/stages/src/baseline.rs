//! The counts that were accepted, and what a new count says against them.

use crate::run::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A stage may become so much dearer, in percent, before somebody has to say so.
pub const LIMIT_PERCENT: u64 = 5;

/// `baseline.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// What it was counted with.
    pub counted_with: Toolchain,
    /// Instructions of one run, by the stage's name.
    pub instructions: BTreeMap<String, u64>,
}

/// What a count depends on besides the code: counts of two toolchains are not held against each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// The compiler, as it names itself.
    pub rustc: String,
    /// What it compiles for.
    pub target: String,
    /// The C library: allocations and copies are its.
    pub libc: String,
    /// Whether vectors are 256 bits wide: callgrind has AVX2 where the machine has, and searches in bytes use it.
    pub avx2: bool,
}

impl Toolchain {
    /// What this was built with and runs on.
    pub fn here() -> Result<Self, Fault> {
        let rustc = said(Command::new("rustc").arg("--version").arg("--verbose"))?;
        let field = |name: &str| rustc.lines().find_map(|line| line.strip_prefix(name));
        Ok(Self {
            rustc: rustc.lines().next().unwrap_or_default().to_owned(),
            target: field("host: ").unwrap_or_default().to_owned(),
            libc: said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?
                .trim()
                .to_owned(),
            avx2: has_avx2(),
        })
    }
}

fn said(command: &mut Command) -> Result<String, Fault> {
    let output = command
        .output()
        .map_err(|fault| format!("{command:?}: {fault}"))?;
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_avx2() -> bool {
    false
}

/// What a count says against the one that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// About what it was.
    Same,
    /// More than [`LIMIT_PERCENT`] more.
    Dearer,
    /// More than [`LIMIT_PERCENT`] less.
    Cheaper,
    /// There is none to hold it against.
    New,
}

/// Judges a count.
pub fn judge(before: Option<u64>, now: u64) -> Verdict {
    let Some(before) = before else { return Verdict::New };
    let (before, now) = (u128::from(before), u128::from(now));
    let limit = u128::from(LIMIT_PERCENT);
    match now * 100 {
        now if now > before * (100 + limit) => Verdict::Dearer,
        now if now < before * (100 - limit) => Verdict::Cheaper,
        _ => Verdict::Same,
    }
}

/// How much more or less it is: `+7.3 %`.
pub fn change(before: u64, now: u64) -> String {
    let permille = u128::from(now.abs_diff(before)) * 1_000 / u128::from(before.max(1));
    let sign = if now < before { '-' } else { '+' };
    format!("{sign}{}.{} %", permille / 10, permille % 10)
}

impl Baseline {
    /// Reads the file; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, Fault> {
        match std::fs::read(path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(std::fs::write(path, text + "\n")?)
    }

    /// These counts in the place of its own where they are beyond the limit, so that a change shows what it changed and many
    /// small ones add up; all of them where they were counted with something else.
    #[must_use]
    pub fn accept(self, now: Self) -> Self {
        if self.counted_with != now.counted_with {
            return now;
        }
        let keep = |(name, count)| {
            let before = self.instructions.get(&name).copied();
            let same = before.filter(|_| judge(before, count) == Verdict::Same);
            (name, same.unwrap_or(count))
        };
        Self {
            counted_with: now.counted_with,
            instructions: now.instructions.into_iter().map(keep).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(rustc: &str, counts: &[(&str, u64)]) -> Baseline {
        Baseline {
            counted_with: Toolchain {
                rustc: rustc.to_owned(),
                target: "t".to_owned(),
                libc: "l".to_owned(),
                avx2: true,
            },
            instructions: counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    #[test]
    fn five_percent_are_let_pass_and_no_more() {
        assert_eq!(judge(Some(1_000), 1_050), Verdict::Same);
        assert_eq!(judge(Some(1_000), 1_051), Verdict::Dearer);
        assert_eq!(judge(Some(1_000), 950), Verdict::Same);
        assert_eq!(judge(Some(1_000), 949), Verdict::Cheaper);
        assert_eq!(judge(None, 1), Verdict::New);
        assert_eq!(change(1_000, 1_073), "+7.3 %");
        assert_eq!(change(1_000, 949), "-5.1 %");
    }

    #[test]
    fn what_is_accepted_is_what_is_beyond_the_limit() {
        let before = baseline(
            "1",
            &[("same", 100), ("dearer", 100), ("cheaper", 100), ("gone", 100)],
        );
        let now = [("same", 104), ("dearer", 106), ("cheaper", 90), ("new", 7)];
        let expected = [("same", 100), ("dearer", 106), ("cheaper", 90), ("new", 7)];
        assert_eq!(
            before.clone().accept(baseline("1", &now)),
            baseline("1", &expected)
        );
        assert_eq!(before.accept(baseline("2", &now)), baseline("2", &now));
    }
}
