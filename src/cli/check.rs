//! `farebox check`: everything that is wrong with a configuration file, at once.

use crate::cli::error::CliError;
use crate::cli::table::counted;
use crate::clock::Clock;
use crate::config::{self, Faults, Settings};
use crate::engines::prompt;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `farebox check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file.
    #[arg(
        long,
        value_name = "FILE",
        env = "FAREBOX_CONFIG",
        default_value = "models.yaml"
    )]
    pub config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. The faults are its answer: they go where answers go, as lines that editors make links of.
pub fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let file = args.config.display().to_string();
    let checked = config::load(&args.config).and_then(with_its_files);
    if args.json {
        let text = as_json(&file, &checked).map_err(std::io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "{}", as_text(&file, &checked))?;
    }
    out.flush()?;
    match checked {
        Ok(_) => Ok(()),
        Err(faults) => Err(CliError::BadConfiguration {
            file,
            faults: faults.as_slice().len(),
        }),
    }
}

/// The tokenizers and templates that it names are read as they are when the gateway starts.
fn with_its_files(settings: Settings) -> Result<Settings, Faults> {
    prompt::load_all(&settings, &Clock::system())?;
    Ok(settings)
}

fn as_text(file: &str, checked: &Result<Settings, Faults>) -> String {
    match checked {
        Ok(settings) => {
            let models = counted(settings.catalog.models().len(), "model");
            let engines = counted(settings.catalog.engines().len(), "engine");
            format!("{file}: ok, {models}, {engines}")
        }
        Err(faults) => faults.to_string(),
    }
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::cli::error::EXIT_USAGE;

    fn check(text: &str, json: bool) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("models.yaml");
        std::fs::write(&config, text).unwrap();
        let mut out = Vec::new();
        let code = run(&CheckArgs { config, json }, &mut out).map_or_else(|fault| fault.exit_code(), |()| 0);
        let told = String::from_utf8(out).unwrap();
        (code, told.replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn a_file_that_holds_is_counted() {
        let (code, told) = check(config::DEMO, false);
        assert_eq!(
            (code, told.as_str()),
            (0, "models.yaml: ok, 2 models, 1 engine\n")
        );
    }

    #[test]
    fn every_fault_is_told_with_its_line_and_the_code_is_64() {
        let text = "models:\n  - id: m\n    tusk: chat\nengines: []\n";
        let (code, told) = check(text, false);
        assert_eq!(code, EXIT_USAGE);
        insta::assert_snapshot!(told, @r#"
models.yaml:2:5: models[0].task: missing: one of chat, embedding
models.yaml:2:5: models[0].context_length: missing: tokens of prompt and answer together
models.yaml:2:5: models[0].price: missing: what its tokens cost; nothing is free unless it says "0"
models.yaml:2:5: models[0].engines: missing: who serves it, by their names under the top level's `engines`
models.yaml:3:5: models[0].tusk: there is no such key; did you mean `task`?
models.yaml:4:10: engines: the list is empty
"#);
        let (code, told) = check(text, true);
        assert_eq!(code, EXIT_USAGE);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["ok"], false);
        assert_eq!(
            told["faults"][0]["file"].as_str().unwrap().rsplit('/').next(),
            Some("models.yaml")
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let mut out = Vec::new();
        let args = CheckArgs {
            config: "no/such/models.yaml".into(),
            json: false,
        };
        assert_eq!(run(&args, &mut out).unwrap_err().exit_code(), EXIT_USAGE);
    }
}
