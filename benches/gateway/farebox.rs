//! farebox as an operator runs it: a models.yaml, a data folder on disk, an account, a key, everything on.

use crate::Outcome;
use crate::children::{Process, output_of};
use crate::load::{MODEL, Target};
use crate::options::Options;
use crate::proxies::Gateway;
use serde::Deserialize;
use std::path::{Path, PathBuf};

const ADMIN_TOKEN: &str = "bench-admin-token-of-no-worth";

/// What `farebox serve` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    listening: String,
    admin: String,
}

#[derive(Deserialize)]
struct Account {
    id: String,
}

#[derive(Deserialize)]
struct Key {
    id: String,
    secret: String,
}

/// Whether requests and tokens a minute are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rates {
    /// They are not.
    None,
    /// For the account, the key and the model, under limits that no load comes to.
    OutOfReach,
}

/// The most that may be said: more requests a minute than any load here makes.
const REQUESTS: &str = "1000000000";
/// Likewise, of tokens.
const TOKENS: &str = "1000000000";

/// Starts it with a ledger in `folder`, and makes an account that may have 20,000 requests in flight.
pub fn start(options: &Options, upstream: &str, folder: &Path, rates: Rates) -> Outcome<Gateway> {
    let program = program();
    if !program.is_file() {
        return Err("no binary; FAREBOX_BIN names one".into());
    }
    let folder = &folder.join(match rates {
        Rates::None => "farebox",
        Rates::OutOfReach => "rated",
    });
    let (models, data) = (folder.join("models.yaml"), folder.join("data"));
    std::fs::create_dir_all(&data)?;
    std::fs::write(&models, catalog(options, upstream, rates))?;
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
    let mut process = Process::start(options.gateway_core, &program, arguments, &environment, &log)?;
    let line = process.first_line()?;
    let ready: Ready =
        serde_json::from_str(&line).map_err(|error| process.complaint(&format!("said {line:?}: {error}")))?;
    let key = open_account(&program, &ready.admin, rates)?;
    Ok(Gateway {
        process,
        target: Target {
            address: ready.listening.parse()?,
            key,
        },
    })
}

/// `FAREBOX_BIN`, or the binary that cargo built for this bench.
fn program() -> PathBuf {
    std::env::var_os("FAREBOX_BIN").map_or_else(|| env!("CARGO_BIN_EXE_farebox").into(), PathBuf::from)
}

fn open_account(program: &Path, admin: &str, rates: Rates) -> Outcome<String> {
    let url = format!("http://{admin}");
    let environment = [
        ("FAREBOX_ADMIN_URL", url.as_str()),
        ("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN),
    ];
    let account = output_of(program, &["account", "create", "bench", "--json"], &environment)?;
    let Account { id } = serde_json::from_str(&account)?;
    let key = output_of(
        program,
        &["key", "create", "--account", &id, "--name", "bench", "--json"],
        &environment,
    )?;
    let key: Key = serde_json::from_str(&key)?;
    let set = |limits: &[&str]| output_of(program, &[&["limit", "set"], limits].concat(), &environment);
    set(&["--account", &id, "--concurrent-requests", "20000"])?;
    if rates == Rates::OutOfReach {
        let rates = ["--requests-per-minute", REQUESTS, "--tokens-per-minute", TOKENS];
        set(&[&["--account", id.as_str()], &rates[..]].concat())?;
        set(&[&["--key", key.id.as_str()], &rates[..]].concat())?;
    }
    Ok(key.secret)
}

fn catalog(options: &Options, upstream: &str, rates: Rates) -> String {
    let kind = &options.kind;
    let served = if options.rename {
        "served-under-another-name"
    } else {
        MODEL
    };
    let limits = match rates {
        Rates::None => String::new(),
        Rates::OutOfReach => {
            format!("    limits: {{ requests_per_minute: {REQUESTS}, tokens_per_minute: {TOKENS} }}\n")
        }
    };
    format!(
        "models:
  - id: {MODEL}
    task: chat
    context_length: 131072
    max_output_tokens: 131072
    price: {{ input: \"0.10\", cached_input: \"0.02\", output: \"0.32\" }}
    engines:
      - {{ engine: upstream, serves: {served} }}
    routing: least_loaded
{limits}engines:
  - {{ name: upstream, kind: {kind}, url: \"http://{upstream}\", max_concurrent: 20000 }}
limits:
  concurrent_requests: 200
"
    )
}
