//! How far the outbox has come, in a file of its own: `outbox.mark`.
//!
//! SQLite ends its write-ahead log at the first frame whose checksum is wrong, without a word: that is how it leaves
//! out what was being written when the power went. A disk that loses what it had confirmed looks the same to it. So
//! the number of the last settlement that anybody was told of is kept apart, and an outbox that knows less than that
//! is refused.
//!
//! The mark is written after each commit, in place, and not flushed. It outlives the process with certainty and the
//! machine within seconds; it is never ahead of what is durable, so it never refuses what is sound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The numbers of settlements, which begin at 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The last one that was recorded, and its request told so.
    pub(super) acknowledged: u64,
    /// The last one that the ledger has, with all before it.
    pub(super) shipped: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    file: File,
    standing: Standing,
    /// Whether it was said that the file cannot be written.
    failing: bool,
}

impl Mark {
    /// Opens the mark in this folder; without one, nothing was ever recorded. Errors: the file cannot be opened, or does
    /// not read as a mark (`InvalidData`).
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = Self::path_in(folder);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let standing = if text.is_empty() {
            Standing::default()
        } else {
            parse(&text).ok_or(io::ErrorKind::InvalidData)?
        };
        let mut mark = Self {
            path,
            file,
            standing,
            failing: false,
        };
        // From here on it has its size, and is only written over.
        mark.write()?;
        mark.file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok(mark)
    }

    /// Where it is.
    pub(super) fn path_in(folder: &Path) -> PathBuf {
        folder.join("outbox.mark")
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Moves it forward. That it cannot be written takes nothing from what it vouches for, so nobody waits for that.
    pub(super) fn move_to(&mut self, acknowledged: u64, shipped: u64) {
        self.standing = Standing {
            acknowledged: self.standing.acknowledged.max(acknowledged),
            shipped: self.standing.shipped.max(shipped),
        };
        let written = self.write();
        match &written {
            Err(fault) if !self.failing => {
                let cause: &(dyn std::error::Error + 'static) = fault;
                tracing::warn!(cause, file = %self.path.display(), "the outbox's mark cannot be written");
            }
            _ => {}
        }
        self.failing = written.is_err();
    }

    fn write(&mut self) -> io::Result<()> {
        let Standing {
            acknowledged,
            shipped,
        } = self.standing;
        let text = format!("acknowledged {acknowledged:020}\nshipped {shipped:020}\n");
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())
    }
}

fn parse(text: &str) -> Option<Standing> {
    let mut lines = text.lines();
    let mut number = |name| lines.next()?.strip_prefix(name)?.trim().parse().ok();
    Some(Standing {
        acknowledged: number("acknowledged ")?,
        shipped: number("shipped ")?,
    })
}
