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
    let kinds = [("requests", &rates.requests), ("tokens", &rates.tokens)];
    if kinds.iter().all(|(_, rate)| rate.is_none()) {
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
    for (kind, rate) in kinds {
        if let Some(rate) = rate {
            table.row(row(kind, rate));
        }
    }
    table.write(out)
}

fn row(kind: &str, rate: &RateView) -> [String; 5] {
    let set_by = if rate.is_default {
        "models.yaml"
    } else {
        "limit set"
    };
    [
        kind.into(),
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
        }));
        insta::assert_snapshot!(of_account, @r#"

By the minute, of acct_1 at this replica:

OF          LEFT   LIMIT  FULL IN  SET BY
requests      12      60      48s  models.yaml
tokens    100000  100000      now  limit set
"#);
        let of_key = shown_of(
            serde_json::json!({"account": "acct_1", "key": "key_1", "requests": null, "tokens": null}),
        );
        insta::assert_snapshot!(of_key, @r#"

No limit by the minute of key_1.
"#);
    }
}
