//! `farebox engine list|drain|restore`

use crate::admin_api::{EngineView, List};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, or_dash};
use clap::{Args, Subcommand};
use std::io::{self, Write};

/// Arguments of `farebox engine`.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: EngineCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with engines.
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Show every engine: whether it is up, and what it has in flight.
    List,
    /// Send an engine no new request, from any replica, until it is restored. What it has goes on to its end.
    Drain {
        /// Its name in models.yaml.
        engine: String,
    },
    /// Send a drained engine requests again.
    Restore {
        /// Its name in models.yaml.
        engine: String,
    },
}

/// Runs the command.
pub async fn run(args: EngineArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        EngineCommand::List => {
            let answer = client.get(&["engines"]).await?;
            client.show(&answer, out, listed)
        }
        EngineCommand::Drain { engine } => {
            let answer = client.post(&["engines", &engine, "drain"]).await?;
            client.show(&answer, out, changed)
        }
        EngineCommand::Restore { engine } => {
            let answer = client.post(&["engines", &engine, "restore"]).await?;
            client.show(&answer, out, changed)
        }
    }
}

fn changed(engine: &EngineView, out: &mut dyn Write) -> io::Result<()> {
    let (name, in_flight) = (&engine.name, engine.in_flight);
    if engine.drained {
        writeln!(
            out,
            "Engine {name} is drained: it gets no new request. {in_flight} that it has from here go on to their end."
        )
    } else {
        writeln!(out, "Engine {name} gets requests.")
    }
}

fn listed(engines: &List<EngineView>, out: &mut dyn Write) -> io::Result<()> {
    if engines.data.is_empty() {
        return writeln!(out, "There are no engines. Describe one in models.yaml.");
    }
    let mut table = Table::new([
        ("ENGINE", Align::Left),
        ("KIND", Align::Left),
        ("STATUS", Align::Left),
        ("IN FLIGHT", Align::Right),
        ("AT MOST", Align::Right),
        ("RUNS", Align::Right),
        ("WAITS", Align::Right),
        ("KV CACHE", Align::Right),
    ]);
    for engine in &engines.data {
        table.row([
            engine.name.to_string(),
            engine.kind.clone(),
            status(engine),
            engine.in_flight.to_string(),
            or_dash(engine.max_concurrent),
            or_dash(engine.reported_running),
            or_dash(engine.reported_waiting),
            or_dash(engine.kv_cache_permille.map(percent)),
        ]);
    }
    table.write(out)
}

fn status(engine: &EngineView) -> String {
    let why = engine.ejected_for.as_ref().map(|why| why.replace('_', " "));
    let drained = engine.drained.then(|| "drained".to_owned());
    let parts = [Some(engine.status.replace('_', " ")), why, drained];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `12.3%`
fn percent(permille: u64) -> String {
    format!("{}.{}%", permille / 10, permille % 10)
}
