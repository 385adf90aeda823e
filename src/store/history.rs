//! Whether the PostgreSQL that answers is the ledger that this replica books in, and has all that it confirmed.
//!
//! A replica removes from its outbox what the ledger has confirmed. Where another database answers in the ledger's place
//! (a new one, an older backup, a standby that was behind when it took over), whatever is booked there is missing in the
//! one that is right, and its ceilings are not the account's. So each connection is asked for the ledger's id, and for the
//! number of this replica's last booking, before it is used; both are kept in the data directory, in `ledger.mark`. A
//! connection that does not hold is refused, and the outbox keeps what it has.
//!
//! The mark is written in place after each booking and not flushed, as the outbox's: it is never ahead of what was
//! confirmed, so it never refuses what is sound. docs/LEDGER.md, "Failures", is for the operator.

use super::{DataDirectory, StoreFault};
use parking_lot::Mutex;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use std::fs;
use std::path::PathBuf;

/// Why a database is not booked in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryFault {
    /// It is another one.
    #[error(
        "the database is not the ledger that this data directory books in: it is {found}, and {} says {expected}. \
         Nothing is booked there, and the outbox keeps what it has. Point --database at the right one; or, to go on with \
         this one, stop this farebox and remove that file: the outbox is then booked in it", .mark.display()
    )]
    Other {
        /// Its id.
        found: String,
        /// The ledger's.
        expected: String,
        /// What says so.
        mark: PathBuf,
    },
    /// It lacks what was confirmed.
    #[error(
        "the database lacks bookings that it had confirmed to this replica: it has {found} of them, and {} says {expected}. \
         It is an older backup, or a standby that was behind. Nothing is booked there, and the outbox keeps what it has. \
         Bring back the newer one; or, to go on without what is lost, stop this farebox and remove that file",
        .mark.display()
    )]
    Older {
        /// How many it has.
        found: u64,
        /// How many it had.
        expected: u64,
        /// What says so.
        mark: PathBuf,
    },
    /// What is written in the data directory cannot be read, or not be written.
    #[error("{} cannot be used ({why}). If its text is damaged, remove it: it only tells whether the database is the right one", .mark.display())]
    Mark {
        /// The file.
        mark: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What is the matter with a connection that [`History::check`] refused.
pub(super) fn fault_of(refused: sqlx::Error) -> StoreFault {
    match refused {
        sqlx::Error::Configuration(cause) => match cause.downcast::<HistoryFault>() {
            Ok(fault) => StoreFault::History(*fault),
            Err(other) => StoreFault::Database(sqlx::Error::Configuration(other)),
        },
        other => StoreFault::Database(other),
    }
}

/// What a data directory knows of its ledger.
#[derive(Debug)]
pub(crate) struct History {
    mark: PathBuf,
    /// `None` before the first database.
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// The ledger's id.
    ledger: String,
    /// As whom this directory books; empty before the first booking.
    replica: String,
    /// Its bookings that were confirmed.
    bookings: u64,
}

impl History {
    /// Of this directory.
    pub(super) fn open(directory: &DataDirectory) -> Result<Self, HistoryFault> {
        let mark = directory.path().join("ledger.mark");
        let fault = |why: String| HistoryFault::Mark {
            mark: mark.clone(),
            why,
        };
        let known = match fs::read_to_string(&mark) {
            Ok(text) => Some(parse(&text).ok_or_else(|| fault("it does not read as a mark".to_owned()))?),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(fault(cause.to_string())),
        };
        Ok(Self {
            mark,
            known: Mutex::new(known),
        })
    }

    /// Refuses a connection to a database that is not the ledger, or lacks what was confirmed. The first database that a
    /// directory sees is its ledger.
    pub(crate) async fn check(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // Before the database is asked: it then has at least that.
        let known = self.known.lock().clone();
        let replica = known.as_ref().map_or("", |known| known.replica.as_str());
        let row = sqlx::query(
            "SELECT (SELECT id FROM identity) AS ledger,
                    coalesce((SELECT number FROM bookings WHERE replica = $1), 0) AS bookings",
        )
        .bind(replica)
        .fetch_one(connection)
        .await?;
        let ledger: String = row.try_get("ledger")?;
        let bookings = u64::try_from(row.try_get::<i64, _>("bookings")?).unwrap_or(0);
        match known {
            None => self.adopt(ledger),
            Some(known) => self.compare(&known, &ledger, bookings),
        }
        .map_err(|fault| sqlx::Error::Configuration(fault.into()))
    }

    /// This replica's booking with this number is about to be committed: the last was the one before it, or is not known
    /// to have been committed.
    pub(crate) fn expect_next(&self, replica: &str, number: u64) -> Result<(), HistoryFault> {
        match &*self.known.lock() {
            Some(known) if known.replica == replica && number <= known.bookings => Err(HistoryFault::Older {
                found: number.saturating_sub(1),
                expected: known.bookings,
                mark: self.mark.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// This replica's booking with this number was committed.
    pub(crate) fn confirmed(&self, replica: &str, number: u64) {
        let mut slot = self.known.lock();
        let Some(known) = slot.as_mut() else { return };
        if known.replica == replica {
            known.bookings = known.bookings.max(number);
        } else {
            replica.clone_into(&mut known.replica);
            known.bookings = number;
        }
        let text = written(known);
        // It then knows less than it could. What it knows is still right.
        if let Err(cause) = write_in_place(&self.mark, &text) {
            let cause: &(dyn std::error::Error + 'static) = &cause;
            tracing::warn!(cause, file = %self.mark.display(), "the ledger's mark cannot be written");
        }
    }

    fn adopt(&self, ledger: String) -> Result<(), HistoryFault> {
        let mut slot = self.known.lock();
        if let Some(known) = &*slot {
            // Another connection was first, and may have booked since.
            return self.compare(known, &ledger, known.bookings);
        }
        let found = Known {
            ledger,
            replica: String::new(),
            bookings: 0,
        };
        fs::write(&self.mark, written(&found)).map_err(|cause| HistoryFault::Mark {
            mark: self.mark.clone(),
            why: cause.to_string(),
        })?;
        *slot = Some(found);
        Ok(())
    }

    fn compare(&self, known: &Known, ledger: &str, bookings: u64) -> Result<(), HistoryFault> {
        if ledger != known.ledger {
            return Err(HistoryFault::Other {
                found: ledger.to_owned(),
                expected: known.ledger.clone(),
                mark: self.mark.clone(),
            });
        }
        if bookings < known.bookings {
            return Err(HistoryFault::Older {
                found: bookings,
                expected: known.bookings,
                mark: self.mark.clone(),
            });
        }
        Ok(())
    }
}

/// Of one length for one replica, so that it can be written over. What may be left behind it of an older text is not read.
fn written(known: &Known) -> String {
    let Known {
        ledger,
        replica,
        bookings,
    } = known;
    format!("ledger {ledger}\nreplica {replica}\nbookings {bookings:020}\n")
}

fn parse(text: &str) -> Option<Known> {
    let mut lines = text.lines();
    let ledger = lines.next()?.strip_prefix("ledger ")?.to_owned();
    let replica = lines.next()?.strip_prefix("replica ")?.to_owned();
    let bookings = lines.next()?.strip_prefix("bookings ")?.parse().ok()?;
    Some(Known {
        ledger,
        replica,
        bookings,
    })
}

fn write_in_place(mark: &PathBuf, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    fs::OpenOptions::new()
        .write(true)
        .open(mark)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    fn known(bookings: u64) -> Known {
        Known {
            ledger: "a".to_owned(),
            replica: "r".to_owned(),
            bookings,
        }
    }

    #[test]
    fn the_first_database_is_the_ledger_and_others_or_older_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDirectory::claim(folder.path()).unwrap();
        let history = History::open(&directory).unwrap();
        history.adopt("a".to_owned()).unwrap();
        // Of a directory that has booked before its mark was removed.
        history.expect_next("r", 4).unwrap();
        history.confirmed("r", 4);
        let again = History::open(&directory).unwrap();
        assert_eq!(*again.known.lock(), Some(known(4)));
        // A booking whose confirmation was not seen is no fault.
        again.compare(&known(4), "a", 5).unwrap();
        again.expect_next("r", 6).unwrap();
        let older = again.compare(&known(4), "a", 3).unwrap_err();
        assert!(
            matches!(
                older,
                HistoryFault::Older {
                    found: 3,
                    expected: 4,
                    ..
                }
            ),
            "{older}"
        );
        assert!(again.expect_next("r", 4).is_err());
        let other = again.compare(&known(4), "b", 9).unwrap_err();
        assert!(matches!(other, HistoryFault::Other { .. }), "{other}");
    }

    #[test]
    fn a_mark_that_does_not_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDirectory::claim(folder.path()).unwrap();
        for text in ["", "ledger a\n", "ledger a\nreplica r\nbookings x\n"] {
            fs::write(folder.path().join("ledger.mark"), text).unwrap();
            assert!(
                matches!(History::open(&directory), Err(HistoryFault::Mark { .. })),
                "{text:?}"
            );
        }
    }
}
