//! Eight engines, and what they say of themselves.

use crate::LOAD_CORE;
use crate::front::{self, Front};
use crate::load::{Load, MODEL};
use crate::options::Options;
use farebox_bench_support::children::{Process, free_port};
use farebox_bench_support::{Outcome, farebox};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a process may take to answer at all.
const READY_TRIES: u32 = 600;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Engines that run until this is dropped.
pub struct Fleet {
    processes: Vec<Process>,
    fronts: Vec<Front>,
}

/// What an engine counted.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Counted {
    /// Tokens of the prompts that it was given.
    pub prompt_tokens: u64,
    /// Of those, the cached.
    pub cached_tokens: u64,
    /// Tokens that it made.
    pub output_tokens: u64,
}

/// `FAREBOX_BIN`, or the release binary of this folder.
pub fn program() -> Outcome<PathBuf> {
    farebox::program(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/farebox"))
}

/// Starts them, and waits until all answer.
pub async fn start(options: &Options, load: &Load, folder: &Path) -> Outcome<Fleet> {
    let program = program()?;
    let mut fleet = Fleet {
        processes: Vec::new(),
        fronts: Vec::new(),
    };
    for number in 0..options.engines {
        let address = format!("127.0.0.1:{}", free_port()?);
        let arguments = format!(
            "simulate --listen {address} --model {MODEL} --slots {} --prefill-rate {} --decode-rate {} \
             --cache-blocks {} --max-model-len 0",
            options.slots,
            options.prefill_rate,
            options.decode_rate,
            load.cache_blocks(),
        );
        let log = folder.join(format!("engine-{number}.log"));
        let arguments = arguments.split_whitespace();
        fleet
            .processes
            .push(Process::start(LOAD_CORE, &program, arguments, &[], &log)?);
        fleet
            .fronts
            .push(front::start(&format!("http://{address}")).await?);
    }
    for (process, url) in fleet.processes.iter().zip(fleet.urls()) {
        until(process, &format!("{url}/health"), |_| true).await?;
    }
    Ok(fleet)
}

/// Waits until `url` answers 200 with what is wanted.
pub async fn until(process: &Process, url: &str, wanted: impl Fn(&str) -> bool) -> Outcome<()> {
    for _ in 0..READY_TRIES {
        if let Ok(response) = reqwest::get(url).await
            && response.status().is_success()
            && wanted(&response.text().await?)
        {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    Err(process.complaint(&format!("not ready at {url}")).into())
}

impl Fleet {
    /// Where they are, without a path.
    pub fn urls(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fronts.iter().map(|front| front.url.as_str())
    }

    /// What each has counted.
    pub async fn said(&self) -> Outcome<Vec<Counted>> {
        let mut all = Vec::new();
        for url in self.urls() {
            let metrics = reqwest::get(format!("{url}/metrics")).await?.text().await?;
            let counter = |name: &str| -> Outcome<u64> {
                let line = metrics
                    .lines()
                    .find(|line| line.starts_with(&format!("vllm:{name}{{")));
                let value = line.and_then(|line| line.rsplit(' ').next());
                Ok(value
                    .ok_or_else(|| format!("an engine without {name}"))?
                    .parse()?)
            };
            all.push(Counted {
                prompt_tokens: counter("prefix_cache_queries_total")?,
                cached_tokens: counter("prefix_cache_hits_total")?,
                output_tokens: counter("generation_tokens_total")?,
            });
        }
        Ok(all)
    }
}
