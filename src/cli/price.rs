//! `farebox price list|set`

use crate::admin_api::{List, NewPrice, PriceSet, PriceStatus, PriceVersionView, PriceView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, or_dash};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// Arguments of `farebox price`.
#[derive(Debug, Args)]
pub struct PriceArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PriceCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with prices.
#[derive(Debug, Subcommand)]
pub enum PriceCommand {
    /// Show every version of the prices, past, current and to come.
    List {
        /// Only this model's: its id or an alias.
        #[arg(long)]
        model: Option<String>,
    },
    /// Give a model another price. It holds for the very next request, or from a time on by itself; what is in flight keeps
    /// its own. What is not given is not sold any more.
    Set(Box<SetArgs>),
}

/// Arguments of `farebox price set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The model's id or an alias.
    #[arg(long)]
    pub model: String,
    /// From when it holds: a date (its start in UTC), a time in RFC 3339, or a span from now such as 2h.
    #[arg(long, value_name = "WHEN")]
    pub from: Option<String>,
    /// The whole price.
    #[command(flatten)]
    pub price: PriceFlags,
}

/// A price on the command line, in the texts of models.yaml.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Price")]
pub struct PriceFlags {
    /// USD per million prompt tokens.
    #[arg(long, value_name = "USD", required_unless_present = "price")]
    pub input: Option<String>,
    /// USD per million cached prompt tokens; without it they cost what input does.
    #[arg(long, value_name = "USD")]
    pub cached_input: Option<String>,
    /// USD per million completion tokens; not for an embedding model.
    #[arg(long, value_name = "USD")]
    pub output: Option<String>,
    /// USD a request.
    #[arg(long, value_name = "USD")]
    pub per_request: Option<String>,
    /// USD per second of engine time.
    #[arg(long, value_name = "USD")]
    pub per_engine_second: Option<String>,
    /// USD an image.
    #[arg(long, value_name = "USD")]
    pub per_image: Option<String>,
    /// USD per million characters.
    #[arg(long, value_name = "USD")]
    pub per_million_characters: Option<String>,
    /// USD per second of audio.
    #[arg(long, value_name = "USD")]
    pub per_audio_second: Option<String>,
    /// By what the priority tier multiplies everything, such as 1.5; without it that tier is not sold.
    #[arg(long, value_name = "FACTOR")]
    pub priority: Option<String>,
    /// By what the flex tier multiplies everything, such as 0.8; without it that tier is not sold.
    #[arg(long, value_name = "FACTOR")]
    pub flex: Option<String>,
    /// All of it as JSON with models.yaml's keys, which is the way to give `context_tiers`.
    #[arg(long, value_name = "JSON", value_parser = parse_object, conflicts_with_all = [
        "input", "cached_input", "output", "per_request", "per_engine_second", "per_image", "per_million_characters",
        "per_audio_second", "priority", "flex",
    ])]
    pub price: Option<Value>,
}

fn parse_object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err("write a JSON object such as '{\"input\":\"0.10\",\"output\":\"0.32\"}'".into()),
        Err(fault) => Err(format!("it is not JSON: {fault}")),
    }
}

impl PriceFlags {
    /// The price as the admin API takes it.
    pub fn into_json(self) -> Value {
        if let Some(price) = self.price {
            return price;
        }
        let given = [
            ("input", self.input),
            ("cached_input", self.cached_input),
            ("output", self.output),
            ("per_request", self.per_request),
            ("per_engine_second", self.per_engine_second),
            ("per_image", self.per_image),
            ("per_million_characters", self.per_million_characters),
            ("per_audio_second", self.per_audio_second),
            ("priority", self.priority),
            ("flex", self.flex),
        ];
        let given = given
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), Value::from(text?))));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

/// Runs the command.
pub async fn run(args: PriceArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        PriceCommand::List { model } => {
            let params = [("model", model.as_deref())];
            let answer = client.get_with(&["prices"], &params).await?;
            client.show(&answer, out, |list: &List<PriceVersionView>, out| {
                listed(&list.data, out)
            })
        }
        PriceCommand::Set(args) => {
            let new = NewPrice {
                model: args.model,
                price: args.price.into_json(),
                from: args.from,
            };
            let answer = client.send_json(Method::POST, &["prices"], &new).await?;
            client.show(&answer, out, set)
        }
    }
}

fn listed(versions: &[PriceVersionView], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("MODEL", Align::Left),
        ("VERSION", Align::Right),
        ("STATUS", Align::Left),
        ("FROM", Align::Left),
        ("INPUT", Align::Point),
        ("CACHED", Align::Point),
        ("OUTPUT", Align::Point),
        ("BESIDES", Align::Left),
    ]);
    for version in versions {
        let price = &version.price;
        table.row([
            version.model.to_string(),
            version.version.0.to_string(),
            version.status.as_str().into(),
            or_dash(version.from.as_ref()),
            price.input.clone(),
            or_dash(price.cached_input.as_ref()),
            price.output.clone(),
            besides(price),
        ]);
    }
    table.write(out)
}

fn set(answer: &PriceSet, out: &mut dyn Write) -> io::Result<()> {
    let (set, before) = (&answer.set, &answer.before);
    let model = &set.model;
    match (set.status, &set.from) {
        (PriceStatus::Scheduled, Some(from)) => {
            writeln!(out, "From {from} on {model} has this price, by itself.\n")?;
        }
        _ => writeln!(
            out,
            "The very next request for {model} has this price. What is in flight keeps the one before.\n"
        )?,
    }
    let mut table = Table::new([
        ("USD", Align::Left),
        ("BEFORE", Align::Left),
        ("NOW", Align::Left),
    ]);
    for ((what, was), (_, is)) in parts(&before.price).into_iter().zip(parts(&set.price)) {
        if was.is_some() || is.is_some() {
            table.row([what.into(), or_dash(was), or_dash(is)]);
        }
    }
    table.write(out)
}

/// What a price has besides the three prices of tokens, on one line.
fn besides(price: &PriceView) -> String {
    let others = parts(price).into_iter().skip(3);
    let shown: Vec<_> = others
        .filter_map(|(what, text)| Some(format!("{what} {}", text?)))
        .collect();
    shown.join(", ")
}

/// Every part that a price can have, in the order of models.yaml.
fn parts(price: &PriceView) -> Vec<(&'static str, Option<String>)> {
    let tier = |tier: &crate::admin_api::ContextTierView| {
        let cached = tier
            .cached_input
            .as_ref()
            .map_or(String::new(), |cached| format!("{cached}/"));
        format!(
            "{}/{cached}{} above {}",
            tier.input, tier.output, tier.above_prompt_tokens
        )
    };
    let tiers: Vec<_> = price.context_tiers.iter().map(tier).collect();
    vec![
        ("input", Some(price.input.clone())),
        ("cached input", price.cached_input.clone()),
        ("output", Some(price.output.clone())),
        ("long prompts", (!tiers.is_empty()).then(|| tiers.join("; "))),
        ("a request", price.per_request.clone()),
        ("an engine second", price.per_engine_second.clone()),
        ("an image", price.per_image.clone()),
        ("a million characters", price.per_million_characters.clone()),
        ("an audio second", price.per_audio_second.clone()),
        ("priority x", price.priority.clone()),
        ("flex x", price.flex.clone()),
    ]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn price_of(line: &str) -> Result<Value, String> {
        let args = line.split_whitespace();
        let cli = Cli::try_parse_from(
            ["farebox", "price", "set", "--model", "m"]
                .into_iter()
                .chain(args),
        )
        .map_err(|fault| fault.to_string())?;
        match cli.command {
            Command::Price(PriceArgs {
                command: PriceCommand::Set(args),
                ..
            }) => Ok(args.price.into_json()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_price_is_given_by_flags_or_as_json() {
        let flags = price_of("--input 0.10 --output 0.32 --per-request 0.001 --priority 1.5").unwrap();
        let json = r#"{"input":"0.10","output":"0.32","per_request":"0.001","priority":"1.5"}"#;
        assert_eq!(flags, serde_json::from_str::<Value>(json).unwrap());
        assert_eq!(price_of(&format!("--price {json}")), Ok(flags));
        for wrong in ["", "--price []", "--price {", "--price {} --input 1"] {
            assert!(price_of(wrong).is_err(), "{wrong}");
        }
    }
}
