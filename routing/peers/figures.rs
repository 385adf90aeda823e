//! What a run is worth in numbers, and medians of them.

use crate::client::Answer;
use crate::engines::Counted;
use crate::gateways::Contender;
use crate::options::Options;
use crate::world::trace::ratio;
use serde::Serialize;

/// One contender's turn in one round.
#[derive(Debug, Serialize)]
pub struct Run {
    pub contender: Contender,
    pub round: usize,
    /// Of the prompts' tokens, the share that was cached.
    pub hit_rate: f64,
    /// Tokens of prompts that were computed, in millions.
    pub computed_mtok: f64,
    /// Milliseconds to the first content.
    pub ttft_p50_ms: f64,
    pub ttft_p90_ms: f64,
    pub ttft_p99_ms: f64,
    /// The most that an engine had to do, of the mean.
    pub imbalance: f64,
    /// Milliseconds on a core that the gateway took for a request.
    pub cpu_ms: f64,
    /// Requests without a whole answer.
    pub failed: usize,
    /// What the first of them was answered.
    pub fault: Option<String>,
    engines: Vec<Counted>,
}

impl Run {
    pub fn new(
        options: &Options,
        (contender, round): (Contender, usize),
        answers: &[Answer],
        engines: Vec<Counted>,
        cpu_us: f64,
    ) -> Self {
        let mut ttft_ms: Vec<f64> = answers
            .iter()
            .flatten()
            .map(|ttft| ttft.as_secs_f64() * 1_000.0)
            .collect();
        ttft_ms.sort_by(f64::total_cmp);
        let sum = |of: fn(&Counted) -> u64| engines.iter().map(of).sum::<u64>();
        let (prompt, cached) = (
            sum(|engine| engine.prompt_tokens),
            sum(|engine| engine.cached_tokens),
        );
        let work: Vec<f64> = engines
            .iter()
            .map(|engine| {
                ratio(engine.prompt_tokens - engine.cached_tokens, options.prefill_rate)
                    + ratio(engine.output_tokens, options.decode_rate)
            })
            .collect();
        let mean = work.iter().sum::<f64>() / ratio(options.engines, 1);
        Self {
            contender,
            round,
            hit_rate: ratio(cached, prompt),
            computed_mtok: ratio(prompt - cached, 1_000_000),
            ttft_p50_ms: percentile(&ttft_ms, 50),
            ttft_p90_ms: percentile(&ttft_ms, 90),
            ttft_p99_ms: percentile(&ttft_ms, 99),
            imbalance: work.iter().copied().fold(0.0, f64::max) / mean,
            cpu_ms: cpu_us / ratio(answers.len() as u64, 1) / 1_000.0,
            failed: answers.iter().filter(|answer| answer.is_err()).count(),
            fault: answers.iter().find_map(|answer| answer.clone().err()),
            engines,
        }
    }
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0.0)
}
