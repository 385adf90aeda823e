//! `farebox export status`, `retry`, `backfill` and `off`

use crate::admin_api::{ExportBackfill, ExportChanged, ExportView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, counted};
use clap::{Args, Subcommand};
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ExportCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with the export.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Show what is still to be delivered, the last delivery and failure, and what the receiver refused.
    Status,
    /// Deliver again what the receiver refused.
    Retry,
    /// Deliver what was booked before export was switched on, or again what was delivered.
    Backfill {
        /// From then on: a date (its start in UTC), a time in RFC 3339, or a span back from now such as 7d.
        #[arg(long, value_name = "WHEN")]
        since: String,
    },
    /// Keep nothing for a receiver any more, and forget what was not delivered. Only where models.yaml has no `export`.
    Off,
}

/// Runs the command.
pub async fn run(args: ExportArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        ExportCommand::Status => {
            let answer = client.get(&["export"]).await?;
            client.show(&answer, out, shown)
        }
        ExportCommand::Retry => {
            let answer = client.post(&["export", "retry"]).await?;
            client.show(&answer, out, |changed: &ExportChanged, out| {
                writeln!(out, "{} will be delivered again.", events(changed))
            })
        }
        ExportCommand::Backfill { since } => {
            let wanted = ExportBackfill { since };
            let answer = client
                .send_json(Method::POST, &["export", "backfill"], &wanted)
                .await?;
            client.show(&answer, out, |changed: &ExportChanged, out| {
                writeln!(out, "{} will be delivered.", events(changed))
            })
        }
        ExportCommand::Off => {
            let answer = client.post(&["export", "off"]).await?;
            client.show(&answer, out, |changed: &ExportChanged, out| {
                writeln!(out, "Export is off. {} had not been delivered.", events(changed))
            })
        }
    }
}

fn events(changed: &ExportChanged) -> String {
    counted(usize::try_from(changed.events).unwrap_or(usize::MAX), "event")
}

fn shown(export: &ExportView, out: &mut dyn Write) -> io::Result<()> {
    match (&export.format, export.switched_on) {
        (Some(format), _) => writeln!(out, "Export is on, in the form of {format}.")?,
        (None, true) => writeln!(
            out,
            "Export is on, but models.yaml names no receiver: events wait. `farebox export off` ends it."
        )?,
        (None, false) => writeln!(out, "Export is off. docs/EXPORT.md says how it is switched on.")?,
    }
    writeln!(out, "To be delivered: {}", export.pending)?;
    writeln!(out, "Delivered since the start: {}", export.delivered)?;
    let never = || "never, since the start".to_owned();
    let last_delivery = export.last_delivery.clone().unwrap_or_else(never);
    writeln!(out, "Last delivery: {last_delivery}")?;
    if let Some(failure) = &export.last_failure {
        let still = if export.failing {
            " (nothing was delivered since)"
        } else {
            ""
        };
        writeln!(out, "Last failure: {}, {}{still}", failure.at, failure.why)?;
    }
    writeln!(out, "Refused by the receiver: {}", export.refused_total)?;
    if export.refused.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        ("EVENT", Align::Left),
        ("STATUS", Align::Right),
        ("REFUSED", Align::Left),
        ("REASON", Align::Left),
    ]);
    for event in &export.refused {
        table.row([
            event.id.clone(),
            event.status.to_string(),
            event.refused_at.clone(),
            event.reason.clone(),
        ]);
    }
    writeln!(out)?;
    table.write(out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_shown() {
        let export = serde_json::json!({
            "switched_on": true, "format": "cloudevents", "pending": 12, "delivered": 3,
            "last_delivery": "2026-11-01T00:00:00Z", "failing": true,
            "last_failure": {"at": "2026-11-01T00:01:00Z", "why": "the receiver answered 503"},
            "refused_total": 1,
            "refused": [{"id": "req_1", "status": 400, "reason": "no such subject", "refused_at": "2026-11-01T00:00:00Z"}],
        });
        let mut out = Vec::new();
        shown(&serde_json::from_value(export).unwrap(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
        Export is on, in the form of cloudevents.
        To be delivered: 12
        Delivered since the start: 3
        Last delivery: 2026-11-01T00:00:00Z
        Last failure: 2026-11-01T00:01:00Z, the receiver answered 503 (nothing was delivered since)
        Refused by the receiver: 1

        EVENT  STATUS  REFUSED               REASON
        req_1     400  2026-11-01T00:00:00Z  no such subject
        ");
    }
}
