//! Rates, as `farebox limit show` and `limit set` show them.

use crate::admin_api::{RateView, RatesChange, RatesView};
use crate::cli::client::AdminClient;
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use reqwest::Method;
use std::io::{self, Write};
use std::time::Duration;

/// Changes the rates that are at this path.
pub(super) async fn set(
    path: &[&str],
    change: &RatesChange,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let answer = client.send_json(Method::PUT, path, change).await?;
    client.show(&answer, out, |rates, out| {
        write!(out, "{}", super::CHANGED)?;
        shown(rates, out)
    })
}

/// The rates, as a table.
pub(super) fn shown(rates: &RatesView, out: &mut dyn Write) -> io::Result<()> {
    let whose = rates
        .key
        .as_ref()
        .map_or(rates.account.as_str(), |key| key.as_str());
    let own = (String::new(), &rates.requests, &rates.tokens);
    let of_models = rates.models.iter();
    let of_models = of_models.map(|of| (format!(" on {}", of.model), &of.requests, &of.tokens));
    let rows: Vec<_> = std::iter::once(own)
        .chain(of_models)
        .flat_map(|(on, requests, tokens)| {
            let requests = requests.as_ref().map(|rate| row(format!("requests{on}"), rate));
            let tokens = tokens.as_ref().map(|rate| row(format!("tokens{on}"), rate));
            requests.into_iter().chain(tokens)
        })
        .collect();
    if rows.is_empty() {
        return writeln!(out, "\nNo limit by the minute of {whose}.");
    }
    writeln!(out, "\nBy the minute, of {whose} at this replica:\n")?;
    let mut table = Table::new([
        ("OF", Align::Left),
        ("LEFT", Align::Right),
        ("LIMIT", Align::Right),
        ("FULL IN", Align::Right),
        ("SET BY", Align::Left),
    ]);
    for row in rows {
        table.row(row);
    }
    table.write(out)
}

fn row(of: String, rate: &RateView) -> [String; 5] {
    let set_by = if rate.is_default {
        "models.yaml"
    } else {
        "limit set"
    };
    [
        of,
        rate.remaining.to_string(),
        rate.per_minute.to_string(),
        full_in(rate.reset_ms),
        set_by.into(),
    ]
}

fn full_in(reset_ms: u64) -> String {
    match reset_ms {
        0 => "now".into(),
        _ => format!("{:?}", Duration::from_millis(reset_ms)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_with_what_is_left_of_them() {
        let shown_of = |json: serde_json::Value| {
            let mut out = Vec::new();
            shown(&serde_json::from_value(json).unwrap(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let of_account = shown_of(serde_json::json!({
            "account": "acct_1", "key": null,
            "requests": {"per_minute": 60, "remaining": 12, "reset_ms": 48_000, "is_default": true},
            "tokens": {"per_minute": 100_000, "remaining": 100_000, "reset_ms": 0, "is_default": false},
            "models": [{
                "model": "org/large", "requests": null,
                "tokens": {"per_minute": 5_000, "remaining": 4_000, "reset_ms": 12_000, "is_default": true},
            }],
        }));
        insta::assert_snapshot!(of_account, @r#"

By the minute, of acct_1 at this replica:

OF                     LEFT   LIMIT  FULL IN  SET BY
requests                 12      60      48s  models.yaml
tokens               100000  100000      now  limit set
tokens on org/large    4000    5000      12s  models.yaml
"#);
        let of_key = shown_of(
            serde_json::json!({"account": "acct_1", "key": "key_1", "requests": null, "tokens": null}),
        );
        insta::assert_snapshot!(of_key, @r#"

No limit by the minute of key_1.
"#);
    }
}
