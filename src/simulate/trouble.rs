//! Trouble on request: what an engine can do wrong, and the words that ask for it.
//!
//! Syntax: `[WHEN:]NAME[:ARGUMENT...][+NAME...]`. `WHEN` is `once/KEY` (the first time that this engine sees the
//! key), `first/K/KEY` (the first K times) or `percent/P`. A key holds neither `:` nor `/`.

use std::fmt;
use std::str::FromStr;

/// Every trouble, as [`UnknownTrouble`] lists it.
pub(super) const KNOWN: [&str; 28] = [
    "status:CODE[:retry-after=S][:retry-after-ms=MS]",
    "flat-error",
    "detail-error",
    "refuse",
    "hang",
    "headers-then-silence",
    "cut:N",
    "stall:N",
    "malformed:N",
    "error-event:N",
    "error-event-done:N",
    "no-done",
    "no-finish",
    "usage-twice",
    "usage-missing",
    "usage-on-finish",
    "wrong-content-type",
    "oversized-line:BYTES",
    "multi-token:K",
    "crlf",
    "comments",
    "coalesce",
    "split-utf8",
    "bytewise",
    "slow:K",
    "once/KEY:TROUBLE",
    "first/K/KEY:TROUBLE",
    "percent/P:TROUBLE",
];

/// The longest line that `oversized-line` makes.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// When a trouble strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// The first `times` that this engine sees the key.
    First {
        times: u64,
        key: String,
    },
    /// So many of a hundred requests, by the engine's seed.
    Percent(u64),
}

/// Instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instead {
    Status {
        code: u16,
        retry_after: Option<u64>,
        retry_after_ms: Option<u64>,
    },
    FlatError,
    DetailError,
    Refuse,
    Hang,
    HeadersThenSilence,
}

/// In the middle of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    Cut,
    Stall,
    Malformed,
    ErrorEvent { done: bool },
}

/// A fault and the number of tokens (of all choices) that come before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) after: u64,
}

/// How the usage differs from vLLM's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UsageQuirk {
    #[default]
    None,
    Twice,
    Missing,
    OnFinish,
}

/// How a stream's bytes are cut into writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Writes {
    #[default]
    Event,
    Coalesce,
    SplitUtf8,
    Bytewise,
}

/// All that is wrong with one answer. The default is a sound one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) instead: Option<Instead>,
    pub(super) fault: Option<Fault>,
    pub(super) usage: UsageQuirk,
    pub(super) writes: Writes,
    pub(super) no_done: bool,
    pub(super) no_finish: bool,
    pub(super) wrong_content_type: bool,
    pub(super) crlf: bool,
    pub(super) comments: bool,
    /// Bytes of the first token's line; zero leaves it as it is.
    pub(super) line_bytes: usize,
    /// By how many times it is slower than the engine's rates, less one.
    pub(super) times_slower: u64,
    /// Tokens a chunk, less one.
    pub(super) more_tokens: u64,
}

/// A trouble and when it strikes. Parse it from its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubleRule {
    pub(super) when: When,
    pub(super) trouble: Trouble,
}

/// The words name no trouble; the message lists those there are.
#[derive(Debug, thiserror::Error)]
pub struct UnknownTrouble(String);

impl fmt::Display for UnknownTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown trouble `{}`; known, and joined with `+`: {}",
            self.0,
            KNOWN.join(", ")
        )
    }
}

// === impl TroubleRule ===

impl FromStr for TroubleRule {
    type Err = UnknownTrouble;

    fn from_str(words: &str) -> Result<Self, UnknownTrouble> {
        let unknown = || UnknownTrouble(words.to_owned());
        let (when, rest) = parse_when(words).ok_or_else(unknown)?;
        let mut trouble = Trouble::default();
        for part in rest.split('+') {
            trouble.add(part.trim()).ok_or_else(unknown)?;
        }
        Ok(TroubleRule { when, trouble })
    }
}

/// Splits `once/KEY:rest`. Words without a modifier strike always.
fn parse_when(words: &str) -> Option<(When, &str)> {
    let Some((modifier, rest)) = words.split_once(':') else {
        return Some((When::Always, words));
    };
    let mut parts = modifier.split('/');
    let when = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        ("once", Some(key), None, None) => When::First {
            times: 1,
            key: key.to_owned(),
        },
        ("first", Some(times), Some(key), None) => When::First {
            times: times.parse().ok()?,
            key: key.to_owned(),
        },
        ("percent", Some(percent), None, None) => When::Percent(percent.parse().ok()?),
        (_, None, None, None) => return Some((When::Always, words)),
        _ => return None,
    };
    Some((when, rest))
}

// === impl Trouble ===

impl Trouble {
    /// Adds one `NAME[:ARGUMENT...]`; `None` when there is no such trouble.
    fn add(&mut self, words: &str) -> Option<()> {
        let mut parts = words.split(':');
        let name = parts.next()?;
        let arguments: Vec<&str> = parts.collect();
        if name == "status" {
            self.instead = Some(parse_status(&arguments)?);
            return Some(());
        }
        match arguments[..] {
            [] => self.add_plain(name),
            [number] => self.add_counted(name, number.parse().ok()?),
            _ => None,
        }
    }

    fn add_plain(&mut self, name: &str) -> Option<()> {
        match name {
            "flat-error" => self.instead = Some(Instead::FlatError),
            "detail-error" => self.instead = Some(Instead::DetailError),
            "refuse" => self.instead = Some(Instead::Refuse),
            "hang" => self.instead = Some(Instead::Hang),
            "headers-then-silence" => self.instead = Some(Instead::HeadersThenSilence),
            "no-done" => self.no_done = true,
            "no-finish" => self.no_finish = true,
            "usage-twice" => self.usage = UsageQuirk::Twice,
            "usage-missing" => self.usage = UsageQuirk::Missing,
            "usage-on-finish" => self.usage = UsageQuirk::OnFinish,
            "wrong-content-type" => self.wrong_content_type = true,
            "crlf" => self.crlf = true,
            "comments" => self.comments = true,
            "coalesce" => self.writes = Writes::Coalesce,
            "split-utf8" => self.writes = Writes::SplitUtf8,
            "bytewise" => self.writes = Writes::Bytewise,
            _ => return None,
        }
        Some(())
    }

    fn add_counted(&mut self, name: &str, number: u64) -> Option<()> {
        let kind = match name {
            "cut" => FaultKind::Cut,
            "stall" => FaultKind::Stall,
            "malformed" => FaultKind::Malformed,
            "error-event" => FaultKind::ErrorEvent { done: false },
            "error-event-done" => FaultKind::ErrorEvent { done: true },
            "oversized-line" if number <= MAX_LINE_BYTES => {
                self.line_bytes = usize::try_from(number).ok()?;
                return Some(());
            }
            "slow" if number > 0 => {
                self.times_slower = number - 1;
                return Some(());
            }
            "multi-token" if number > 0 => {
                self.more_tokens = number - 1;
                return Some(());
            }
            _ => return None,
        };
        self.fault = Some(Fault { kind, after: number });
        Some(())
    }
}

fn parse_status(arguments: &[&str]) -> Option<Instead> {
    let (code, rest) = arguments.split_first()?;
    let code = code.parse().ok().filter(|code| (200..=599).contains(code))?;
    let (mut retry_after, mut retry_after_ms) = (None, None);
    for argument in rest {
        match argument.split_once('=')? {
            ("retry-after", seconds) => retry_after = Some(seconds.parse().ok()?),
            ("retry-after-ms", ms) => retry_after_ms = Some(ms.parse().ok()?),
            _ => return None,
        }
    }
    Some(Instead::Status {
        code,
        retry_after,
        retry_after_ms,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    fn parse(words: &str) -> TroubleRule {
        words.parse().unwrap()
    }

    #[test]
    fn names_arguments_and_modifiers() {
        assert_eq!(
            parse("cut:3").trouble.fault,
            Some(Fault {
                kind: FaultKind::Cut,
                after: 3
            })
        );
        assert_eq!(
            parse("status:429:retry-after=2:retry-after-ms=1500")
                .trouble
                .instead,
            Some(Instead::Status {
                code: 429,
                retry_after: Some(2),
                retry_after_ms: Some(1500)
            })
        );
        let rule = parse("once/a-b:status:503");
        assert_eq!(
            rule.when,
            When::First {
                times: 1,
                key: "a-b".into()
            }
        );
        assert!(matches!(
            rule.trouble.instead,
            Some(Instead::Status { code: 503, .. })
        ));
        assert_eq!(
            parse("first/3/k:hang").when,
            When::First {
                times: 3,
                key: "k".into()
            }
        );
        assert_eq!(parse("percent/30:refuse").when, When::Percent(30));
    }

    #[test]
    fn troubles_are_joined() {
        let trouble = parse("crlf+comments+multi-token:3+stall:2").trouble;
        assert!(trouble.crlf && trouble.comments);
        assert_eq!(trouble.more_tokens, 2);
        assert_eq!(
            trouble.fault,
            Some(Fault {
                kind: FaultKind::Stall,
                after: 2
            })
        );
    }

    #[test]
    fn every_known_trouble_parses_and_others_are_told_of_them() {
        for known in KNOWN {
            let words = known
                .split('[')
                .next()
                .unwrap()
                .replace("CODE", "503")
                .replace("BYTES", "9")
                .replace(":N", ":2")
                .replace("TROUBLE", "hang")
                .replace("K/", "2/")
                .replace(":K", ":2")
                .replace("/P", "/50");
            assert!(words.parse::<TroubleRule>().is_ok(), "{words}");
        }
        for wrong in [
            "",
            "cut",
            "cut:x",
            "status",
            "status:99",
            "hang:2",
            "once:hang",
            "percent/x:hang",
            "zut:1",
        ] {
            let error = wrong.parse::<TroubleRule>().unwrap_err().to_string();
            assert!(error.contains("split-utf8"), "{error}");
        }
    }
}
