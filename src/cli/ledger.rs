//! `farebox ledger verify`

use crate::admin_api::VerifyView;
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use clap::{Args, Subcommand};
use std::io::{self, Write};

/// Arguments of `farebox ledger`.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LedgerCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Recompute every entry and every balance. Exits with 2 if something does not add up.
    Verify,
}

/// Runs the command.
pub async fn run(args: LedgerArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        LedgerCommand::Verify => {
            let answer = client.post_long(&["ledger", "verify"]).await?;
            client.show(&answer, out, shown)?;
            let verified: VerifyView = answer.value;
            if verified.ok { Ok(()) } else { Err(CliError::Discrepancies(verified.discrepancies.len())) }
        }
    }
}
