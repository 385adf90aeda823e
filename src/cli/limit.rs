//! `farebox limit show|set|defaults|requests|approve|decline`

mod rates;
mod requests;

use crate::admin_api::money::{KeySpendingChange, KeySpendingView, SpendingChange};
use crate::admin_api::{DefaultsView, LimitChange, LimitsView, RatesChange};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::credit::balance_shown;
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use clap::{ArgGroup, Args, Subcommand};
use farebox_domain::limits::RATE_AT_MOST;
use farebox_domain::money::Picodollars;
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
    /// Show what an account may have in flight and use in a minute, and what it has and did; or a key's rates and month.
    Show {
        /// The account's id or name.
        #[arg(long, required_unless_present = "key")]
        account: Option<String>,
        /// A key's id: its own rates and monthly limit are shown.
        #[arg(long, conflicts_with = "account")]
        key: Option<String>,
    },
    /// Show what an account has until it is given more.
    Defaults,
    /// Change what an account may have in flight, may use in a minute, may owe or may spend in a month, or what a key may. It holds for
    /// the very next request.
    Set(SetArgs),
    /// Show what owners ask for.
    Requests(requests::ListArgs),
    /// Give an account what its owner asks for, or another number. It holds for the very next request.
    Approve(requests::ApproveArgs),
    /// Decline what an owner asks for.
    Decline(requests::DeclineArgs),
}

/// Arguments of `farebox limit set`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["concurrent_requests", "requests_per_minute", "tokens_per_minute", "postpaid_usd", "monthly_usd"])))]
pub struct SetArgs {
    /// The account's id or name.
    #[arg(long, required_unless_present = "key")]
    pub account: Option<String>,
    /// A key's id: its monthly limit and its rates are set, not its account's.
    #[arg(long, conflicts_with_all = ["account", "model", "concurrent_requests", "postpaid_usd"])]
    pub key: Option<String>,
    /// Only for this model: its id or an alias. Goes with --concurrent-requests.
    #[arg(long, requires = "concurrent_requests", conflicts_with_all = ["postpaid_usd", "monthly_usd", "requests_per_minute", "tokens_per_minute"])]
    pub model: Option<String>,
    /// How many requests, or `default` for what models.yaml says (for a model: no number of its own).
    #[arg(long, value_name = "N|default", value_parser = parse_count)]
    pub concurrent_requests: Option<Count>,
    /// Requests a minute, or `default` for what models.yaml says (for a key: no rate of its own).
    #[arg(long, value_name = "N|default", value_parser = parse_rate)]
    pub requests_per_minute: Option<Rate>,
    /// Tokens a minute, of prompts and answers together; likewise.
    #[arg(long, value_name = "N|default", value_parser = parse_rate)]
    pub tokens_per_minute: Option<Rate>,
    /// What the account may owe at the most: 0 is prepaid, `none` is without a ceiling.
    #[arg(long, value_name = "USD|none", value_parser = parse_usd)]
    pub postpaid_usd: Option<Usd>,
    /// What may be spent in a calendar month (UTC).
    #[arg(long, value_name = "USD|none", value_parser = parse_usd)]
    pub monthly_usd: Option<Usd>,
}

/// An amount, or no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usd(pub Option<String>);

fn parse_usd(text: &str) -> Result<Usd, String> {
    if text == "none" {
        return Ok(Usd(None));
    }
    match Picodollars::parse_usd(text) {
        Some(amount) if amount >= Picodollars::ZERO => Ok(Usd(Some(text.into()))),
        _ => Err("write USD such as 20 or 0.5, or `none`".into()),
    }
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

/// How much a minute, or the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "default" {
        return Ok(Rate(None));
    }
    match text.parse() {
        Ok(rate) if (1..=u64::from(RATE_AT_MOST)).contains(&rate) => Ok(Rate(Some(rate))),
        _ => Err(format!("write a number from 1 to {RATE_AT_MOST}, or `default`")),
    }
}

/// Runs the command.
pub async fn run(args: LimitArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        LimitCommand::Show { key: Some(key), .. } => {
            let month = client.get(&["keys", &key, "spending"]).await?;
            client.show(&month, out, month_shown)?;
            let rates = client.get(&["keys", &key, "rates"]).await?;
            client.show(&rates, out, rates::shown)
        }
        LimitCommand::Show { account, .. } => {
            let account = account.unwrap_or_default();
            let answer = client.get(&["accounts", &account, "limits"]).await?;
            client.show(&answer, out, shown)
        }
        LimitCommand::Defaults => {
            let answer = client.get(&["defaults"]).await?;
            client.show(&answer, out, defaults_shown)
        }
        LimitCommand::Set(args) => set(args, client, out).await,
        LimitCommand::Requests(args) => requests::list(args, client, out).await,
        LimitCommand::Approve(args) => requests::approve(args, client, out).await,
        LimitCommand::Decline(args) => requests::decline(args, client, out).await,
    }
}

const CHANGED: &str = "Changed; the very next request is held to it.\n";

async fn set(args: SetArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let (requests, tokens) = (args.requests_per_minute, args.tokens_per_minute);
    let rates = (requests.is_some() || tokens.is_some()).then(|| RatesChange {
        requests_per_minute: requests.map(|rate| rate.0),
        tokens_per_minute: tokens.map(|rate| rate.0),
    });
    if let Some(key) = args.key {
        if let Some(change) = rates {
            rates::set(&["keys", &key, "rates"], &change, client, out).await?;
        }
        let Some(monthly_usd) = args.monthly_usd else {
            return Ok(());
        };
        let monthly_usd = monthly_usd.0;
        let change = KeySpendingChange { monthly_usd };
        let answer = client
            .send_json(Method::PUT, &["keys", &key, "spending"], &change)
            .await?;
        return client.show(&answer, out, |key, out| {
            writeln!(out, "{CHANGED}")?;
            month_shown(key, out)
        });
    }
    let account = args.account.unwrap_or_default();
    if let Some(change) = rates {
        rates::set(&["accounts", &account, "rates"], &change, client, out).await?;
    }
    if let Some(count) = args.concurrent_requests {
        let change = LimitChange {
            model: args.model,
            concurrent_requests: count.0,
        };
        let path = ["accounts", &account, "limits"];
        let answer = client.send_json(Method::PUT, &path, &change).await?;
        client.show(&answer, out, |limits, out| {
            writeln!(out, "{CHANGED}")?;
            shown(limits, out)
        })?;
    }
    if args.postpaid_usd.is_some() || args.monthly_usd.is_some() {
        let change = SpendingChange {
            postpaid_usd: args.postpaid_usd.map(|usd| usd.0),
            monthly_usd: args.monthly_usd.map(|usd| usd.0),
        };
        let path = ["accounts", &account, "spending"];
        let answer = client.send_json(Method::PUT, &path, &change).await?;
        client.show(&answer, out, |balance, out| {
            writeln!(out, "{CHANGED}")?;
            balance_shown(balance, out)
        })?;
    }
    Ok(())
}

fn month_shown(key: &KeySpendingView, out: &mut dyn Write) -> io::Result<()> {
    let (id, month, spent) = (&key.key, &key.month.month, key.month.spent.0);
    let limit = key.month.limit;
    let limit = limit.map_or("no limit".into(), |limit| format!("{} USD", limit.0));
    writeln!(out, "Key {id}: {limit} a month; spent in {month}: {spent} USD.")
}

fn defaults_shown(defaults: &DefaultsView, out: &mut dyn Write) -> io::Result<()> {
    let rate = |rate: Option<u64>| rate.map_or("no limit".into(), |rate| rate.to_string());
    let mut table = Table::new([
        ("EACH ACCOUNT, BY MODELS.YAML", Align::Left),
        ("LIMIT", Align::Right),
    ]);
    for (name, limit) in [
        ("requests in flight", defaults.concurrent_requests.to_string()),
        ("requests a minute", rate(defaults.requests_per_minute)),
        ("tokens a minute", rate(defaults.tokens_per_minute)),
    ] {
        table.row([name.into(), limit]);
    }
    table.write(out)
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
    if let Some(note) = &limits.note {
        writeln!(out, "\nNote: {note}")?;
    }
    rates::shown(&limits.rates, out)
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
            "rates": {"account": "acct_1", "key": null, "requests": null, "tokens": null},
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

No limit by the minute of acct_1.
"#);
    }
}
