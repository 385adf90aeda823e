//! `farebox audit`

use crate::admin_api::{AuditView, Page};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::page::{PageArgs, more};
use crate::cli::table::{Align, Table};
use clap::Args;
use std::io::{self, Write};

/// Arguments of `farebox audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only what was done to this: the id of an account, a key, a token or a request, or a model's or an engine's name.
    #[arg(long)]
    pub target: Option<String>,
    /// Only what was done by this token's id or name.
    #[arg(long)]
    pub who: Option<String>,
    /// Only from then on: a span such as 7d, a date, or a time in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Which part of them.
    #[command(flatten)]
    pub pages: PageArgs,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Runs the command.
pub async fn run(args: AuditArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let params = [
        ("target", args.target.as_deref()),
        ("who", args.who.as_deref()),
        ("since", args.since.as_deref()),
    ];
    let answer = client.get_page(&["audit"], &params, &args.pages).await?;
    client.show(&answer, out, shown)
}

fn shown(page: &Page<AuditView>, out: &mut dyn Write) -> io::Result<()> {
    if page.data.is_empty() {
        return writeln!(out, "Nothing was changed.");
    }
    let names = ["AT", "WHO", "ACTION", "TARGET", "CHANGED"];
    let mut table = Table::new(names.map(|name| (name, Align::Left)));
    for change in &page.data {
        table.row([
            change.at.clone(),
            change.who_name.clone(),
            change.action.clone(),
            change.target.clone(),
            difference(change),
        ]);
    }
    table.write(out)?;
    more(page, out)
}

/// Those fields that are not what they were; of something new or gone, nothing: `--json` has all of it.
fn difference(change: &AuditView) -> String {
    let (Some(before), Some(after)) = (change.before.as_object(), change.after.as_object()) else {
        return "-".into();
    };
    let differs = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value));
    let fields: Vec<String> = differs
        .map(|(name, value)| {
            let was = before.get(name).unwrap_or(&serde_json::Value::Null);
            format!("{name} {was} -> {value}")
        })
        .collect();
    if fields.is_empty() {
        "-".into()
    } else {
        fields.join("; ")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_by_what_differs() {
        let page = serde_json::json!({ "has_more": true, "next": "7", "data": [
            {"number": 8, "at": "2026-11-01T12:00:00Z", "who": "tok_1", "who_name": "Ada", "action": "limits.set",
             "target": "acct_1", "before": {"concurrent_requests": 200, "is_default": true},
             "after": {"concurrent_requests": 400, "is_default": false}, "request_id": "req_1"},
            {"number": 7, "at": "2026-11-01T12:00:00Z", "who": "root", "who_name": "root", "action": "key.create",
             "target": "key_1", "before": null, "after": {"name": "laptop"}, "request_id": "req_2"},
        ]});
        let mut out = Vec::new();
        shown(&serde_json::from_value(page).unwrap(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
AT                    WHO   ACTION      TARGET  CHANGED
2026-11-01T12:00:00Z  Ada   limits.set  acct_1  concurrent_requests 200 -> 400; is_default true -> false
2026-11-01T12:00:00Z  root  key.create  key_1   -

There are more: --after 7
"#);
    }
}
