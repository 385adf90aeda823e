//! What may be set.

use crate::gateways::Contender;
use clap::Parser;
use std::path::PathBuf;

/// Routes the same requests with farebox, smg and vllm-router, in front of simulated engines, in real time.
#[derive(Debug, Clone, Parser, serde::Serialize)]
pub struct Options {
    /// One request a line: timestamp (ms), input_length, output_length, hash_ids. Made up where it is not given.
    #[arg(long)]
    pub trace: Option<PathBuf>,
    /// So many requests of it, from its beginning.
    #[arg(long, default_value_t = 1_200, value_parser = at_least_one())]
    pub requests: u64,
    /// Who is measured.
    #[arg(long = "only", value_delimiter = ',', default_values_t = Contender::ALL)]
    pub contenders: Vec<Contender>,
    /// How often each of them has its turn.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Percent of what the engines can do with one infinite cache.
    #[arg(long, default_value_t = 70, value_parser = at_least_one())]
    pub load: u64,
    /// Engines.
    #[arg(long, default_value_t = 8, value_parser = at_least_one())]
    pub engines: u64,
    /// What all caches hold together, in percent of the requests' distinct blocks.
    #[arg(long, default_value_t = 100)]
    pub cache_percent: u64,
    /// Tokens of prompts that an engine computes in a second.
    #[arg(long, default_value_t = 40_000, value_parser = at_least_one())]
    pub prefill_rate: u64,
    /// Tokens of output that an engine makes in a second.
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one())]
    pub decode_rate: u64,
    /// Of so many output tokens of the trace, one is asked for.
    #[arg(long, default_value_t = 16, value_parser = at_least_one())]
    pub output_share: u64,
    /// Requests that an engine works on at a time, each at the full rates.
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub slots: u64,
    /// More arguments for smg.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub smg: String,
    /// More arguments for vllm-router.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub vllm_router: String,
    /// Where the figures go.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub bench: bool,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}
