//! `farebox ledger rerate`

use crate::admin_api::{NewRerate, RerateRow, RerateView};
use crate::cli::client::AdminClient;
use crate::cli::error::CliError;
use crate::cli::price::PriceFlags;
use crate::cli::table::{Align, Table, counted};
use clap::Args;
use std::io::{self, Write};

/// Arguments of `farebox ledger rerate`.
#[derive(Debug, Args)]
pub struct RerateArgs {
    /// The model's id or an alias.
    #[arg(long)]
    pub model: String,
    /// From then on: a date (its start in UTC), a time in RFC 3339, or a span back from now such as 7d.
    #[arg(long, value_name = "WHEN")]
    pub since: String,
    /// Until then, that moment not counted; without it, until now.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Book the differences. Without it they are only shown.
    #[arg(long, requires = "reference")]
    pub book: bool,
    /// Your own name for this rerate, needed to book it. The same command again books what is missing, and nothing twice.
    #[arg(long)]
    pub reference: Option<String>,
    /// Why, for people.
    #[arg(long, default_value = "")]
    pub note: String,
    /// The whole corrected price.
    #[command(flatten)]
    pub price: PriceFlags,
}

/// Runs the command.
pub async fn run(args: RerateArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let new = NewRerate {
        model: args.model,
        since: args.since,
        until: args.until,
        price: args.price.into_json(),
        book: args.book,
        reference: args.reference,
        note: args.note,
    };
    let answer = client.send_json_long(&["ledger", "rerate"], &new).await?;
    client.show(&answer, out, shown)
}

fn shown(rerated: &RerateView, out: &mut dyn Write) -> io::Result<()> {
    let entries = |count: u64| counted(usize::try_from(count).unwrap_or(usize::MAX), "entry");
    writeln!(
        out,
        "{} from {} until {}: {}, of which {} at this price.",
        rerated.model,
        rerated.since,
        rerated.until,
        entries(rerated.entries),
        match rerated.total.entries {
            1 => "1 costs something else".into(),
            count => format!("{count} cost something else"),
        },
    )?;
    if rerated.left_refunded > 0 {
        let left = entries(rerated.left_refunded);
        writeln!(out, "Left alone, because it was given back: {left}.")?;
    }
    match rerated.version {
        None => writeln!(out, "Nothing is booked; add --book --reference NAME to book it.")?,
        Some(version) => writeln!(
            out,
            "Booked now under price version {}: {}. Booked before: {}.",
            version.0, rerated.booked, rerated.corrected_before
        )?,
    }
    if rerated.accounts.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new([
        ("ACCOUNT", Align::Left),
        ("ENTRIES", Align::Right),
        ("COST (USD)", Align::Point),
        ("CORRECTED (USD)", Align::Point),
        ("GIVEN BACK (USD)", Align::Point),
    ]);
    for row in rerated.accounts.iter().chain([&rerated.total]) {
        table.row([
            name_of(row),
            row.entries.to_string(),
            row.cost.0.to_string(),
            row.corrected.0.to_string(),
            row.difference.0.to_string(),
        ]);
    }
    table.write(out)
}

fn name_of(row: &RerateRow) -> String {
    row.account_name
        .clone()
        .or(row.account.as_ref().map(ToString::to_string))
        .unwrap_or_else(|| "total".into())
}
