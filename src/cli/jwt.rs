//! `farebox key jwt`: signs a token with an API key, without a gateway.

use crate::admin_api::when::When;
use crate::admission::jwt::{kid, sign};
use crate::cli::error::CliError;
use crate::clock::Clock;
use clap::Args;
use farebox_domain::key::ModelGlob;
use farebox_domain::money::Picodollars;
use serde_json::{Map, Value};
use std::io::Write;

/// Arguments of `farebox key jwt`.
#[derive(Debug, Args)]
pub struct JwtArgs {
    /// The secret of a key that was made with --jwt. Better set by FAREBOX_API_KEY: arguments can be seen by others on
    /// the machine.
    #[arg(long, env = "FAREBOX_API_KEY", value_name = "SECRET", hide_env_values = true)]
    pub api_key: String,
    /// The key's id, `key_...`; or the account's, `acct_...`, together with --key-name.
    #[arg(long, value_name = "ID")]
    pub owner: String,
    /// The key's name.
    #[arg(long, value_name = "NAME")]
    pub key_name: Option<String>,
    /// When the token ends: a span such as 1h, a date, or a time in RFC 3339.
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    pub expires: When,
    /// A model that it is for, or a pattern; several with commas. Without it, those of the key.
    #[arg(long = "model", value_name = "PATTERN", value_delimiter = ',', value_parser = super::key::parse_glob)]
    pub models: Vec<ModelGlob>,
    /// What may be spent with it, all in all, in USD.
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    pub spending_limit: Option<Picodollars>,
    /// A name for the token: tokens of one key with one name share what may be spent.
    #[arg(long, value_name = "NAME")]
    pub jti: Option<String>,
}

fn parse_usd(text: &str) -> Result<Picodollars, String> {
    Picodollars::parse_usd(text)
        .filter(|limit| *limit >= Picodollars::ZERO)
        .ok_or_else(|| "write an amount in USD, such as 1.50".into())
}

/// Runs the command.
pub fn run(args: JwtArgs, clock: &Clock, out: &mut dyn Write) -> Result<(), CliError> {
    let mut claims = Map::new();
    let expires_at_s = args.expires.ahead(clock.unix_ms()) / 1000;
    claims.insert("exp".into(), expires_at_s.into());
    if !args.models.is_empty() {
        let models = args.models.into_iter().map(|glob| Value::String(glob.into()));
        claims.insert("models".into(), models.collect());
    }
    if let Some(limit) = args.spending_limit {
        claims.insert("spending_limit".into(), limit.to_string().into());
    }
    if let Some(jti) = args.jti {
        claims.insert("jti".into(), jti.into());
    }
    let kid = kid(&args.owner, args.key_name.as_deref());
    let token = sign(args.api_key.trim(), &kid, &Value::Object(claims).to_string());
    Ok(writeln!(out, "{token}")?)
}
