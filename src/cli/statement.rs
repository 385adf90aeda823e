//! `farebox statement`

use crate::admin_api::bill::{Standing, StatementLineView, StatementView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `farebox statement`.
#[derive(Debug, Args)]
pub struct StatementArgs {
    /// Whose: an account's id or name.
    #[arg(long)]
    pub account: String,
    /// Of which month, in UTC, such as 2026-11. The present one is shown as far as it is.
    #[arg(long, value_name = "YYYY-MM")]
    pub month: String,
    /// Print CSV.
    #[arg(long, conflicts_with_all = ["json", "html"])]
    pub csv: bool,
    /// Print a page that needs nothing else, for a browser and the printer.
    #[arg(long, conflicts_with = "json")]
    pub html: bool,
    /// Write it to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Runs the command.
pub async fn run(args: StatementArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let mut text = Vec::new();
    let path = ["accounts", &args.account, "statements", &args.month];
    let format = match (args.csv, args.html) {
        (true, _) => Some("csv"),
        (_, true) => Some("html"),
        _ => None,
    };
    if format.is_some() {
        let answer = client.get_text(&path, &[("format", format)]).await?;
        text.extend_from_slice(answer.as_bytes());
    } else {
        let answer = client.get(&path).await?;
        client.show(&answer, &mut text, shown)?;
    }
    match args.out {
        Some(file) => {
            std::fs::write(&file, &text)?;
            writeln!(out, "Written to {}", file.display())?;
        }
        None => out.write_all(&text)?,
    }
    Ok(out.flush()?)
}

fn shown(statement: &StatementView, out: &mut dyn Write) -> io::Result<()> {
    let standing = match statement.standing {
        Standing::Open => "the month is not over",
        Standing::Settling => "requests of its last hour may still be running",
        Standing::Final => "final",
    };
    writeln!(
        out,
        "Statement of {} ({}) for {}: from {} until {}, {standing}.\n",
        statement.account_name, statement.account, statement.month, statement.since, statement.until
    )?;
    if statement.lines.is_empty() {
        writeln!(out, "Nothing was used.")?;
    } else {
        usage(statement).write(out)?;
    }
    if !statement.adjustments.is_empty() {
        writeln!(out)?;
        adjustments(statement).write(out)?;
    }
    writeln!(out)?;
    sums(statement).write(out)
}

fn usage(statement: &StatementView) -> Table {
    let mut table = Table::new([
        ("MODEL", Align::Left),
        ("ENDPOINT", Align::Left),
        ("PRICE", Align::Right),
        ("USED", Align::Left),
        ("QUANTITY", Align::Right),
        ("USD A MILLION", Align::Point),
        ("USD", Align::Point),
    ]);
    for line in &statement.lines {
        for row in rows(line) {
            table.row(row);
        }
    }
    table
}

/// Its requests, and then what they used.
fn rows(line: &StatementLineView) -> Vec<[String; 7]> {
    let named = |used: &str, quantity: String, price: String, amount: String| {
        let version = line.price_version.to_string();
        let (model, endpoint) = (line.model.to_string(), line.endpoint.clone());
        [model, endpoint, version, used.into(), quantity, price, amount]
    };
    let requests = named(
        "requests",
        line.requests.to_string(),
        String::new(),
        String::new(),
    );
    let items = line.items.iter().map(|item| {
        named(
            &item.item,
            item.quantity.map(|count| count.to_string()).unwrap_or_default(),
            item.unit_price
                .as_ref()
                .map(|price| price.usd_per_million.clone())
                .unwrap_or_default(),
            item.amount.map(|amount| amount.0.to_string()).unwrap_or_default(),
        )
    });
    std::iter::once(requests).chain(items).collect()
}

fn adjustments(statement: &StatementView) -> Table {
    let mut table = Table::new([
        ("BOOKED", Align::Left),
        ("WHAT", Align::Left),
        ("REFERENCE", Align::Left),
        ("NOTE", Align::Left),
        ("USD", Align::Point),
    ]);
    for of in &statement.adjustments {
        table.row([
            of.booked_at.clone(),
            of.kind.clone(),
            of.reference.clone(),
            of.note.clone(),
            of.amount.0.to_string(),
        ]);
    }
    table
}

fn sums(statement: &StatementView) -> Table {
    let last = if statement.is_open() {
        "balance so far"
    } else {
        "closing balance"
    };
    let mut table = Table::new([("TOGETHER", Align::Left), ("USD", Align::Point)]);
    for (name, amount) in [
        ("opening balance", statement.opening_balance),
        ("less usage", statement.usage_total),
        ("credit, refunds, corrections", statement.adjustments_total),
        (last, statement.closing_balance),
    ] {
        table.row([name.into(), amount.0.to_string()]);
    }
    table
}
