//! `farebox ledger verify|reconcile|rerate|refund`

pub mod rerate;
pub mod refund;

use crate::admin_api::{DiscrepancyView, Reconcile, VerifyView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::reconcile;
use crate::cli::table::{Align, Table};
use clap::{Args, Subcommand};
use std::io::{self, Write};

/// Arguments of `farebox ledger`.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LedgerCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Recompute every entry, correction and roll-up. Exits with 2 if something does not add up.
    Verify,
    /// Hold the ledger against the engines' own token counters, and explain each difference. Exits with 2 if something
    /// is not explained.
    Reconcile {
        /// From then on: a date (its start in UTC), a time in RFC 3339, or a span back from now. A day, if it is not said.
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Until then.
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
        /// Only this engine.
        #[arg(long)]
        engine: Option<String>,
    },
    /// Show what a corrected price changes in requests that were billed, and with --book correct them. Entries stay as they
    /// are; each difference becomes an entry of its own.
    Rerate(Box<rerate::RerateArgs>),
    /// Give back what a request cost, in part or in whole.
    Refund(refund::RefundArgs),
}

/// Runs the command.
pub async fn run(args: LedgerArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        LedgerCommand::Rerate(args) => rerate::run(*args, client, out).await,
        LedgerCommand::Refund(args) => refund::run(args, client, out).await,
        LedgerCommand::Verify => {
            let answer = client.post_long(&["ledger", "verify"]).await?;
            client.show(&answer, out, shown)?;
            let verified: VerifyView = answer.value;
            if verified.ok {
                Ok(())
            } else {
                Err(CliError::Discrepancies(verified.discrepancies_total))
            }
        }
        LedgerCommand::Reconcile { since, until, engine } => {
            let wanted = Reconcile { since, until, engine };
            reconcile::run(&wanted, client, out).await
        }
    }
}

fn shown(verified: &VerifyView, out: &mut dyn Write) -> io::Result<()> {
    let (entries, cost) = (verified.entries, verified.cost.0);
    if verified.ok {
        writeln!(
            out,
            "The ledger adds up. Entries recomputed: {entries}, together {cost} USD. Every roll-up is the sum of its entries."
        )?;
    } else {
        let total = verified.discrepancies_total;
        writeln!(
            out,
            "The ledger does NOT add up. Entries recomputed: {entries}, booked at {cost} USD. Discrepancies: {total}.\n"
        )?;
        told(&verified.discrepancies, out)?;
    }
    let states = verified.states.iter().map(|(name, count)| ("state", name, count));
    let sources = verified
        .usage_sources
        .iter()
        .map(|(name, count)| ("usage from", name, count));
    let mut table = Table::new([("COUNTED", Align::Left), ("ENTRIES", Align::Right)]);
    for (what, name, count) in states.chain(sources).filter(|&(_, _, &count)| count > 0) {
        table.row([format!("{what} {name}"), count.to_string()]);
    }
    writeln!(out)?;
    table.write(out)
}

/// What does not hold: the first of it, where it is too much to list.
fn told(discrepancies: &[DiscrepancyView], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["WHAT", "WHERE", "BOOKED", "EXPECTED"].map(|name| (name, Align::Left)));
    for found in discrepancies {
        table.row([&found.kind, &found.subject, &found.booked, &found.expected].map(Clone::clone));
    }
    table.write(out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn discrepancies_are_told_first() {
        let verified = serde_json::json!({
            "ok": false, "entries": 3, "cost": {"picodollars": "3320000", "usd": "0.00000332"},
            "states": {"completed": 3}, "usage_sources": {"engine": 2, "deltas": 1}, "discrepancies_total": 1,
            "discrepancies": [
                {"kind": "cost", "subject": "req_1", "booked": "0.000001 USD", "expected": "0.000002 USD"},
            ],
        });
        let mut out = Vec::new();
        shown(&serde_json::from_value(verified).unwrap(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
        The ledger does NOT add up. Entries recomputed: 3, booked at 0.00000332 USD. Discrepancies: 1.

        WHAT  WHERE  BOOKED        EXPECTED
        cost  req_1  0.000001 USD  0.000002 USD

        COUNTED            ENTRIES
        state completed          3
        usage from deltas        1
        usage from engine        2
        ");
    }
}
