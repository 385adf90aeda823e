//! `farebox watch`, `farebox series` and `farebox replica list`: the figures that the dashboard shows.

use crate::admin_api::List;
use crate::admin_api::watch::{LiveEvent, ReplicaView, SeriesPoint, SeriesView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, or_dash};
use clap::{Args, Subcommand};
use std::io::{self, Write};

/// Arguments of `farebox watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only the first line.
    #[arg(long)]
    pub once: bool,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Arguments of `farebox series`.
#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// How far back.
    #[arg(long, default_value = "1h", value_parser = ["1h", "24h", "7d", "30d"])]
    pub span: String,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Arguments of `farebox replica`.
#[derive(Debug, Args)]
pub struct ReplicaArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ReplicaCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with replicas.
#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// Show the gateways that run.
    List,
}

/// Shows what happens, a line a second, until it is interrupted.
pub async fn watch(args: WatchArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let mut lines = 0_u32;
    client
        .follow(&["live"], out, |event: &LiveEvent, out| {
            if lines.is_multiple_of(LINES_A_HEAD) {
                writeln!(out, "{HEAD}")?;
            }
            lines = lines.wrapping_add(1);
            writeln!(out, "{}", line(event))?;
            Ok(!args.once)
        })
        .await
}

/// Shows what was, step by step.
pub async fn series(args: SeriesArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let params = [("span", Some(args.span.as_str()))];
    let answer = client.get_with(&["series"], &params).await?;
    client.show(&answer, out, charted)
}

/// Runs `farebox replica`.
pub async fn replica(args: ReplicaArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let ReplicaCommand::List = args.command;
    let answer = client.get(&["replicas"]).await?;
    client.show(&answer, out, |list: &List<ReplicaView>, out| {
        listed(&list.data, out)
    })
}

/// The head is said again after so many lines: it scrolls away.
const LINES_A_HEAD: u32 = 20;
const HEAD: &str =
    "AT                    REPLICAS  IN FLIGHT  WAITING  REQUESTS/S  TOKENS/S  REFUSED/S  USD/MIN";

/// Columns of one width, as a line is written before the next is known.
fn line(event: &LiveEvent) -> String {
    let all = &event.overview;
    format!(
        "{}  {:>8}  {:>9}  {:>7}  {:>10.1}  {:>8.1}  {:>9.1}  {}",
        event.at,
        all.replicas,
        all.in_flight,
        all.waiting,
        all.requests_per_second,
        all.tokens_per_second,
        all.refusals_per_second,
        all.cost_per_minute.0,
    )
}

fn charted(series: &SeriesView, out: &mut dyn Write) -> io::Result<()> {
    let numbers = [
        "REQUESTS",
        "REFUSED",
        "PROMPT",
        "CACHED",
        "COMPLETION",
        "MOST IN FLIGHT",
        "TTFT P50 MS",
        "P99 MS",
    ];
    let numbers = numbers.map(|name| (name, Align::Right));
    let names = std::iter::once(("FROM", Align::Left)).chain(numbers);
    let mut table = Table::new(names.chain([("COST (USD)", Align::Point)]));
    for point in &series.points {
        table.row(cells(point));
    }
    table.write(out)
}

fn cells(point: &SeriesPoint) -> [String; 10] {
    let refused: u64 = point.refusals.values().sum();
    [
        point.at.clone(),
        point.requests.to_string(),
        refused.to_string(),
        point.prompt_tokens.to_string(),
        point.cached_tokens.to_string(),
        point.completion_tokens.to_string(),
        point.in_flight.to_string(),
        or_dash(point.ttft_ms.p50),
        or_dash(point.ttft_ms.p99),
        point.cost.0.to_string(),
    ]
}

fn listed(replicas: &[ReplicaView], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("REPLICA", Align::Left),
        ("STARTED", Align::Left),
        ("SEEN", Align::Left),
        ("IN FLIGHT", Align::Right),
        ("", Align::Left),
    ]);
    for replica in replicas {
        let this = if replica.this { "answers you" } else { "" };
        table.row([
            replica.id.clone(),
            replica.started_at.clone(),
            replica.seen_at.clone(),
            replica.in_flight.to_string(),
            this.into(),
        ]);
    }
    table.write(out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_under_its_head() {
        let event = serde_json::json!({
            "at": "2026-11-01T12:00:00Z", "accounts": [], "engines": [], "models": [],
            "overview": {"replicas": 2, "in_flight": 200, "waiting": 3, "requests_per_second": 34.1,
                         "tokens_per_second": 1234.5, "refusals_per_second": 0.0,
                         "cost_per_minute": {"picodollars": "3320000", "usd": ""}},
        });
        let shown = format!("{HEAD}\n{}", line(&serde_json::from_value(event).unwrap()));
        insta::assert_snapshot!(shown, @"
        AT                    REPLICAS  IN FLIGHT  WAITING  REQUESTS/S  TOKENS/S  REFUSED/S  USD/MIN
        2026-11-01T12:00:00Z         2        200        3        34.1    1234.5        0.0  0.00000332
        ");
    }

    #[test]
    fn a_series_is_a_row_a_step() {
        let series = serde_json::json!({ "from": "2026-11-01T11:00:00Z", "step_seconds": 60, "points": [
            {"at": "2026-11-01T11:00:00Z", "requests": 12, "refusals": {"a": 2, "b": 1}, "prompt_tokens": 100,
             "cached_tokens": 40, "completion_tokens": 10, "cost": {"picodollars": "3320000", "usd": ""},
             "ttft_ms": {"p50": 40, "p90": 80, "p99": 200}, "in_flight": 7},
            {"at": "2026-11-01T11:01:00Z", "requests": 0, "refusals": {}, "prompt_tokens": 0,
             "cached_tokens": 0, "completion_tokens": 0, "cost": {"picodollars": "0", "usd": ""},
             "ttft_ms": {"p50": null, "p90": null, "p99": null}, "in_flight": 0},
        ]});
        let mut out = Vec::new();
        charted(&serde_json::from_value(series).unwrap(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
        FROM                  REQUESTS  REFUSED  PROMPT  CACHED  COMPLETION  MOST IN FLIGHT  TTFT P50 MS  P99 MS  COST (USD)
        2026-11-01T11:00:00Z        12        3     100      40          10               7           40     200  0.00000332
        2026-11-01T11:01:00Z         0        0       0       0           0               0            -       -  0
        ");
    }
}
