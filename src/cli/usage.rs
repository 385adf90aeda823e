//! `farebox usage`

use crate::admin_api::{UsageRowView, UsageView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use clap::{Args, ValueEnum};
use std::io::{self, Write};

/// Arguments of `farebox usage`.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// A row for each of these, and each mixture of them.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "account,model")]
    pub by: Vec<Group>,
    /// From then on: a date (its start in UTC), a time in RFC 3339, or a span back from now such as 7d.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Until then, that moment not counted: a date, a time or a span.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Only this account: its id or name.
    #[arg(long)]
    pub account: Option<String>,
    /// Only the dearest, so many: 1 to 1000.
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Print CSV.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What a row can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// An account.
    Account,
    /// A model.
    Model,
    /// A key.
    Key,
    /// A day in UTC.
    Day,
}

impl Group {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Model => "model",
            Self::Key => "key",
            Self::Day => "day",
        }
    }

    const fn header(self) -> &'static str {
        match self {
            Self::Account => "ACCOUNT",
            Self::Model => "MODEL",
            Self::Key => "KEY",
            Self::Day => "DAY (UTC)",
        }
    }

    /// The group's name in a row: a name for people where there is one, else the id.
    fn of(self, row: &UsageRowView) -> String {
        let shown = match self {
            Self::Account => row
                .account_name
                .clone()
                .or(row.account.as_ref().map(ToString::to_string)),
            Self::Model => row.model.as_ref().map(ToString::to_string),
            Self::Key => row
                .key_name
                .as_ref()
                .zip(row.key.as_ref())
                .map(|(name, id)| format!("{name} ({id})")),
            Self::Day => row.day.clone(),
        };
        shown.unwrap_or_default()
    }
}

/// Runs the command.
pub async fn run(args: UsageArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let group_by = args
        .by
        .iter()
        .map(|group| group.as_str())
        .collect::<Vec<_>>()
        .join(",");
    let limit = args.limit.map(|limit| limit.to_string());
    let params = [
        ("group_by", Some(group_by.as_str())),
        ("since", args.since.as_deref()),
        ("until", args.until.as_deref()),
        ("account", args.account.as_deref()),
        ("limit", limit.as_deref()),
        ("format", args.csv.then_some("csv")),
    ];
    if args.csv {
        out.write_all(client.get_text(&["usage"], &params).await?.as_bytes())?;
        return Ok(out.flush()?);
    }
    let answer = client.get_with(&["usage"], &params).await?;
    client.show(&answer, out, |usage, out| shown(usage, &args.by, out))
}

fn shown(usage: &UsageView, by: &[Group], out: &mut dyn Write) -> io::Result<()> {
    let since = usage
        .since
        .as_ref()
        .map_or("the start".into(), ToString::to_string);
    let until = usage.until.as_ref().map_or("now".into(), ToString::to_string);
    writeln!(out, "From {since} until {until}:\n")?;
    if usage.data.is_empty() {
        return writeln!(out, "Nothing was used.");
    }
    let groups = by.iter().map(|group| (group.header(), Align::Left));
    let counts = ["REQUESTS", "PROMPT", "CACHED", "COMPLETION", "REASONING"].map(|name| (name, Align::Right));
    let mut table = Table::new(groups.chain(counts).chain([("COST (USD)", Align::Point)]));
    for row in &usage.data {
        table.row(by.iter().map(|group| group.of(row)).chain(counts_of(row)));
    }
    if usage.data.len() > 1 {
        let mut labels = vec![String::new(); by.len()];
        if let Some(first) = labels.first_mut() {
            *first = "total".into();
        }
        table.row(labels.into_iter().chain(counts_of(&usage.total)));
    }
    table.write(out)
}

fn counts_of(row: &UsageRowView) -> [String; 6] {
    [
        row.requests.to_string(),
        row.prompt_tokens.to_string(),
        row.cached_tokens.to_string(),
        row.completion_tokens.to_string(),
        row.reasoning_tokens.to_string(),
        row.cost.0.to_string(),
    ]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn usage_is_shown_with_exact_money_and_a_total() {
        let money = |picodollars: &str| serde_json::json!({"picodollars": picodollars, "usd": ""});
        let usage = serde_json::json!({
            "group_by": ["account", "day"], "since": "2026-11-01T00:00:00Z", "until": null,
            "data": [
                {"account": "acct_1", "account_name": "Acme", "day": "2026-11-01", "requests": 2,
                 "prompt_tokens": 46, "cached_tokens": 32, "completion_tokens": 4, "reasoning_tokens": 1, "cost": money("3320000")},
                {"account": "acct_2", "account_name": "Zoë", "day": "2026-11-02", "requests": 1200,
                 "prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 0, "reasoning_tokens": 0, "cost": money("12000000000000")},
            ],
            "total": {"requests": 1202, "prompt_tokens": 47, "cached_tokens": 32, "completion_tokens": 4, "reasoning_tokens": 1,
                      "cost": money("12000003320000")},
        });
        let mut out = Vec::new();
        shown(
            &serde_json::from_value(usage).unwrap(),
            &[Group::Account, Group::Day],
            &mut out,
        )
        .unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
From 2026-11-01T00:00:00Z until now:

ACCOUNT  DAY (UTC)   REQUESTS  PROMPT  CACHED  COMPLETION  REASONING   COST (USD)
Acme     2026-11-01         2      46      32           4          1   0.00000332
Zoë      2026-11-02      1200       1       0           0          0  12
total                    1202      47      32           4          1  12.00000332
"#);
    }
}
