//! What the command line says.

use std::path::PathBuf;
use std::time::Duration;

/// A part of the benchmark, which can be run alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// Entries booked by the settler, without a gateway.
    Settlements,
    /// What a request costs by the number of keys.
    Keys,
    /// By the number of models.
    Models,
    /// By the number of a model's engines.
    Engines,
    /// By the number of entries in the ledger.
    Entries,
    /// Many streams at once.
    Streams,
}

impl Part {
    /// In the order of a run: what needs both cores first.
    const ALL: [Self; 6] = [
        Self::Settlements,
        Self::Keys,
        Self::Models,
        Self::Engines,
        Self::Entries,
        Self::Streams,
    ];
}

/// What it costs farebox to be large.
#[derive(clap::Parser, Debug)]
#[command(name = "scale")]
pub struct Options {
    /// A smoke test of a minute: the smaller sizes, two rounds, short windows.
    #[arg(long)]
    pub quick: bool,
    /// Interleaved rounds, of which the median is taken.
    #[arg(long, default_value_t = 9)]
    pub rounds: u32,
    /// These parts alone.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// The core of the load generator and the upstream.
    #[arg(long, default_value_t = 0)]
    pub load_core: u32,
    /// The core of the gateways.
    #[arg(long, default_value_t = 1)]
    pub gateway_core: u32,
    /// Where the drawing goes.
    #[arg(long)]
    pub svg: Option<PathBuf>,
    /// Where the tables go, as Markdown: between the marks "scale" of a file that has them, or into a new one.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    /// The parts asked for.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let asked_for = |part: &Part| self.only.is_empty() || self.only.contains(part);
        Part::ALL.into_iter().filter(asked_for)
    }

    /// How many rounds are run.
    pub fn rounds(&self) -> u32 {
        if self.quick { 2 } else { self.rounds.max(1) }
    }

    /// As long as this, or a fifth of it in a smoke test.
    pub fn window(&self, full: Duration) -> Duration {
        if self.quick { full / 5 } else { full }
    }

    /// These sizes, or in a smoke test those up to `small`.
    pub fn sizes(&self, all: &[u64], small: u64) -> Vec<u64> {
        let most = if self.quick { small } else { u64::MAX };
        all.iter().copied().filter(|size| *size <= most).collect()
    }
}
