//! `farebox ledger verify`

use crate::admin_api::{DiscrepancyView, VerifyView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
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
    /// Recompute every entry and every balance. Exits with 2 if something does not add up.
    Verify,
}

/// Runs the command.
pub async fn run(args: LedgerArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
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
    }
}

fn shown(verified: &VerifyView, out: &mut dyn Write) -> io::Result<()> {
    if verified.ok {
        writeln!(
            out,
            "The ledger adds up: every entry recomputes, and every balance is the sum of its entries.\n"
        )?;
    } else {
        writeln!(out, "The ledger does NOT add up:\n")?;
        told(&verified.discrepancies, out)?;
        writeln!(out)?;
    }
    let mut table = Table::new([("COUNTED", Align::Left), ("NUMBER", Align::Point)]);
    table.row(["entries".into(), verified.entries.to_string()]);
    table.row(["cost (USD)".into(), verified.cost.0.to_string()]);
    for (state, entries) in &verified.states {
        table.row([format!("state {state}"), entries.to_string()]);
    }
    for (source, entries) in &verified.usage_sources {
        table.row([format!("usage from {source}"), entries.to_string()]);
    }
    table.write(out)
}

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
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
The ledger does NOT add up:

WHAT  WHERE  BOOKED        EXPECTED
cost  req_1  0.000001 USD  0.000002 USD

COUNTED                NUMBER
entries            3
cost (USD)         0.00000332
state completed    3
usage from deltas  1
usage from engine  2
"#);
    }
}
