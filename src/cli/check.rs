//! `farebox check`: everything that is wrong with a configuration file, at once.

use crate::cli::error::CliError;
use crate::cli::table::counted;
use crate::config::{self, Faults, Settings};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `farebox check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file.
    #[arg(long, value_name = "FILE", env = "FAREBOX_CONFIG", default_value = "models.yaml")]
    pub config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let file = args.config.display().to_string();
    let checked = config::load(&args.config);
    if args.json {
        writeln!(out, "{}", as_json(&file, &checked)?)?;
    }
    match checked {
        Ok(settings) if !args.json => {
            let models = counted(settings.catalog.models().len(), "model");
            let engines = counted(settings.catalog.engines().len(), "engine");
            writeln!(out, "{file}: ok, {models}, {engines}")?;
        }
        Ok(_) => {}
        Err(faults) => return Err(refuse(&file, &faults, args.json)),
    }
    Ok(out.flush()?)
}

fn as_json(file: &str, checked: &Result<Settings, Faults>) -> serde_json::Result<String> {
    let summary = match checked {
        Ok(settings) => serde_json::json!({
            "ok": true,
            "file": file,
            "models": settings.catalog.models().len(),
            "engines": settings.catalog.engines().len(),
            "faults": [],
        }),
        Err(faults) => serde_json::json!({ "ok": false, "file": file, "faults": faults }),
    };
    serde_json::to_string_pretty(&summary)
}
