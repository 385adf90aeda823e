//! What the command line says.

use farebox_bench_support::peers::Peer;
use std::path::PathBuf;
use std::time::Duration;

/// What answers the load: `direct` is the upstream itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Subject {
    /// The gateway of this repository.
    Farebox,
    /// The same with rates of requests and tokens on account, key and model, none of which is ever reached.
    Rated,
    /// The axum and reqwest proxy of this bench: what every ratio is taken against.
    Passthrough,
    /// nginx, if installed.
    Nginx,
    /// HAProxy, if installed.
    Haproxy,
    /// smg, if installed.
    Smg,
    /// vllm-router, if installed.
    VllmRouter,
    /// sglang-router, if installed.
    SglangRouter,
    /// No gateway.
    Direct,
}

impl Subject {
    /// Every subject, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Farebox,
        Self::Rated,
        Self::Passthrough,
        Self::Nginx,
        Self::Haproxy,
        Self::Smg,
        Self::VllmRouter,
        Self::SglangRouter,
        Self::Direct,
    ];

    /// As on the command line, in the table and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Farebox => "farebox",
            Self::Rated => "rated",
            Self::Passthrough => "passthrough",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Smg => Peer::Smg.name(),
            Self::VllmRouter => Peer::VllmRouter.name(),
            Self::SglangRouter => Peer::SglangRouter.name(),
            Self::Direct => "direct",
        }
    }

    /// Whether this repository answers for it: then a phase without a figure fails the run.
    pub fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Farebox | Self::Rated | Self::Passthrough | Self::Direct
        )
    }
}

/// A load and what is read from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Phase {
    /// Non-streamed chat in a closed loop.
    Request,
    /// Long streams as fast as they go.
    Burst,
    /// Streams that an engine steps together, a thousand times a second.
    Stepped,
    /// Slow streams, in mid-stream.
    Paced,
    /// Short streams in a closed loop, for the time to the first event.
    Ttft,
    /// Many open streams, for memory.
    Open,
    /// Non-streamed embeddings in a closed loop.
    Embeddings,
    /// `Request` once more, with its system calls counted.
    RequestCalls,
    /// `Stepped` once more, with its system calls counted.
    ChunkCalls,
}

impl Phase {
    /// In the order of a round: memory comes after what was always before it, from a gateway that has worked; then what has
    /// large answers, and last what is slower for being traced.
    pub const ALL: [Self; 9] = [
        Self::Request,
        Self::Burst,
        Self::Stepped,
        Self::Paced,
        Self::Ttft,
        Self::Open,
        Self::Embeddings,
        Self::RequestCalls,
        Self::ChunkCalls,
    ];

    /// Whether system calls are counted, and nothing else is.
    pub fn counts_calls(self) -> bool {
        matches!(self, Self::RequestCalls | Self::ChunkCalls)
    }
}

/// CPU and latency of a gateway beside proxies that bill nothing.
#[derive(clap::Parser, Debug)]
#[command(name = "gateway")]
pub struct Options {
    /// A smoke test: one short round, 200 open streams.
    #[arg(long)]
    pub quick: bool,
    /// Interleaved rounds, of which the median is taken.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Leave the others out.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Subject>,
    /// The engine kind in farebox's models.yaml.
    #[arg(long, default_value = "vllm")]
    pub kind: String,
    /// Let the engine serve the model under another name than clients use.
    #[arg(long)]
    pub rename: bool,
    /// Clients of streams do not ask for usage.
    #[arg(long)]
    pub no_usage: bool,
    /// The core of the load generator and the upstream.
    #[arg(long, default_value_t = 0)]
    pub load_core: u32,
    /// The core of the gateways.
    #[arg(long, default_value_t = 1)]
    pub gateway_core: u32,
    /// Where the drawing goes.
    #[arg(long)]
    pub svg: Option<PathBuf>,
    /// Where the tables go, as Markdown: into a file that has the two marks between them, or into a new one.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Start this gateway alone, print its PID and repeat one phase.
    #[arg(long, value_enum)]
    pub profile: Option<Subject>,
    /// The phase that --profile repeats.
    #[arg(long, value_enum, default_value = "request")]
    pub phase: Phase,
    /// How long --profile goes on.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Given by cargo.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    /// The subjects asked for.
    pub fn subjects(&self) -> Vec<Subject> {
        let asked_for = |subject: &Subject| self.only.is_empty() || self.only.contains(subject);
        Subject::ALL.into_iter().filter(asked_for).collect()
    }

    /// How many rounds are run.
    pub fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    /// How long a phase is measured once it has settled.
    pub fn window(&self, phase: Phase) -> Duration {
        let full = match phase {
            Phase::Request | Phase::Burst | Phase::Stepped | Phase::Embeddings => 2_500,
            Phase::Paced | Phase::Ttft => 3_000,
            Phase::Open | Phase::RequestCalls | Phase::ChunkCalls => 1_000,
        };
        Duration::from_millis(if self.quick { full / 5 } else { full })
    }

    /// Streams open at once in the memory phase.
    pub fn open_streams(&self) -> u32 {
        if self.quick { 200 } else { 1_000 }
    }
}
