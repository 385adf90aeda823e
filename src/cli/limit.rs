//! `farebox limit show|set`

use crate::admin_api::{LimitChange, LimitsView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use clap::{Args, Subcommand};
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox limit`.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LimitCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with limits.
#[derive(Debug, Subcommand)]
pub enum LimitCommand {
    /// Show what an account may have in flight, and has.
    Show {
        /// The account's id or name.
        #[arg(long)]
        account: String,
    },
    /// Change what an account may have in flight. It holds for the very next request.
    Set {
        /// The account's id or name.
        #[arg(long)]
        account: String,
        /// Only for this model: its id or an alias.
        #[arg(long)]
        model: Option<String>,
        /// How many requests, or `default` for what models.yaml says (for a model: no number of its own).
        #[arg(long, value_name = "N|default", value_parser = parse_count)]
        concurrent_requests: Count,
    },
}

/// A number of requests, or the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub Option<u32>);

fn parse_count(text: &str) -> Result<Count, String> {
    if text == "default" {
        return Ok(Count(None));
    }
    let count = text
        .parse()
        .map_err(|_| format!("write a number from 0 to {}, or `default`", u32::MAX))?;
    Ok(Count(Some(count)))
}

/// Runs the command.
pub async fn run(args: LimitArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        LimitCommand::Show { account } => {
            let answer = client.get(&["accounts", &account, "limits"]).await?;
            client.show(&answer, out, shown)
        }
        LimitCommand::Set {
            account,
            model,
            concurrent_requests,
        } => {
            let change = LimitChange {
                model,
                concurrent_requests: concurrent_requests.0,
            };
            let answer = client
                .send_json(Method::PUT, &["accounts", &account, "limits"], &change)
                .await?;
            client.show(&answer, out, |limits, out| {
                writeln!(out, "Changed; the very next request is held to it.\n")?;
                shown(limits, out)
            })
        }
    }
}

fn shown(limits: &LimitsView, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "Concurrent requests of {} ({}):\n",
        limits.account_name, limits.account
    )?;
    let mut table = Table::new([
        ("SCOPE", Align::Left),
        ("IN FLIGHT", Align::Right),
        ("LIMIT", Align::Right),
        ("SET BY", Align::Left),
    ]);
    let set_by = if limits.is_default {
        "models.yaml"
    } else {
        "limit set"
    };
    table.row([
        "all models".into(),
        limits.in_flight.to_string(),
        limits.concurrent_requests.to_string(),
        set_by.into(),
    ]);
    for of_model in &limits.models {
        let (limit, set_by) = match of_model.concurrent_requests {
            Some(limit) => (limit.to_string(), "limit set"),
            None => ("-".into(), "-"),
        };
        table.row([
            of_model.model.to_string(),
            of_model.in_flight.to_string(),
            limit,
            set_by.into(),
        ]);
    }
    table.write(out)?;
    match &limits.note {
        Some(note) => writeln!(out, "\nNote: {note}"),
        None => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_or_the_default() {
        assert_eq!(parse_count("default"), Ok(Count(None)));
        assert_eq!(parse_count("0"), Ok(Count(Some(0))));
        for text in ["", "-1", "1.5", "many", "4294967296"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_shown_with_their_note() {
        let limits = serde_json::json!({
            "account": "acct_1", "account_name": "Acme", "in_flight": 7, "concurrent_requests": 200,
            "is_default": true, "note": "the account's own number still holds",
            "models": [
                {"model": "org/large", "in_flight": 7, "concurrent_requests": 300},
                {"model": "org/small", "in_flight": 0, "concurrent_requests": null},
            ],
        });
        let mut out = Vec::new();
        shown(&serde_json::from_value(limits).unwrap(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
Concurrent requests of Acme (acct_1):

SCOPE       IN FLIGHT  LIMIT  SET BY
all models          7    200  models.yaml
org/large           7    300  limit set
org/small           0      -  -

Note: the account's own number still holds
"#);
    }
}
