//! Where the PostgreSQL is that replicas share, as it is given on the command line.

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
