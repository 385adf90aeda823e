//! `farebox count`: how many prompt tokens a request has, as the gateway counts them before it asks an engine.

use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use crate::clock::Clock;
use crate::config::{self, Fault};
use crate::engines::prompt::{self, PromptCounter};
use clap::Args;
use farebox_domain::catalog::Task;
use farebox_domain::ledger::Endpoint;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `farebox count`.
#[derive(Debug, Args)]
pub struct CountArgs {
    /// What is sold, and with which tokenizers.
    #[arg(
        long,
        value_name = "FILE",
        env = "FAREBOX_CONFIG",
        default_value = "models.yaml"
    )]
    pub config: PathBuf,
    /// The model, by its id or an alias.
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Files with a request body each, as a client sends it.
    #[arg(value_name = "FILE", required = true)]
    pub bodies: Vec<PathBuf>,
}

/// A file, and its count if there is one.
type Counted = (String, Option<u64>);

/// Runs the command.
pub fn run(args: &CountArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let settings = match config::load(&args.config) {
        Ok(settings) => settings,
        Err(faults) => return bad_configuration(args, faults.as_slice(), out),
    };
    let model = settings
        .catalog
        .find(&args.model)
        .ok_or_else(|| CliError::NoSuchModel {
            file: args.config.display().to_string(),
            model: args.model.clone(),
        })?;
    let counter = match prompt::counter_of(&settings, model, &Clock::system()) {
        Ok(counter) => counter.ok_or_else(|| CliError::NoTokenizer {
            file: args.config.display().to_string(),
            model: model.id.to_string(),
        })?,
        Err(fault) => return bad_configuration(args, &[fault], out),
    };
    let counted = count_all(args, &counter, model.task)?;
    if args.json {
        let text = as_json(&counted).map_err(std::io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        as_table(counted).write(out)?;
    }
    Ok(out.flush()?)
}

/// Tells the faults where `farebox check` tells them.
fn bad_configuration(args: &CountArgs, faults: &[Fault], out: &mut dyn Write) -> Result<(), CliError> {
    for fault in faults {
        writeln!(out, "{fault}")?;
    }
    Err(CliError::BadConfiguration {
        file: args.config.display().to_string(),
        faults: faults.len(),
    })
}

fn count_all(args: &CountArgs, counter: &PromptCounter, task: Task) -> Result<Vec<Counted>, CliError> {
    let count = |path: &PathBuf| {
        let file = path.display().to_string();
        match std::fs::read(path) {
            Ok(body) => Ok((file, counter.count(endpoint(task, &body), &body))),
            Err(cause) => Err(CliError::Unreadable { file, cause }),
        }
    };
    args.bodies.iter().map(count).collect()
}

/// Where a client would send it: a chat has messages, a completion has a prompt.
fn endpoint(task: Task, body: &[u8]) -> Endpoint {
    #[derive(Deserialize)]
    struct Shape {
        messages: Option<IgnoredAny>,
    }
    match task {
        Task::Embedding => Endpoint::Embeddings,
        Task::Chat => match serde_json::from_slice(body) {
            Ok(Shape { messages: None }) => Endpoint::Completions,
            _ => Endpoint::ChatCompletions,
        },
    }
}

fn as_json(counted: &[Counted]) -> serde_json::Result<String> {
    let data: Vec<_> = counted
        .iter()
        .map(|(file, tokens)| serde_json::json!({ "file": file, "prompt_tokens": tokens }))
        .collect();
    serde_json::to_string_pretty(&serde_json::json!({ "data": data }))
}

/// A body whose prompt cannot be counted has `unknown`.
fn as_table(counted: Vec<Counted>) -> Table {
    let mut table = Table::new([("FILE", Align::Left), ("PROMPT TOKENS", Align::Right)]);
    for (file, tokens) in counted {
        table.row([
            file,
            tokens.map_or_else(|| "unknown".into(), |tokens| tokens.to_string()),
        ]);
    }
    table
}
