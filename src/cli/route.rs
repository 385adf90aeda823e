//! `farebox route explain`

use crate::admin_api::{EstimateView, ExplainRoute, RouteView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, or_dash};
use clap::{Args, Subcommand};
use reqwest::Method;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `farebox route`.
#[derive(Debug, Args)]
pub struct RouteArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RouteCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be asked of routing.
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Show the score of each engine for a request, and why the winner would win. The request is sent nowhere.
    Explain {
        /// A file with the request's body, as a client would send it; `-` is the standard input.
        file: PathBuf,
        /// The account that would send it.
        #[arg(long)]
        account: Option<String>,
        /// The route: chat_completions, completions or embeddings.
        #[arg(long)]
        endpoint: Option<String>,
    },
}

/// Runs the command.
pub async fn run(args: RouteArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let RouteCommand::Explain {
        file,
        account,
        endpoint,
    } = args.command;
    let unreadable = |cause| CliError::Unreadable {
        file: file.display().to_string(),
        cause,
    };
    let text = if file.as_os_str() == "-" {
        io::read_to_string(io::stdin())
    } else {
        std::fs::read_to_string(&file)
    }
    .map_err(unreadable)?;
    let request = serde_json::from_str(&text).map_err(|fault| unreadable(fault.into()))?;
    let asked = ExplainRoute {
        account: account.map(Into::into),
        endpoint,
        request,
    };
    let answer = client
        .send_json(Method::POST, &["route", "explain"], &asked)
        .await?;
    client.show(&answer, out, explained)
}

fn explained(route: &RouteView, out: &mut dyn Write) -> io::Result<()> {
    let tokens = route
        .prompt_tokens
        .map(|tokens| format!(", about {tokens} tokens of prompt"));
    writeln!(
        out,
        "{} by {}{}: {}, as {}.",
        route.model,
        route.routing,
        tokens.unwrap_or_default(),
        route.chosen.as_ref().map_or("nowhere", |engine| engine.as_str()),
        route.why
    )?;
    let mut table = Table::new([
        ("ENGINE", Align::Left),
        ("STATE", Align::Left),
        ("IN FLIGHT", Align::Right),
        ("CACHED", Align::Right),
        ("BY", Align::Left),
        ("EXPECTED", Align::Right),
        ("PREFILL MS", Align::Right),
        ("QUEUE MS", Align::Right),
        ("DECODE MS", Align::Right),
        ("OTHERS MS", Align::Right),
        ("TOTAL MS", Align::Right),
    ]);
    for engine in &route.engines {
        let state = match (engine.usable, engine.full) {
            (false, _) => "not usable",
            (true, true) => "full",
            (true, false) => "open",
        };
        let figure = |of: fn(&EstimateView) -> u64| or_dash(engine.estimate.as_ref().map(of));
        table.row([
            engine.engine.to_string(),
            state.to_owned(),
            engine.in_flight.to_string(),
            figure(|estimate| estimate.predicted_cached_tokens),
            or_dash(engine.estimate.as_ref().map(|estimate| estimate.source.clone())),
            figure(|estimate| estimate.expected_cached_tokens),
            figure(|estimate| estimate.prefill_ms),
            figure(|estimate| estimate.queue_ms),
            figure(|estimate| estimate.decode_ms),
            figure(|estimate| estimate.others_ms),
            figure(|estimate| estimate.total_ms),
        ]);
    }
    table.write(out)
}
