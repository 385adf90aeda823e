//! `farebox key create|list|change|rotate|jwt|revoke`

use crate::admin_api::when::When;
use crate::admin_api::{CreatedKey, KeyChange, KeyRotation, KeyStatus, KeyView, NewKey, Page};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::jwt::JwtArgs;
use crate::cli::page::{PageArgs, more};
use crate::cli::table::{Align, Table, or_dash};
use crate::clock::Clock;
use clap::{Args, Subcommand};
use farebox_domain::key::{ModelGlob, Scope, Scopes};
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
        /// What it may do.
        #[command(flatten)]
        rights: RightsArgs,
        /// Requests in flight with it at once; without it, as many as its account may have.
        #[arg(long, value_name = "N")]
        concurrent_requests: Option<u32>,
        /// Let its owner sign tokens with it, which the gateway takes in its place: `farebox key jwt`.
        #[arg(long)]
        jwt: bool,
    },
    /// Show the keys, without their secrets.
    List {
        /// Only this account's: its id or name.
        #[arg(long)]
        account: Option<String>,
        /// Only these: active, expired or revoked.
        #[arg(long, value_parser = parse_status)]
        status: Option<KeyStatus>,
        /// Only those with this in their own or their account's name or id.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Which part of them.
        #[command(flatten)]
        pages: PageArgs,
    },
    /// Change what a key may do. It acts on the very next request. What is not said stays as it is.
    Change {
        /// Its id, `key_...`.
        key: String,
        /// A name to tell it by.
        #[arg(long)]
        name: Option<String>,
        /// When it ends: a span, a date, a time, or `never`.
        #[arg(long, value_name = "WHEN", value_parser = parse_new_expiry)]
        expires: Option<NewExpiry>,
        /// What it may do.
        #[command(flatten)]
        rights: RightsArgs,
        /// Let it use every model.
        #[arg(long, conflicts_with = "models")]
        any_model: bool,
        /// Let it be used from anywhere.
        #[arg(long, conflicts_with = "ips")]
        any_ip: bool,
        /// Requests in flight with it at once, or `default`: as many as its account may have.
        #[arg(long, value_name = "N", value_parser = parse_limit)]
        concurrent_requests: Option<NewLimit>,
    },
    /// Give a key a new secret, which is shown this once. The key stays the same: its name, its limits, its usage.
    Rotate {
        /// Its id, `key_...`.
        key: String,
        /// How long the old secret holds beside the new one, such as 1h; without it, it ends at once.
        #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "0s")]
        overlap: u64,
    },
    /// Sign a token with a key, here and without a gateway. Whoever has the token may use the key's models until it ends.
    Jwt(JwtArgs),
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

/// What a key may do.
#[derive(Debug, Default, Args)]
pub struct RightsArgs {
    /// What it is for: inference, usage, dashboard, admin; several with commas. Without it, inference and usage.
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', value_parser = parse_scope)]
    pub scopes: Vec<Scope>,
    /// A model that it may use, or a pattern such as `org/*`; several with commas. Without it, every model.
    #[arg(long = "model", value_name = "PATTERN", value_delimiter = ',', value_parser = parse_glob)]
    pub models: Vec<ModelGlob>,
    /// An address or network that it may be used from; several with commas. Without it, from anywhere.
    #[arg(long = "ip", value_name = "CIDR", value_delimiter = ',')]
    pub ips: Vec<String>,
}

/// When a key is to end from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewExpiry {
    /// When it is revoked.
    Never,
    /// At that time.
    Then(Expiry),
}

/// A number of its own, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewLimit(Option<u32>);

fn parse_status(text: &str) -> Result<KeyStatus, &'static str> {
    KeyStatus::named(text).ok_or("write active, expired or revoked")
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::named(text).ok_or_else(|| "the scopes are inference, usage, dashboard and admin".into())
}

pub(super) fn parse_glob(text: &str) -> Result<ModelGlob, farebox_domain::key::NotAGlob> {
    ModelGlob::try_from(text.to_owned())
}

fn parse_new_expiry(text: &str) -> Result<NewExpiry, crate::admin_api::when::NotATime> {
    match text {
        "never" => Ok(NewExpiry::Never),
        _ => parse_expiry(text).map(NewExpiry::Then),
    }
}

fn parse_limit(text: &str) -> Result<NewLimit, String> {
    match text {
        "default" => Ok(NewLimit(None)),
        _ => text
            .parse()
            .map(|limit| NewLimit(Some(limit)))
            .map_err(|_| "write a whole number, or `default`".into()),
    }
}

fn parse_span(text: &str) -> Result<u64, String> {
    match When::parse(text) {
        Ok(When::Away(seconds)) => Ok(seconds),
        _ => Err("write a span such as 30m, 1h or 7d".into()),
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn scopes(list: Vec<Scope>) -> Option<Scopes> {
    some(list).map(|scopes| scopes.into_iter().collect())
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
            rights,
            concurrent_requests,
            jwt,
        } => {
            let (expires_in_seconds, expires_at) = Expiry::fields(expires);
            let new = NewKey {
                account,
                name,
                expires_in_seconds,
                expires_at,
                scopes: scopes(rights.scopes),
                allowed_models: some(rights.models),
                allowed_ips: some(rights.ips),
                concurrent_requests,
                jwt,
            };
            let answer = client.send_json(Method::POST, &["keys"], &new).await?;
            client.show(&answer, out, created)
        }
        KeyCommand::List {
            account,
            status,
            search,
            pages,
        } => {
            let params = [
                ("account", account.as_deref()),
                ("status", status.map(KeyStatus::as_str)),
                ("search", search.as_deref()),
            ];
            let answer = client.get_page(&["keys"], &params, &pages).await?;
            client.show(&answer, out, listed)
        }
        KeyCommand::Change {
            key,
            name,
            expires,
            rights,
            any_model,
            any_ip,
            concurrent_requests,
        } => {
            let (expires_in_seconds, expires_at) = match expires {
                None => (None, None),
                Some(NewExpiry::Never) => (None, Some(None)),
                Some(NewExpiry::Then(Expiry::In(seconds))) => (Some(seconds), None),
                Some(NewExpiry::Then(Expiry::At(text))) => (None, Some(Some(text))),
            };
            let change = KeyChange {
                name,
                scopes: scopes(rights.scopes),
                allowed_models: if any_model {
                    Some(vec![])
                } else {
                    some(rights.models)
                },
                allowed_ips: if any_ip { Some(vec![]) } else { some(rights.ips) },
                expires_in_seconds,
                expires_at,
                concurrent_requests: concurrent_requests.map(|limit| limit.0),
            };
            let answer = client.send_json(Method::PATCH, &["keys", &key], &change).await?;
            client.show(&answer, out, changed)
        }
        KeyCommand::Rotate { key, overlap } => {
            let rotation = KeyRotation {
                overlap_seconds: overlap,
            };
            let path = ["keys", key.as_str(), "rotate"];
            let answer = client.send_json(Method::POST, &path, &rotation).await?;
            client.show(&answer, out, rotated)
        }
        KeyCommand::Jwt(args) => crate::cli::jwt::run(args, &Clock::system(), out),
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

fn changed(key: &KeyView, out: &mut dyn Write) -> io::Result<()> {
    let listed = |list: Vec<&str>, none: &'static str| {
        if list.is_empty() {
            none.to_owned()
        } else {
            list.join(", ")
        }
    };
    let scopes = key.scopes.iter().map(Scope::as_str).collect();
    let models = key.allowed_models.iter().map(ModelGlob::as_str).collect();
    let ips = key.allowed_ips.iter().map(String::as_str).collect();
    writeln!(
        out,
        "Key {} ({}) of account {}, from the next request on:",
        key.name, key.id, key.account_name
    )?;
    writeln!(out, "  scopes   {}", listed(scopes, "none"))?;
    writeln!(out, "  models   {}", listed(models, "every model"))?;
    writeln!(out, "  from     {}", listed(ips, "anywhere"))?;
    let at_once = key.concurrent_requests.map_or_else(
        || "as many requests as its account may have".into(),
        |limit| format!("{limit} requests"),
    );
    writeln!(out, "  at once  {at_once}")?;
    let ends = key.expires_at.as_deref().unwrap_or("when it is revoked");
    writeln!(out, "  ends     {ends}")
}

fn rotated(created: &CreatedKey, out: &mut dyn Write) -> io::Result<()> {
    let CreatedKey { key, secret } = created;
    writeln!(
        out,
        "Key {} ({}) of account {} has a new secret:",
        key.name, key.id, key.account_name
    )?;
    writeln!(out, "\n    {secret}\n")?;
    let old = match &key.overlap_until {
        Some(until) => format!("The old one holds until {until}."),
        None => "The old one opens nothing any more.".into(),
    };
    writeln!(
        out,
        "It is shown this once; the gateway keeps only its hash. {old}"
    )
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

fn listed(page: &Page<KeyView>, out: &mut dyn Write) -> io::Result<()> {
    if page.data.is_empty() {
        return writeln!(
            out,
            "There are no such keys. Next: farebox key create --account ACCOUNT"
        );
    }
    let mut table = Table::new(
        [
            "ID", "ACCOUNT", "NAME", "STATUS", "SCOPES", "CREATED", "EXPIRES", "REVOKED",
        ]
        .map(|name| (name, Align::Left)),
    );
    for key in &page.data {
        table.row([
            key.id.to_string(),
            key.account_name.clone(),
            key.name.clone(),
            key.status.as_str().into(),
            key.scopes.to_string(),
            key.created_at.clone(),
            or_dash(key.expires_at.as_ref()),
            or_dash(key.revoked_at.as_ref()),
        ]);
    }
    table.write(out)?;
    more(page, out)
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
