//! `farebox key create|list|revoke`

use crate::admin_api::when::When;
use crate::admin_api::{CreatedKey, KeyView, List, NewKey};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, or_dash};
use clap::{Args, Subcommand};
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key. Its secret is shown this once.
    Create {
        /// Who pays for it: an account's id or name.
        #[arg(long)]
        account: String,
        /// A name to tell it by.
        #[arg(long, default_value = "default")]
        name: String,
        /// When it ends: a span such as 30d, a date, or a time in RFC 3339. Without it, when it is revoked.
        #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
        expires: Option<Expiry>,
    },
    /// Show the keys, without their secrets.
    List {
        /// Only this account's: its id or name.
        #[arg(long)]
        account: Option<String>,
    },
    /// End a key at once. What it has in flight goes on.
    Revoke {
        /// Its id, `key_...`.
        key: String,
    },
}

/// When a key ends, as it goes to the gateway, whose clock decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// Seconds from now.
    In(u64),
    /// A date or a time.
    At(String),
}

impl Expiry {
    /// The fields `expires_in_seconds` and `expires_at`.
    pub fn fields(expires: Option<Self>) -> (Option<u64>, Option<String>) {
        match expires {
            None => (None, None),
            Some(Self::In(seconds)) => (Some(seconds), None),
            Some(Self::At(text)) => (None, Some(text)),
        }
    }
}

/// Reads when a key or a token ends.
pub fn parse_expiry(text: &str) -> Result<Expiry, crate::admin_api::when::NotATime> {
    When::parse(text).map(|end| match end {
        When::Away(seconds) => Expiry::In(seconds),
        When::At(_) => Expiry::At(text.into()),
    })
}

/// Runs the command.
pub async fn run(args: KeyArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        KeyCommand::Create {
            account,
            name,
            expires,
        } => {
            let (expires_in_seconds, expires_at) = Expiry::fields(expires);
            let new = NewKey {
                account,
                name,
                expires_in_seconds,
                expires_at,
            };
            let answer = client.send_json(Method::POST, &["keys"], &new).await?;
            client.show(&answer, out, created)
        }
        KeyCommand::List { account } => {
            let answer = client
                .get_with(&["keys"], &[("account", account.as_deref())])
                .await?;
            client.show(&answer, out, |list: &List<KeyView>, out| listed(&list.data, out))
        }
        KeyCommand::Revoke { key } => {
            let answer = client.post(&["keys", &key, "revoke"]).await?;
            client.show(&answer, out, revoked)
        }
    }
}

fn created(created: &CreatedKey, out: &mut dyn Write) -> io::Result<()> {
    let CreatedKey { key, secret } = created;
    writeln!(
        out,
        "Key {} ({}) of account {} is made:",
        key.name, key.id, key.account_name
    )?;
    writeln!(out, "\n    {secret}\n")?;
    writeln!(
        out,
        "It is shown this once; the gateway keeps only its hash. It ends {}.",
        match &key.expires_at {
            Some(end) => format!("at {end}"),
            None => "when you revoke it".into(),
        }
    )?;
    writeln!(
        out,
        "Use it as any OpenAI key, with the gateway's URL and /v1 as the base URL:"
    )?;
    writeln!(out, "\n    export OPENAI_BASE_URL=http://127.0.0.1:8080/v1")?;
    writeln!(out, "    export OPENAI_API_KEY={secret}")
}

fn revoked(key: &KeyView, out: &mut dyn Write) -> io::Result<()> {
    let at = or_dash(key.revoked_at.as_ref());
    writeln!(
        out,
        "Key {} ({}) of account {} is revoked since {at}.",
        key.name, key.id, key.account_name
    )?;
    writeln!(
        out,
        "It opens nothing any more. What it had in flight goes on to its end."
    )
}

fn listed(keys: &[KeyView], out: &mut dyn Write) -> io::Result<()> {
    if keys.is_empty() {
        return writeln!(
            out,
            "There are no keys. Next: farebox key create --account ACCOUNT"
        );
    }
    let mut table = Table::new(
        ["ID", "ACCOUNT", "NAME", "STATUS", "CREATED", "EXPIRES", "REVOKED"].map(|name| (name, Align::Left)),
    );
    for key in keys {
        table.row([
            key.id.to_string(),
            key.account_name.clone(),
            key.name.clone(),
            key.status.as_str().into(),
            key.created_at.clone(),
            or_dash(key.expires_at.as_ref()),
            or_dash(key.revoked_at.as_ref()),
        ]);
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_span_or_a_time() {
        assert_eq!(parse_expiry("30d"), Ok(Expiry::In(2_592_000)));
        assert_eq!(parse_expiry("2026-12-01"), Ok(Expiry::At("2026-12-01".into())));
        assert!(parse_expiry("tomorrow").is_err());
    }
}
