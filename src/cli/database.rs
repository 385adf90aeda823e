//! Where the PostgreSQL and the Valkey are that replicas share, as they are given on the command line.

use crate::admission::shared::ValkeyUrl;
use crate::cli::error::CliError;
use crate::store::DatabaseUrl;
use clap::Args;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The argument.
#[derive(Debug, Args)]
pub struct DatabaseArg {
    /// The PostgreSQL that replicas share: postgres://USER:PASSWORD@HOST:PORT/DATABASE. Better set by
    /// FAREBOX_DATABASE_URL: arguments can be seen by others on the machine.
    #[arg(
        long,
        value_name = "URL",
        env = "FAREBOX_DATABASE_URL",
        hide_env_values = true
    )]
    database: Option<Given>,
}

/// What was given. It holds a password, so it is not shown, and not read by clap, which would show what it refuses.
#[derive(Clone)]
struct Given(String);

impl FromStr for Given {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(..)")
    }
}

impl DatabaseArg {
    /// The URL, if one is given. Set to nothing is not set.
    pub fn url(&self) -> Result<Option<DatabaseUrl>, CliError> {
        let given = self.database.as_ref().filter(|given| !given.0.is_empty());
        given
            .map(|Given(text)| text.parse().map_err(CliError::BadDatabase))
            .transpose()
    }
}

/// The argument for Valkey.
#[derive(Debug, Args)]
pub struct ValkeyArg {
    /// The Valkey or Redis that counts an account's and a key's requests in flight and rates over all replicas:
    /// redis://USER:PASSWORD@HOST:PORT/DB. Only with --database. Better set by FAREBOX_VALKEY: arguments can be seen by
    /// others on the machine.
    #[arg(long, value_name = "URL", env = "FAREBOX_VALKEY", hide_env_values = true)]
    valkey: Option<Given>,
}

impl ValkeyArg {
    /// The URL, if one is given. Set to nothing is not set.
    pub fn url(&self) -> Result<Option<ValkeyUrl>, CliError> {
        let given = self.valkey.as_ref().filter(|given| !given.0.is_empty());
        given
            .map(|Given(text)| text.parse().map_err(CliError::BadValkey))
            .transpose()
    }
}
