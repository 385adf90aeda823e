//! `farebox model list`

use crate::admin_api::{List, ModelView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, or_dash};
use clap::{Args, Subcommand};
use std::io::{self, Write};

/// Arguments of `farebox model`.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ModelCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Show what is sold: what it is for, who serves it, and what its tokens cost.
    List,
}

/// Runs the command.
pub async fn run(args: ModelArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let ModelCommand::List = args.command;
    let answer = client.get(&["models"]).await?;
    client.show(&answer, out, |list: &List<ModelView>, out| {
        listed(&list.data, out)
    })
}

fn listed(models: &[ModelView], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("MODEL", Align::Left),
        ("TASK", Align::Left),
        ("CONTEXT", Align::Right),
        ("ENGINES UP", Align::Left),
        ("TTFT P50 MS", Align::Right),
        ("INPUT", Align::Point),
        ("CACHED", Align::Point),
        ("OUTPUT", Align::Point),
    ]);
    for model in models {
        table.row([
            model.id.to_string(),
            model.task.clone(),
            model.context_length.to_string(),
            format!("{} of {}", model.usable_engines, model.engines.len()),
            or_dash(model.ttft_ms.p50),
            model.price.input.clone(),
            or_dash(model.price.cached_input.as_ref()),
            model.price.output.clone(),
        ]);
    }
    table.write(out)
}
