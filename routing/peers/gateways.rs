//! The contenders, each as its own documentation has it started for routing by prefix.

use crate::children::{Process, free_port, output_of};
use crate::engines::{Fleet, program, until};
use crate::load::{Load, MODEL};
use crate::options::Options;
use crate::{GATEWAY_CORE, Outcome};
use serde::Deserialize;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const ADMIN_TOKEN: &str = "bench-admin-token-of-no-worth";

/// Who routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// farebox, `routing: prefix`.
    #[value(name = "farebox")]
    Prefix,
    /// smg, `--policy cache_aware`.
    Smg,
    /// vllm-router, `--policy cache_aware`.
    VllmRouter,
    /// farebox, `routing: least_loaded`.
    #[value(name = "least_loaded")]
    LeastLoaded,
    /// farebox, `routing: round_robin`.
    #[value(name = "round_robin")]
    RoundRobin,
}

impl Contender {
    pub const ALL: [Self; 5] = [
        Self::Prefix,
        Self::Smg,
        Self::VllmRouter,
        Self::LeastLoaded,
        Self::RoundRobin,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "farebox",
            Self::Smg => "smg",
            Self::VllmRouter => "vllm-router",
            Self::LeastLoaded => "least_loaded",
            Self::RoundRobin => "round_robin",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A gateway that runs until this is dropped.
pub struct Gateway {
    process: Process,
    /// Where it is, without a path.
    pub url: String,
    /// What a client shows.
    pub key: String,
}

impl Gateway {
    /// Its process, for `/proc`.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// smg looks at its engines' load every ten seconds unless told otherwise: too seldom for runs of a minute.
const SMG: &str = "--load-monitor-interval 1";

/// Starts one, and waits until it knows all engines.
pub async fn start(
    options: &Options,
    load: &Load,
    contender: Contender,
    fleet: &Fleet,
    folder: &Path,
) -> Outcome<Gateway> {
    match contender {
        Contender::Prefix => farebox("prefix", load, fleet, folder).await,
        Contender::LeastLoaded => farebox("least_loaded", load, fleet, folder).await,
        Contender::RoundRobin => farebox("round_robin", load, fleet, folder).await,
        Contender::Smg => {
            let more = format!("{SMG} {}", options.smg);
            peer("smg", "launch", "warn", &more, fleet, folder).await
        }
        Contender::VllmRouter => {
            peer("vllm-router", "", "warning", &options.vllm_router, fleet, folder).await
        }
    }
}

/// They are one family and take the same arguments.
async fn peer(
    name: &str,
    command: &str,
    log_level: &str,
    more: &str,
    fleet: &Fleet,
    folder: &Path,
) -> Outcome<Gateway> {
    let homes = std::env::var_os("PEERS").ok_or("PEERS names no folder: scripts/setup peers")?;
    let program = PathBuf::from(homes).join(name);
    let (port, metrics) = (free_port()?, free_port()?);
    let workers = fleet.urls().collect::<Vec<_>>().join(" ");
    let arguments = format!(
        "{command} --host 127.0.0.1 --port {port} --prometheus-host 127.0.0.1 --prometheus-port {metrics} \
         --log-level {log_level} --policy cache_aware {more} --worker-urls {workers}"
    );
    let log = folder.join(format!("{name}.log"));
    let mut process = Process::start(GATEWAY_CORE, &program, arguments.split_whitespace(), &[], &log)?;
    let _banner = process.first_line()?;
    let url = format!("http://127.0.0.1:{port}");
    let all = format!("\"healthy_workers\":{}", fleet.urls().len());
    until(&process, &format!("{url}/readiness"), |said| said.contains(&all)).await?;
    Ok(Gateway {
        process,
        url,
        key: String::new(),
    })
}

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
    secret: String,
}

async fn farebox(routing: &str, load: &Load, fleet: &Fleet, folder: &Path) -> Outcome<Gateway> {
    let (models, data) = (folder.join("models.yaml"), folder.join("data"));
    std::fs::create_dir_all(&data)?;
    std::fs::write(&models, catalog(routing, load, fleet)?)?;
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
    let mut process = Process::start(GATEWAY_CORE, &program(), arguments, &environment, &log)?;
    let line = process.first_line()?;
    let ready: Ready =
        serde_json::from_str(&line).map_err(|error| process.complaint(&format!("said {line:?}: {error}")))?;
    let key = open_account(&ready.admin)?;
    let url = format!("http://{}", ready.listening);
    until(&process, &format!("{url}/health"), |_| true).await?;
    Ok(Gateway { process, url, key })
}

fn open_account(admin: &str) -> Outcome<String> {
    let url = format!("http://{admin}");
    let environment = [
        ("FAREBOX_ADMIN_URL", url.as_str()),
        ("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN),
    ];
    let run = |arguments: &[&str]| output_of(&program(), arguments, &environment);
    let Account { id } = serde_json::from_str(&run(&["account", "create", "bench", "--json"])?)?;
    let limit = ["limit", "set", "--account", &id, "--concurrent-requests", "20000"];
    run(&limit)?;
    let key = run(&["key", "create", "--account", &id, "--name", "bench", "--json"])?;
    Ok(serde_json::from_str::<Key>(&key)?.secret)
}

fn catalog(routing: &str, load: &Load, fleet: &Fleet) -> Outcome<String> {
    let mut text = format!(
        "models:
  - id: {MODEL}
    task: chat
    context_length: 1000000
    max_output_tokens: 131072
    price: {{ input: \"0.10\", cached_input: \"0.02\", output: \"0.32\" }}
    routing: {routing}
    engines:
"
    );
    for number in 0..fleet.urls().len() {
        writeln!(text, "      - {{ engine: engine-{number}, serves: {MODEL} }}")?;
    }
    writeln!(text, "engines:")?;
    for (number, url) in fleet.urls().enumerate() {
        let cache_tokens = load.cache_tokens;
        writeln!(
            text,
            "  - {{ name: engine-{number}, kind: vllm, url: \"{url}\", cache_tokens: {cache_tokens} }}"
        )?;
    }
    writeln!(text, "limits:\n  concurrent_requests: 200")?;
    Ok(text)
}
