//! `farebox limit requests|approve|decline`

use crate::admin_api::{ApproveRequest, DeclineRequest, LimitRequestView, Page};
use crate::cli::client::AdminClient;
use crate::cli::error::CliError;
use crate::cli::page::{PageArgs, more};
use crate::cli::table::{Align, Table, or_dash};
use clap::Args;
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox limit requests`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this account's: its id or name.
    #[arg(long)]
    pub account: Option<String>,
    /// Those that were decided, too.
    #[arg(long)]
    pub all: bool,
    /// Only those with this in their id, their reason or their account's name or id.
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// At most so many, the newest: 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Where the page before ended, as it says.
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
}

/// Arguments of `farebox limit approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The request's id, `ask_...`.
    pub request: String,
    /// Requests in flight at once that are given, where it is not what was asked for.
    #[arg(long, value_name = "N")]
    pub concurrent_requests: Option<u32>,
    /// What its owner is told.
    #[arg(long, default_value = "")]
    pub note: String,
}

/// Arguments of `farebox limit decline`.
#[derive(Debug, Args)]
pub struct DeclineArgs {
    /// The request's id, `ask_...`.
    pub request: String,
    /// What its owner is told.
    #[arg(long, default_value = "")]
    pub note: String,
}

/// Shows them.
pub async fn list(args: ListArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let state = (!args.all).then_some("open");
    let params = [
        ("account", args.account.as_deref()),
        ("state", state),
        ("search", args.search.as_deref()),
    ];
    let pages = PageArgs {
        limit: args.limit,
        after: args.after,
        // `--all` is of the states here.
        all: false,
    };
    let answer = client.get_page(&["limit-requests"], &params, &pages).await?;
    client.show(&answer, out, listed)
}

/// Approves one.
pub async fn approve(args: ApproveArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let body = ApproveRequest {
        note: args.note,
        concurrent_requests: args.concurrent_requests,
    };
    let path = ["limit-requests", &args.request, "approve"];
    let answer = client.send_json(Method::POST, &path, &body).await?;
    client.show(&answer, out, decided)
}

/// Declines one.
pub async fn decline(args: DeclineArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let body = DeclineRequest { note: args.note };
    let path = ["limit-requests", &args.request, "decline"];
    let answer = client.send_json(Method::POST, &path, &body).await?;
    client.show(&answer, out, decided)
}

fn decided(request: &LimitRequestView, out: &mut dyn Write) -> io::Result<()> {
    let (id, account) = (&request.id, &request.account_name);
    match request.granted {
        Some(granted) => writeln!(
            out,
            "Request {id} is approved: {account} may have {granted} requests in flight, from the very next on."
        ),
        None => writeln!(
            out,
            "Request {id} is declined: {account} may have {} requests in flight, as before.",
            request.concurrent_requests
        ),
    }
}

fn listed(page: &Page<LimitRequestView>, out: &mut dyn Write) -> io::Result<()> {
    if page.data.is_empty() {
        return writeln!(out, "Nobody asks for more.");
    }
    let mut table = Table::new([
        ("ID", Align::Left),
        ("ACCOUNT", Align::Left),
        ("HAS", Align::Right),
        ("ASKS FOR", Align::Right),
        ("TOKENS A MINUTE", Align::Right),
        ("STATE", Align::Left),
        ("ASKED", Align::Left),
        ("REASON", Align::Left),
    ]);
    for request in &page.data {
        table.row([
            request.id.clone(),
            request.account_name.clone(),
            request.concurrent_requests.to_string(),
            request.rate_limit.to_string(),
            or_dash(request.tpm_rate_limit),
            request.state.clone(),
            request.created_at.clone(),
            request.reason.replace('\n', " "),
        ]);
    }
    table.write(out)?;
    more(page, out)
}
