//! `farebox account create|list|show|close`

use crate::admin_api::{AccountView, NewAccount, Page};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::page::{PageArgs, more};
use crate::cli::table::{Align, Table};
use clap::{Args, Subcommand};
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox account`.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AccountCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account.
    Create {
        /// Its name: 1 to 100 printable characters, and no other account's.
        name: String,
    },
    /// Show the accounts.
    List {
        /// Only those with this in their name or id.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Which part of them.
        #[command(flatten)]
        pages: PageArgs,
    },
    /// Show one account.
    Show {
        /// Its id or name.
        account: String,
    },
    /// Close an account: its keys end at once, what it has in flight goes on and is billed, its entries stay.
    Close {
        /// Its id or name.
        account: String,
    },
}

/// Runs the command.
pub async fn run(args: AccountArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        AccountCommand::Create { name } => {
            let answer = client
                .send_json(Method::POST, &["accounts"], &NewAccount { name })
                .await?;
            client.show(&answer, out, created)
        }
        AccountCommand::List { search, pages } => {
            let params = [("search", search.as_deref())];
            let answer = client.get_page(&["accounts"], &params, &pages).await?;
            client.show(&answer, out, |page: &Page<AccountView>, out| {
                if page.data.is_empty() {
                    let nothing = "There are no such accounts. Next: farebox account create NAME";
                    return writeln!(out, "{nothing}");
                }
                listed(&page.data, out)?;
                more(page, out)
            })
        }
        AccountCommand::Close { account } => {
            let answer = client.post(&["accounts", &account, "close"]).await?;
            client.show(&answer, out, |account: &AccountView, out| {
                writeln!(out, "Account {} ({}) is closed.\n", account.name, account.id)?;
                listed(std::slice::from_ref(account), out)
            })
        }
        AccountCommand::Show { account } => {
            let answer = client.get(&["accounts", &account]).await?;
            client.show(&answer, out, |account, out| {
                listed(std::slice::from_ref(account), out)
            })
        }
    }
}

fn created(account: &AccountView, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Account {} ({}) is made.", account.name, account.id)?;
    writeln!(
        out,
        "It may have {} requests in flight.",
        account.concurrent_requests
    )?;
    writeln!(out, "\nNext: farebox key create --account {}", account.id)
}

fn listed(accounts: &[AccountView], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("CREATED", Align::Left),
        ("IN FLIGHT", Align::Right),
        ("LIMIT", Align::Right),
        ("OWED (USD)", Align::Point),
    ]);
    for account in accounts {
        table.row([
            account.id.to_string(),
            if account.closed {
                format!("{} (closed)", account.name)
            } else {
                account.name.clone()
            },
            account.created_at.clone(),
            account.in_flight.to_string(),
            account.concurrent_requests.to_string(),
            account.owed.0.to_string(),
        ]);
    }
    table.write(out)
}
