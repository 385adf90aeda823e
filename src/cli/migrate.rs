//! `farebox migrate`: brings the PostgreSQL that replicas share to this version's form. Forward only.

use crate::cli::database::DatabaseArg;
use crate::cli::error::CliError;
use crate::store::{self, StoreFault};
use clap::Args;
use std::io::Write;

/// Arguments of `farebox migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArg,
    /// Change nothing: say what is missing, and end with 2 if anything is.
    #[arg(long)]
    check: bool,
}

/// Runs the command. Several at once are fine: one works, and the others find nothing to do.
pub async fn run(args: MigrateArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let fault = |fault: StoreFault| CliError::Serving(fault.into());
    let url = args.database.url()?.ok_or(CliError::NoDatabase)?;
    let (steps, what) = if args.check {
        (store::missing(&url).await.map_err(fault)?, "lacks")
    } else {
        (store::migrate(&url, None).await.map_err(fault)?, "applied")
    };
    for step in &steps {
        writeln!(out, "{url}: {what} {step}")?;
    }
    if steps.is_empty() {
        writeln!(out, "{url}: nothing is missing")?;
    }
    out.flush()?;
    if args.check && !steps.is_empty() {
        return Err(CliError::OldDatabase(steps.len()));
    }
    Ok(())
}
