//! Where PostgreSQL is: a URL whose password is shown to nobody.

use super::StoreFault;
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with the parameters that libpq knows (`sslmode`, `sslrootcert`, ...).
/// Shown without its password and its parameters.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: Arc<PgConnectOptions>,
}

impl DatabaseUrl {
    pub(super) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::clone(&self.options)
    }
}

impl FromStr for DatabaseUrl {
    type Err = StoreFault;

    fn from_str(text: &str) -> Result<Self, StoreFault> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(StoreFault::Url("it does not begin with postgres://".to_owned()));
        }
        // The parser's fault names what it did not understand, which may be a piece of a password.
        let options: PgConnectOptions = text.parse().map_err(|_| {
            StoreFault::Url("it is no postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned())
        })?;
        let options = Arc::new(options);
        Ok(Self { options })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.options;
        let host = of
            .get_socket()
            .map_or_else(|| of.get_host().to_owned(), |folder| folder.display().to_string());
        let (user, port) = (of.get_username(), of.get_port());
        let database = of.get_database().unwrap_or(user);
        write!(f, "postgres://{user}@{host}:{port}/{database}")
    }
}

/// As it is shown: sqlx's own would show the password.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
