//! `farebox in-flight`, `farebox refusals` and `farebox receipt`: what happens now, and what became of a request.

use crate::admin_api::{List, LiveView, RefusedView, StaffReceiptView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, or_dash};
use clap::Args;
use std::io::{self, Write};

/// Arguments of `farebox in-flight` and `farebox refusals`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Arguments of `farebox receipt`.
#[derive(Debug, Args)]
pub struct ReceiptArgs {
    /// The request's id, `req_...`.
    pub request: String,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Shows what is in flight.
pub async fn in_flight(client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = client.get(&["in-flight"]).await?;
    client.show(&answer, out, |list: &List<LiveView>, out| {
        live_listed(&list.data, out)
    })
}

/// Shows the last refusals.
pub async fn refusals(client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = client.get(&["refusals"]).await?;
    client.show(&answer, out, |list: &List<RefusedView>, out| {
        refusals_listed(&list.data, out)
    })
}

/// Shows a request's receipt, as JSON: it has no other form.
pub async fn receipt(args: ReceiptArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = client.get(&["receipts", &args.request]).await?;
    client.show(&answer, out, |receipt: &StaffReceiptView, out| {
        let text = serde_json::to_string_pretty(receipt)?;
        writeln!(out, "{text}")
    })
}

fn live_listed(live: &[LiveView], out: &mut dyn Write) -> io::Result<()> {
    if live.is_empty() {
        return writeln!(out, "Nothing is in flight.");
    }
    let mut table = Table::new([
        ("REQUEST", Align::Left),
        ("ACCOUNT", Align::Left),
        ("MODEL", Align::Left),
        ("ENGINE", Align::Left),
        ("AGE MS", Align::Right),
        ("PROMPT", Align::Right),
        ("COMPLETION", Align::Right),
        ("USD", Align::Right),
    ]);
    for request in live {
        table.row([
            request.id.to_string(),
            request.account.to_string(),
            request.model.to_string(),
            or_dash(request.engine.as_ref()),
            request.age_ms.to_string(),
            request.prompt_tokens.to_string(),
            request.completion_tokens.to_string(),
            request.cost.0.to_string(),
        ]);
    }
    table.write(out)
}

fn refusals_listed(refusals: &[RefusedView], out: &mut dyn Write) -> io::Result<()> {
    if refusals.is_empty() {
        return writeln!(out, "Nothing was refused.");
    }
    let names = ["AT", "REQUEST", "ACCOUNT", "MODEL", "STATUS", "CODE", "MESSAGE"];
    let mut table = Table::new(names.map(|name| (name, Align::Left)));
    for refused in refusals {
        table.row([
            refused.at.clone(),
            refused.id.to_string(),
            or_dash(refused.account.as_ref()),
            or_dash(refused.model.as_ref()),
            refused.status.to_string(),
            refused.code.clone(),
            or_dash(refused.message.as_ref()),
        ]);
    }
    table.write(out)
}
