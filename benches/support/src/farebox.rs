//! farebox as an operator runs it: a models.yaml, a data folder on disk, an account and a key.

use crate::Outcome;
use crate::children::{Process, output_of};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What its admin listener wants to see.
pub const ADMIN_TOKEN: &str = "bench-admin-token-of-no-worth";

/// How long it may take to start: it reads every key, and what each account has spent.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// One that runs until this is dropped, with an account that may have 20,000 requests in flight.
pub struct Farebox {
    /// The gateway's own.
    pub process: Process,
    /// Where clients go, `host:port`.
    pub address: String,
    /// Where administrators go, `host:port`.
    pub admin: String,
    /// The account's id.
    pub account: String,
    /// The account's key.
    pub key: Key,
    program: PathBuf,
}

/// An API key.
#[derive(Deserialize)]
pub struct Key {
    /// What administrators name it by.
    pub id: String,
    /// What clients send.
    pub secret: String,
}

/// What `farebox serve` prints when it is ready.
#[derive(Deserialize)]
pub struct Ready {
    /// Where clients go, `host:port`.
    pub listening: String,
    /// Where administrators go, `host:port`.
    pub admin: String,
}

#[derive(Deserialize)]
struct Account {
    id: String,
}

/// `FAREBOX_BIN`, or the binary that was built.
pub fn program(built: impl Into<PathBuf>) -> Outcome<PathBuf> {
    let program = std::env::var_os("FAREBOX_BIN").map_or_else(|| built.into(), PathBuf::from);
    if program.is_file() {
        Ok(program)
    } else {
        Err("no binary; FAREBOX_BIN names one".into())
    }
}

impl Farebox {
    /// Starts `program` on `core` with the text of its models.yaml and an empty ledger, all in `folder`.
    pub fn start(program: &Path, core: u32, models_yaml: &str, folder: &Path) -> Outcome<Self> {
        let (process, ready) = serve(program, core, models_yaml, folder)?;
        let run = |arguments: &[&str]| administer(program, &ready.admin, arguments);
        let Account { id } = serde_json::from_str(&run(&["account", "create", "bench", "--json"])?)?;
        run(&["limit", "set", "--account", &id, "--concurrent-requests", "20000"])?;
        let key = run(&["key", "create", "--account", &id, "--name", "bench", "--json"])?;
        Ok(Self {
            process,
            address: ready.listening,
            admin: ready.admin,
            account: id,
            key: serde_json::from_str(&key)?,
            program: program.to_owned(),
        })
    }

    /// Runs a command of its administrator's. An error holds what it said on stderr.
    pub fn administer(&self, arguments: &[&str]) -> Outcome<String> {
        administer(&self.program, &self.admin, arguments)
    }
}

/// Starts `program` on `core` with the text of its models.yaml and what `folder/data` has, which may be nothing.
pub fn serve(program: &Path, core: u32, models_yaml: &str, folder: &Path) -> Outcome<(Process, Ready)> {
    let (models, data) = (folder.join("models.yaml"), folder.join("data"));
    std::fs::create_dir_all(&data)?;
    std::fs::write(&models, models_yaml)?;
    let arguments = [
        "serve".as_ref(),
        "--config".as_ref(),
        models.as_os_str(),
        "--data".as_ref(),
        data.as_os_str(),
        "--listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--admin-listen".as_ref(),
        "127.0.0.1:0".as_ref(),
    ];
    let environment = [("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN)];
    let log = folder.join("farebox.log");
    let mut process = Process::start(core, program, arguments, &environment, &log)?;
    let line = process.first_line_within(READY_WITHIN)?;
    let ready =
        serde_json::from_str(&line).map_err(|error| process.complaint(&format!("said {line:?}: {error}")))?;
    Ok((process, ready))
}

fn administer(program: &Path, admin: &str, arguments: &[&str]) -> Outcome<String> {
    let url = format!("http://{admin}");
    let environment = [
        ("FAREBOX_ADMIN_URL", url.as_str()),
        ("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN),
    ];
    output_of(program, arguments, &environment)
}
