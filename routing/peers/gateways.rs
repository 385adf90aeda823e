//! The contenders, each as its own documentation has it started for routing by prefix.

use crate::GATEWAY_CORE;
use crate::engines::{Fleet, program, until};
use crate::load::{Load, MODEL};
use crate::options::Options;
use farebox_bench_support::Outcome;
use farebox_bench_support::children::Process;
use farebox_bench_support::farebox::Farebox;
use farebox_bench_support::peers::Peer;
use std::fmt;
use std::fmt::Write as _;
use std::path::Path;

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
            peer(Peer::Smg, &more, fleet, folder).await
        }
        Contender::VllmRouter => peer(Peer::VllmRouter, &options.vllm_router, fleet, folder).await,
    }
}

async fn peer(peer: Peer, more: &str, fleet: &Fleet, folder: &Path) -> Outcome<Gateway> {
    let more = format!("--policy cache_aware {more}");
    let (process, port) = peer.start(GATEWAY_CORE, fleet.urls(), &more, folder)?;
    let url = format!("http://127.0.0.1:{port}");
    let all = format!("\"healthy_workers\":{}", fleet.urls().len());
    until(&process, &format!("{url}/readiness"), |said| said.contains(&all)).await?;
    Ok(Gateway {
        process,
        url,
        key: String::new(),
    })
}

async fn farebox(routing: &str, load: &Load, fleet: &Fleet, folder: &Path) -> Outcome<Gateway> {
    let farebox = Farebox::start(&program()?, GATEWAY_CORE, &catalog(routing, load, fleet)?, folder)?;
    let url = format!("http://{}", farebox.address);
    until(&farebox.process, &format!("{url}/health"), |_| true).await?;
    Ok(Gateway {
        process: farebox.process,
        url,
        key: farebox.key.secret,
    })
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
