//! The command line: one file for each group of commands. It alone reads the environment, and hands on values.
//!
//! - [`serve`], [`check`], [`count`], [`migrate`] and [`simulate`] work by themselves;
//! - [`account`], [`key`], [`limit`], [`price`], [`usage`], [`statement`], [`ledger`], [`export`], [`engine`], [`model`],
//!   [`admin_token`], [`audit`], [`watch`] and [`live`] speak to a running gateway through [`client`], so what they change acts on the very next request;
//! - [`database`] is an argument that two of them have;
//! - [`table`] is how answers are shown, [`page`] how long lists are, [`error`] how faults are, and with which exit code.
//!
//! Architecture Invariant: no command prints: each writes to what it is given, so a test can read it.

pub mod serve;
mod files;
pub mod check;
pub mod count;
pub mod migrate;
pub mod simulate;
pub mod account;
pub mod key;
pub mod jwt;
pub mod limit;
pub mod credit;
pub mod price;
pub mod usage;
pub mod statement;
pub mod ledger;
pub mod reconcile;
pub mod export;
pub mod engine;
pub mod reload;
pub mod route;
pub mod model;
pub mod admin_token;
pub mod audit;
pub mod watch;
pub mod live;
pub mod client;
pub mod database;
pub mod page;
pub mod table;
pub mod error;

use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::{CliError, EXIT_USAGE};
use crate::clock::Clock;
use crate::simulate::SimulateArgs;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;

/// An OpenAI-compatible gateway that meters, caps and bills the engines that you run.
#[derive(Debug, Parser)]
#[command(name = "farebox", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 fault; 2 `ledger verify` found discrepancies, `ledger reconcile` what \
                          it cannot explain, or `migrate --check` an old form; 64 bad usage or a bad configuration file.";

/// What farebox can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Serve(serve::ServeArgs),
    /// Check a configuration file and say everything that is wrong with it.
    Check(check::CheckArgs),
    /// Say how many prompt tokens request bodies have, by a model's tokenizer and chat template.
    Count(count::CountArgs),
    /// Bring the PostgreSQL that replicas share to this version's form.
    Migrate(migrate::MigrateArgs),
    /// Run a simulated engine: an engine, not a model, for a first look and for tests.
    Simulate(SimulateArgs),
    /// Make and show accounts.
    Account(account::AccountArgs),
    /// Make, list, change, rotate and revoke API keys, and sign tokens with one.
    Key(key::KeyArgs),
    /// Show and set how many requests an account may have in flight.
    Limit(limit::LimitArgs),
    /// Give accounts credit.
    Credit(credit::CreditArgs),
    /// Show an account's balance, what is held of it and what is left.
    Balance(credit::BalanceArgs),
    /// Show and change what models cost.
    Price(price::PriceArgs),
    /// Show what was used and what it costs.
    Usage(usage::UsageArgs),
    /// Show an account's month: what it had, what it used, what it has.
    Statement(statement::StatementArgs),
    /// Check the ledger, and put right what was billed wrong.
    Ledger(ledger::LedgerArgs),
    /// Show and steer what a receiver is told of entries.
    Export(export::ExportArgs),
    /// Show the engines.
    Engine(engine::EngineArgs),
    /// Read models.yaml again, and put it in force if it holds.
    Reload(reload::ReloadArgs),
    /// Show why a request goes to the engine that it goes to.
    Route(route::RouteArgs),
    /// Show the models that are sold.
    Model(model::ModelArgs),
    /// Show the gateways that run.
    Replica(live::ReplicaArgs),
    /// Make, list and revoke the tokens of those who administer.
    AdminToken(admin_token::AdminTokenArgs),
    /// Show who changed what.
    Audit(audit::AuditArgs),
    /// Show what happens on all replicas, a line a second.
    Watch(live::WatchArgs),
    /// Show what happened on all replicas, in steps.
    Series(live::SeriesArgs),
    /// Show the requests that are being served.
    InFlight(watch::WatchArgs),
    /// Show the last requests that were refused, and why.
    Refusals(watch::WatchArgs),
    /// Show what became of a request, and how its cost was computed.
    Receipt(watch::ReceiptArgs),
}

/// Runs what the command line says and returns the process's exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(told) => return tell_clap(&told, out, err),
    };
    let as_json = cli.command.as_json();
    match cli.command.execute(out) {
        Ok(()) => 0,
        Err(fault) => {
            // Nothing is left to be done if the fault itself cannot be told.
            let _ = fault.tell(as_json, err);
            fault.exit_code()
        }
    }
}

/// `--help` and `--version` are answers; everything else that clap says is bad usage.
fn tell_clap(told: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let text = told.render();
    if told.use_stderr() {
        let _ = write!(err, "{text}");
        EXIT_USAGE
    } else {
        let _ = write!(out, "{text}");
        0
    }
}

impl Command {
    fn as_json(&self) -> bool {
        match self {
            Self::Serve(_) | Self::Migrate(_) | Self::Simulate(_) => false,
            Self::Check(args) => args.json,
            Self::Count(args) => args.json,
            Self::Account(args) => args.admin.json,
            Self::Key(args) => args.admin.json,
            Self::Limit(args) => args.admin.json,
            Self::Credit(args) => args.admin.json,
            Self::Balance(args) => args.admin.json,
            Self::Price(args) => args.admin.json,
            Self::Usage(args) => args.admin.json,
            Self::Statement(args) => args.admin.json,
            Self::Ledger(args) => args.admin.json,
            Self::Export(args) => args.admin.json,
            Self::Engine(args) => args.admin.json,
            Self::Reload(args) => args.admin.json,
            Self::Route(args) => args.admin.json,
            Self::Model(args) => args.admin.json,
            Self::Replica(args) => args.admin.json,
            Self::Watch(args) => args.admin.json,
            Self::Series(args) => args.admin.json,
            Self::AdminToken(args) => args.admin.json,
            Self::Audit(args) => args.admin.json,
            Self::InFlight(args) | Self::Refusals(args) => args.admin.json,
            Self::Receipt(args) => args.admin.json,
        }
    }

    fn execute(self, out: &mut dyn Write) -> Result<(), CliError> {
        match self {
            Self::Serve(args) => serve::run(args, out),
            Self::Check(args) => check::run(&args, out),
            Self::Count(args) => count::run(&args, out),
            Self::Migrate(args) => runtime()?.block_on(migrate::run(args, out)),
            Self::Simulate(args) => simulate::run(args),
            Self::Account(args) => ask(args.admin.clone(), async |client| {
                account::run(args, client, out).await
            }),
            Self::Key(key::KeyArgs {
                command: key::KeyCommand::Jwt(args),
                ..
            }) => jwt::run(args, &Clock::system(), out),
            Self::Key(args) => ask(args.admin.clone(), async |client| {
                key::run(args, client, out).await
            }),
            Self::Limit(args) => ask(args.admin.clone(), async |client| {
                limit::run(args, client, out).await
            }),
            Self::Credit(args) => ask(args.admin.clone(), async |client| {
                credit::run(args, client, out).await
            }),
            Self::Balance(args) => ask(args.admin.clone(), async |client| {
                credit::balance(args, client, out).await
            }),
            Self::Price(args) => ask(args.admin.clone(), async |client| {
                price::run(args, client, out).await
            }),
            Self::Usage(args) => ask(args.admin.clone(), async |client| {
                usage::run(args, client, out).await
            }),
            Self::Statement(args) => ask(args.admin.clone(), async |client| {
                statement::run(args, client, out).await
            }),
            Self::Ledger(args) => ask(args.admin.clone(), async |client| {
                ledger::run(args, client, out).await
            }),
            Self::Export(args) => ask(args.admin.clone(), async |client| {
                export::run(args, client, out).await
            }),
            Self::Engine(args) => ask(args.admin.clone(), async |client| {
                engine::run(args, client, out).await
            }),
            Self::Reload(args) => ask(args.admin.clone(), async |client| {
                reload::run(args, client, out).await
            }),
            Self::Route(args) => ask(args.admin.clone(), async |client| {
                route::run(args, client, out).await
            }),
            Self::AdminToken(args) => ask(args.admin.clone(), async |client| {
                admin_token::run(args, client, out).await
            }),
            Self::Audit(args) => ask(args.admin.clone(), async |client| {
                audit::run(args, client, out).await
            }),
            Self::Model(args) => ask(args.admin.clone(), async |client| {
                model::run(args, client, out).await
            }),
            Self::Replica(args) => ask(args.admin.clone(), async |client| {
                live::replica(args, client, out).await
            }),
            Self::Watch(args) => ask(args.admin.clone(), async |client| {
                live::watch(args, client, out).await
            }),
            Self::Series(args) => ask(args.admin.clone(), async |client| {
                live::series(args, client, out).await
            }),
            Self::InFlight(args) => ask(args.admin, async |client| watch::in_flight(client, out).await),
            Self::Refusals(args) => ask(args.admin, async |client| watch::refusals(client, out).await),
            Self::Receipt(args) => ask(args.admin.clone(), async |client| {
                watch::receipt(args, client, out).await
            }),
        }
    }
}

/// Runs a command that needs the gateway.
fn ask(
    admin: AdminArgs,
    command: impl AsyncFnOnce(&AdminClient) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let client = AdminClient::new(admin)?;
    runtime()?.block_on(command(&client))
}

/// One thread is enough for a command: it asks one thing at a time.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)
}
