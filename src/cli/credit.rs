//! `farebox credit add|list`, `farebox balance`

use crate::admin_api::Page;
use crate::admin_api::money::{AdjustmentView, BalanceView, CreditView, NewCredit};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::page::{PageArgs, more};
use crate::cli::table::{Align, Table};
use clap::{Args, Subcommand};
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox credit`.
#[derive(Debug, Args)]
pub struct CreditArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CreditCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with credit.
#[derive(Debug, Subcommand)]
pub enum CreditCommand {
    /// Add prepaid credit. The first one gives an account that had no ceiling one: its balance.
    Add {
        /// The account's id or name.
        #[arg(long)]
        account: String,
        /// How much, in USD, such as 20 or 0.5; below zero it takes credit back.
        #[arg(long, allow_hyphen_values = true)]
        usd: String,
        /// Why, for people.
        #[arg(long, default_value = "")]
        note: String,
        /// Your own name for this payment, such as an invoice number. The same one again books nothing, so a command
        /// whose answer was lost can be given again.
        #[arg(long)]
        reference: String,
    },
    /// Show what was paid in, given back and corrected.
    List {
        /// The account's id or name.
        #[arg(long)]
        account: String,
        /// Only those with this in their reference, their note or an id.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Which part of them.
        #[command(flatten)]
        pages: PageArgs,
    },
}

/// Arguments of `farebox balance`.
#[derive(Debug, Args)]
pub struct BalanceArgs {
    /// The account's id or name.
    #[arg(long)]
    pub account: String,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Runs `farebox credit`.
pub async fn run(args: CreditArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        CreditCommand::Add {
            account,
            usd,
            note,
            reference,
        } => {
            let credit = NewCredit { usd, note, reference };
            let answer = client
                .send_json(Method::POST, &["accounts", &account, "credit"], &credit)
                .await?;
            client.show(&answer, out, |credit: &CreditView, out| {
                if credit.booked {
                    writeln!(out, "Booked.\n")?;
                } else {
                    writeln!(
                        out,
                        "Nothing was booked: there is an entry with this reference already.\n"
                    )?;
                }
                balance_shown(&credit.balance, out)
            })
        }
        CreditCommand::List {
            account,
            search,
            pages,
        } => {
            let path = ["accounts", &account, "adjustments"];
            let params = [("search", search.as_deref())];
            let answer = client.get_page(&path, &params, &pages).await?;
            client.show(&answer, out, listed)
        }
    }
}

/// Runs `farebox balance`.
pub async fn balance(args: BalanceArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = client.get(&["accounts", &args.account, "balance"]).await?;
    client.show(&answer, out, balance_shown)
}

/// An account's money as a table.
pub fn balance_shown(balance: &BalanceView, out: &mut dyn Write) -> io::Result<()> {
    let limit =
        |limit: Option<crate::admin_api::Money>| limit.map_or("no limit".into(), |money| money.0.to_string());
    let mut table = Table::new([("USD", Align::Left), ("", Align::Point)]);
    table.row(["balance".into(), balance.balance.0.to_string()]);
    table.row(["may owe".into(), limit(balance.postpaid)]);
    table.row(["held by requests in flight".into(), balance.held.0.to_string()]);
    table.row(["available".into(), limit(balance.available)]);
    let month = &balance.month;
    table.row([format!("spent in {}", month.month), month.spent.0.to_string()]);
    table.row([format!("may spend in {}", month.month), limit(month.limit)]);
    table.write(out)
}

fn listed(page: &Page<AdjustmentView>, out: &mut dyn Write) -> io::Result<()> {
    if page.data.is_empty() {
        return writeln!(out, "Nothing was paid in, given back or corrected yet.");
    }
    let mut table = Table::new([
        ("BOOKED", Align::Left),
        ("KIND", Align::Left),
        ("AMOUNT (USD)", Align::Point),
        ("REFERENCE", Align::Left),
        ("NOTE", Align::Left),
    ]);
    for adjustment in &page.data {
        table.row([
            adjustment.booked_at.clone(),
            adjustment.kind.clone(),
            adjustment.amount.0.to_string(),
            adjustment.reference.clone(),
            adjustment.note.clone(),
        ]);
    }
    table.write(out)?;
    more(page, out)
}
