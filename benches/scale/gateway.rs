//! farebox with everything on, on data of a size and with a models.yaml of a size; and the pass-through.

use crate::made::{FIRST_SECRET, Size};
use farebox_bench_support::Outcome;
use farebox_bench_support::asks::Target;
use farebox_bench_support::children::Process;
use farebox_bench_support::cpu::resident_bytes;
use farebox_bench_support::farebox::{Ready, program, serve};
use farebox_bench_support::load::wait_until_it_answers;
use farebox_bench_support::roles::start_passthrough;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// The first of the models; the others have another number.
pub const FIRST_MODEL: &str = "meta-llama/Llama-3.3-70B-Instruct-000000";
/// How long one that has said that it is ready may take to its first answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// What a farebox is started with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Its data.
    pub data: Size,
    /// Models in models.yaml, all at the same engines.
    pub models: u64,
    /// Engines of each; all are the one upstream.
    pub engines: u64,
    /// As models.yaml says it.
    pub routing: &'static str,
}

/// What everything else has when one dimension grows.
pub const SMALL: Shape = Shape {
    data: Size { keys: 10, entries: 0 },
    models: 1,
    engines: 1,
    routing: "least_loaded",
};

/// A running gateway and how to reach it.
pub struct Gateway {
    /// Held for its end.
    pub process: Process,
    /// Where clients go, with the first key.
    pub target: Target,
    /// From its start to its word that it is ready, in seconds.
    pub start_seconds: f64,
    /// Resident then, in MiB.
    pub resident_mib: f64,
}

/// Where gateways are started.
pub struct Place<'a> {
    /// Theirs.
    pub core: u32,
    /// The engine.
    pub upstream: SocketAddr,
    /// For their files.
    pub folder: &'a Path,
    /// Where data is kept from one run to the next.
    pub kept: &'a Path,
}

impl Place<'_> {
    /// Starts farebox in a folder of this name.
    pub async fn start(&self, name: &str, shape: Shape) -> Outcome<Gateway> {
        let folder = self.folder.join(name);
        let data = folder.join("data");
        shape.data.copy_into(&data, self.kept, FIRST_MODEL).await?;
        let program = program(env!("CARGO_BIN_EXE_farebox"))?;
        let models_yaml = models_yaml(shape, self.upstream);
        let begun = Instant::now();
        let (process, Ready { listening, .. }) = serve(&program, self.core, &models_yaml, &folder)?;
        let gateway = Gateway {
            start_seconds: begun.elapsed().as_secs_f64(),
            resident_mib: mib(resident_bytes(process.id())?),
            target: target(listening.parse()?),
            process,
        };
        gateway.answers().await?;
        Ok(gateway)
    }

    /// Starts the pass-through, whose requests take turns at so many clients.
    pub async fn start_passthrough(&self, clients: u64) -> Outcome<Gateway> {
        let begun = Instant::now();
        let (process, address) = start_passthrough(self.core, self.upstream, clients, self.folder)?;
        let key = farebox_bench_support::passthrough::KEY.to_owned();
        let gateway = Gateway {
            start_seconds: begun.elapsed().as_secs_f64(),
            resident_mib: mib(resident_bytes(process.id())?),
            target: Target {
                key,
                ..target(address)
            },
            process,
        };
        gateway.answers().await?;
        Ok(gateway)
    }
}

impl Gateway {
    async fn answers(&self) -> Outcome<()> {
        let answered = wait_until_it_answers(&self.target, ANSWERS_WITHIN).await;
        answered.map_err(|error| self.process.complaint(&error.to_string()).into())
    }
}

/// There, with the first key.
pub fn target(address: SocketAddr) -> Target {
    Target {
        address,
        key: FIRST_SECRET.to_owned(),
        chat_model: FIRST_MODEL,
        embedding_model: FIRST_MODEL,
    }
}

/// Bytes in MiB.
pub fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn models_yaml(shape: Shape, upstream: SocketAddr) -> String {
    let mut text = String::from("models:\n");
    // Writing to a string cannot fail.
    for model in 0..shape.models {
        let id = FIRST_MODEL.trim_end_matches('0');
        let _infallible = write!(
            text,
            "  - id: {id}{model:06}
    task: chat
    context_length: 131072
    max_output_tokens: 131072
    price: {{ input: \"0.10\", cached_input: \"0.02\", output: \"0.32\" }}
    routing: {}
    engines:
",
            shape.routing
        );
        for engine in 0..shape.engines {
            let _infallible = writeln!(
                text,
                "      - {{ engine: engine-{engine:06}, serves: {FIRST_MODEL} }}"
            );
        }
    }
    text.push_str("engines:\n");
    for engine in 0..shape.engines {
        let _infallible = writeln!(
            text,
            "  - {{ name: engine-{engine:06}, kind: vllm, url: \"http://{upstream}\", max_concurrent: 20000 }}"
        );
    }
    text.push_str("limits:\n  concurrent_requests: 20000\n");
    text
}
