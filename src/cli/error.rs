//! What went wrong, what to do about it, and the process's exit code.

use crate::admin_api::{ErrorAnswer, ErrorBody};
use crate::admission::shared::ValkeyFault;
use crate::cli::table::counted;
use crate::store::StoreFault;
use std::io::{self, Write};

/// A fault.
pub const EXIT_FAULT: u8 = 1;
/// `ledger verify` found discrepancies, or `migrate --check` an old form.
pub const EXIT_DISCREPANCIES: u8 = 2;
/// Bad usage: BSD's `EX_USAGE`.
pub const EXIT_USAGE: u8 = 64;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A configuration file that does not hold; its faults have been told.
    #[error("{file} does not hold: {}. Mend the file and check again", counted(*.faults, "fault"))]
    BadConfiguration {
        /// The file.
        file: String,
        /// How many faults it has.
        faults: usize,
    },
    /// A model that the configuration file does not have.
    #[error("{file} has no model `{model}`; give an id or an alias")]
    NoSuchModel {
        /// The configuration file.
        file: String,
        /// What was asked for.
        model: String,
    },
    /// A model without a tokenizer.
    #[error("`{model}` has no `tokenizer` in {file}, so its tokens cannot be counted")]
    NoTokenizer {
        /// The configuration file.
        file: String,
        /// The model.
        model: String,
    },
    /// A file that was named on the command line.
    #[error("{file} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// No admin token.
    #[error(
        "no admin token. Set FAREBOX_ADMIN_TOKEN to the one that `farebox serve` printed when it first started, or \
         that it was started with"
    )]
    NoToken,
    /// A token that a header cannot carry.
    #[error("the admin token has characters that no token has; check FAREBOX_ADMIN_TOKEN")]
    TokenUnsendable,
    /// A URL that is none.
    #[error("`{url}` is no URL of a gateway ({problem}); write --admin-url http://HOST:PORT")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers.
    #[error(
        "no gateway answers at {url} ({cause}). Start one with `farebox serve`, or name another with --admin-url or \
         FAREBOX_ADMIN_URL"
    )]
    NotRunning {
        /// The URL that was tried.
        url: String,
        /// What the socket said.
        cause: String,
    },
    /// An answer did not come, or broke off.
    #[error("the gateway at {url} did not answer in full: {cause}")]
    BrokenAnswer {
        /// The URL that was asked.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The token is not this gateway's.
    #[error(
        "the gateway at {url} does not take this admin token. Set FAREBOX_ADMIN_TOKEN to the one that `farebox serve` \
         printed when it first started, or that it was started with"
    )]
    WrongToken {
        /// The URL that was asked.
        url: String,
    },
    /// The gateway said no.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// Whoever answered is no farebox.
    #[error(
        "{url} answered {status} with something that farebox's admin API does not say. Is it its admin URL?"
    )]
    NotFarebox {
        /// The URL that was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// The ledger does not add up; what was found has been told.
    #[error("{} found", counted(usize::try_from(*.0).unwrap_or(usize::MAX), "discrepancy"))]
    Discrepancies(u64),
    /// The ledger and an engine's counters differ, and nothing explains by how much; it has been told.
    #[error("tokens that nothing explains: another client of the engine, or a fault in counting")]
    Unexplained,
    /// No database where there must be one.
    #[error("no database. Set FAREBOX_DATABASE_URL to postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoDatabase,
    /// What was given names no database.
    #[error("{0}")]
    BadDatabase(#[source] StoreFault),
    /// What was given names no Valkey.
    #[error("--valkey: {0}")]
    BadValkey(#[source] ValkeyFault),
    /// A Valkey for a process that is alone.
    #[error(
        "--valkey counts over replicas, and without a database there is one process alone, which counts in memory. Set \
         FAREBOX_DATABASE_URL, or leave --valkey out"
    )]
    ValkeyAlone,
    /// The database is of an older farebox; what it lacks has been told.
    #[error("{} missing. Run `farebox migrate`", counted(*.0, "migration"))]
    OldDatabase(usize),
    /// No runtime.
    #[error("the runtime does not start: {0}")]
    Runtime(#[source] io::Error),
    /// What was to be shown could not be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The gateway or the simulated engine could not start or go on.
    #[error("{0}")]
    Serving(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CliError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadConfiguration { .. }
            | Self::BadUrl { .. }
            | Self::NoDatabase
            | Self::BadDatabase(_)
            | Self::BadValkey(_)
            | Self::ValkeyAlone
            | Self::NoSuchModel { .. }
            | Self::NoTokenizer { .. }
            | Self::Unreadable { .. } => EXIT_USAGE,
            Self::Refused(body) if body.code.as_deref() == Some("invalid_request_error") => EXIT_USAGE,
            Self::Discrepancies(_) | Self::Unexplained | Self::OldDatabase(_) => EXIT_DISCREPANCIES,
            // Whoever read the output has read enough: `farebox usage | head`.
            Self::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::NoToken
            | Self::TokenUnsendable
            | Self::NotRunning { .. }
            | Self::BrokenAnswer { .. }
            | Self::WrongToken { .. }
            | Self::Refused(_)
            | Self::NotFarebox { .. }
            | Self::Runtime(_)
            | Self::Output(_)
            | Self::Serving(_) => EXIT_FAULT,
        }
    }

    /// Tells it: a sentence, or with `--json` the admin API's error shape.
    pub fn tell(&self, as_json: bool, err: &mut dyn Write) -> io::Result<()> {
        if self.exit_code() == 0 {
            return Ok(());
        }
        if as_json {
            let error = match self {
                Self::Refused(body) => body.clone(),
                other => ErrorBody {
                    message: other.to_string(),
                    kind: "cli_error".into(),
                    param: None,
                    code: None,
                },
            };
            let answer = ErrorAnswer { error };
            writeln!(err, "{}", serde_json::to_string(&answer)?)
        } else {
            writeln!(err, "error: {self}")
        }
    }
}
