//! The table: each figure with its spread, and as a ratio to farebox's of the same round.

use crate::figures::Run;
use crate::gateways::Contender;
use crate::load::Load;
use crate::options::Options;
use crate::world::trace::{BLOCK_TOKENS, ratio};
use farebox_bench_support::spread::Spread;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A column: its name, its figure, its decimals, and whether more is better.
struct Figure {
    name: &'static str,
    of: fn(&Run) -> f64,
    decimals: usize,
    more_is_better: bool,
}

const FIGURES: [Figure; 7] = [
    figure("hit rate, %", |run| run.hit_rate * 100.0, 1, true),
    figure("computed, Mtok", |run| run.computed_mtok, 2, false),
    figure("TTFT p50, ms", |run| run.ttft_p50_ms, 0, false),
    figure("TTFT p90, ms", |run| run.ttft_p90_ms, 0, false),
    figure("TTFT p99, ms", |run| run.ttft_p99_ms, 0, false),
    figure("max/mean", |run| run.imbalance, 2, false),
    figure("CPU, ms", |run| run.cpu_ms, 2, false),
];

const fn figure(name: &'static str, of: fn(&Run) -> f64, decimals: usize, more_is_better: bool) -> Figure {
    Figure {
        name,
        of,
        decimals,
        more_is_better,
    }
}

/// What is replayed, and on what.
pub fn about(options: &Options, load: &Load) -> String {
    let span = load.at.last().map_or(0.0, std::time::Duration::as_secs_f64);
    let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let (bound, infinite) = load.bounds;
    format!(
        "\
{} requests in {span:.0} s, {} % of what the engines do with one infinite cache; {:.1} million tokens of prompts
{} engines, {} at a time, {} tokens/s of prefill, {} of decode; an output token in {} of the trace's
{} distinct blocks of {BLOCK_TOKENS} tokens; each cache holds {} tokens, all together {} % of the blocks
one cache as large as all of them would hit {:.1} %, an infinite one {:.1} %
load average before: {}",
        load.len(),
        options.load,
        ratio(load.prompt_tokens(), 1_000_000),
        options.engines,
        options.slots,
        options.prefill_rate,
        options.decode_rate,
        options.output_share,
        load.distinct_blocks,
        load.cache_tokens,
        options.cache_percent,
        bound * 100.0,
        infinite * 100.0,
        busy.split(' ').next().unwrap_or("unknown"),
    )
}

/// A run, as it ends.
pub fn progress(run: &Run) -> String {
    let mut line = format!("round {} {:<12}", run.round + 1, run.contender.as_str());
    for figure in &FIGURES {
        let _ = write!(line, "  {} {:.*}", figure.name, figure.decimals, (figure.of)(run));
    }
    if let Some(fault) = &run.fault {
        let _ = write!(line, "  {} failed: {fault}", run.failed);
    }
    line
}

/// All of it, as Markdown.
pub fn table(runs: &[Run]) -> String {
    let mut text = String::from("\n| contender |");
    for figure in &FIGURES {
        let _ = write!(text, " {} | x |", figure.name);
    }
    text.push_str(" failed |\n| --- |");
    text.push_str(&" --- | --- |".repeat(FIGURES.len()));
    text.push_str(" --- |\n");
    for contender in contenders(runs) {
        let _ = write!(text, "| {contender} |");
        for figure in &FIGURES {
            if let Some(Spread { median, min, max }) = Spread::of(each(runs, contender, figure)) {
                let decimals = figure.decimals;
                let _ = write!(
                    text,
                    " {median:.decimals$} ({min:.decimals$} to {max:.decimals$}) |"
                );
            }
            let ratios = Spread::of(ratios(runs, contender, figure));
            let _ = match ratios {
                Some(ratios) => write!(text, " {:.2} |", ratios.median),
                None => write!(text, " |"),
            };
        }
        let failed: usize = of(runs, contender).map(|run| run.failed).sum();
        let _ = writeln!(text, " {failed} |");
    }
    text.push_str(&verdict(runs));
    text
}

/// Where farebox is not ahead, and how far it is where it is least.
fn verdict(runs: &[Run]) -> String {
    let mut text = String::new();
    for peer in [Contender::Smg, Contender::VllmRouter] {
        for figure in &FIGURES {
            let Some(ratios) = Spread::of(ratios(runs, peer, figure)) else {
                continue;
            };
            let ahead = if figure.more_is_better {
                ratios.median < 1.0
            } else {
                ratios.median > 1.0
            };
            let word = if ahead { "ahead of" } else { "NOT ahead of" };
            let _ = write!(text, "\nfarebox is {word} {peer} in {}: ", figure.name);
            let _ = write!(text, "x {:.2} ", ratios.median);
            let _ = write!(text, "({:.2} to {:.2})", ratios.min, ratios.max);
        }
    }
    text.push('\n');
    text
}

/// For machines.
pub fn json(options: &Options, load: &Load, runs: &[Run]) -> Value {
    let summary = contenders(runs).into_iter().map(|contender| {
        let figures = FIGURES.iter().map(|figure| {
            json!({
                "figure": figure.name,
                "value": Spread::of(each(runs, contender, figure)),
                "ratio_to_farebox": Spread::of(ratios(runs, contender, figure)),
            })
        });
        json!({"contender": contender, "figures": figures.collect::<Vec<_>>()})
    });
    json!({
        "options": options,
        "cache_tokens_per_engine": load.cache_tokens,
        "distinct_blocks": load.distinct_blocks,
        "bound_hit_rate": load.bounds.0,
        "infinite_hit_rate": load.bounds.1,
        "summary": summary.collect::<Vec<_>>(),
        "runs": runs,
    })
}

fn contenders(runs: &[Run]) -> Vec<Contender> {
    let there = |contender: &Contender| runs.iter().any(|run| run.contender == *contender);
    Contender::ALL.into_iter().filter(there).collect()
}

fn of(runs: &[Run], contender: Contender) -> impl Iterator<Item = &Run> {
    runs.iter().filter(move |run| run.contender == contender)
}

fn each(runs: &[Run], contender: Contender, figure: &Figure) -> Vec<f64> {
    of(runs, contender).map(figure.of).collect()
}

fn ratios(runs: &[Run], contender: Contender, figure: &Figure) -> Vec<f64> {
    of(runs, contender)
        .filter_map(|run| {
            let farebox = of(runs, Contender::Prefix).find(|farebox| farebox.round == run.round)?;
            Some((figure.of)(run) / (figure.of)(farebox))
        })
        .collect()
}
