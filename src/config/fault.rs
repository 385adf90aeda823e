//! What is wrong with a file: every fault with its file, line, column and path.

use serde::Serialize;
use std::fmt;
use std::path::Path;

/// Faults that are listed; a file with more than these is told to start there.
pub(super) const LISTED_AT_MOST: usize = 200;

/// Where something stands in a file, from 1. Zero is the file as a whole, which could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The line.
    pub(super) line: usize,
    /// The column, in characters.
    pub(super) column: usize,
}

impl Position {
    /// The first character.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// One thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 where the file could not be read at all.
    pub line: usize,
    /// The column in characters, from 1; 0 where the file could not be read at all.
    pub column: usize,
    /// What is wrong with what, for example `models[2].price.input`. Empty for the file as a whole.
    pub path: String,
    /// What is wrong, and where it helps what to write instead.
    pub message: String,
}

/// `models.yaml:12:5: models[0].price.input: a price is ...`, the form that editors make a link of.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with a file, in the file's order; never empty. Shown as one fault a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
#[error("{}", lines(.0))]
pub struct Faults(Vec<Fault>);

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

impl Faults {
    /// Faults that were found after the file was read, in its order; `None` if there are none.
    pub fn of(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// The faults, in the file's order.
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }
}

impl Faults {
    /// One fault of the file as a whole, which is read no further.
    pub(super) fn whole(file: &str, at: Position, message: impl Into<String>) -> Self {
        Self(vec![Fault {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            path: String::new(),
            message: message.into(),
        }])
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Collects faults while a file is read on. It only grows: what was found wrong stays wrong.
#[derive(Debug)]
pub(super) struct Collector {
    file: String,
    faults: Vec<Fault>,
    left_off: bool,
}

impl Collector {
    /// Nothing is wrong with this file so far.
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            faults: Vec::new(),
            left_off: false,
        }
    }

    /// Whether nothing was found wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// What the file is called.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Where a path that the file names leads: it is taken from the file's own folder.
    pub(super) fn beside(&self, path: &str) -> String {
        match Path::new(&self.file).parent() {
            Some(folder) => folder.join(path).display().to_string(),
            None => path.to_owned(),
        }
    }

    /// Records a fault.
    pub(super) fn push(&mut self, at: Position, path: &str, message: impl Into<String>) {
        if self.faults.len() == LISTED_AT_MOST {
            self.left_off = true;
            return;
        }
        self.faults.push(Fault {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// The value if nothing was found wrong, and all that was found if something was.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, Faults> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => {
                self.faults.sort_by_key(|fault| (fault.line, fault.column));
                if let Some(last) = self.faults.last().filter(|_| self.left_off) {
                    let message = format!("there is more; these are {LISTED_AT_MOST} of the faults");
                    let path = String::new();
                    self.faults.push(Fault {
                        path,
                        message,
                        ..last.clone()
                    });
                }
                Err(Faults(self.faults))
            }
        }
    }
}

/// What the file says, fit to be shown in a message: on one line, without control characters, not long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown = text.chars().take(SHOWN).flat_map(escaped).collect::<String>();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

/// A character as itself if it is seen, and as its escape if it is not.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let seen = matches!(character, '\'' | '"' | '\\');
    let escape = (!seen).then(|| character.escape_debug());
    let itself = seen.then_some(character);
    escape.into_iter().flatten().chain(itself)
}
