//! `farebox ledger refund`

use crate::admin_api::{NewRefund, RefundView};
use crate::cli::client::AdminClient;
use crate::cli::error::CliError;
use clap::Args;
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox ledger refund`.
#[derive(Debug, Args)]
pub struct RefundArgs {
    /// The request: `req_` and 32 hex digits.
    #[arg(long)]
    pub request: String,
    /// How much, in USD.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    pub usd: Option<String>,
    /// All that it cost, less what was given back or corrected before.
    #[arg(long)]
    pub all: bool,
    /// Your own name for this refund. The same one again books nothing, so a command whose answer was lost can be given
    /// again.
    #[arg(long)]
    pub reference: String,
    /// Why, for people.
    #[arg(long, default_value = "")]
    pub note: String,
}

/// Runs the command.
pub async fn run(args: RefundArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let new = NewRefund {
        request: args.request,
        usd: args.usd,
        all: args.all,
        reference: args.reference,
        note: args.note,
    };
    let answer = client
        .send_json(Method::POST, &["ledger", "refunds"], &new)
        .await?;
    client.show(&answer, out, shown)
}

fn shown(refund: &RefundView, out: &mut dyn Write) -> io::Result<()> {
    if refund.booked {
        writeln!(
            out,
            "{} USD are given back to {}.",
            refund.refund.amount.0, refund.account
        )?;
    } else {
        writeln!(
            out,
            "Nothing was booked: this refund of {} USD was there already.",
            refund.refund.amount.0
        )?;
    }
    writeln!(
        out,
        "The request cost {} USD; corrections gave back {}, refunds {}; it still costs {}.",
        refund.cost.0, refund.corrected.0, refund.refunded.0, refund.left.0
    )
}
