//! `/metrics`, under the names of vLLM 0.33.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::engine::Shared;
use super::text::escape;

/// The Prometheus text of the engine, labelled with its first model.
pub(super) fn render(engine: &Shared) -> String {
    let model = engine
        .settings
        .models
        .first()
        .map(|model| escape(model))
        .unwrap_or_default();
    let prompt_tokens = engine.prompt_tokens.load(Relaxed);
    let metrics = [
        (
            "num_requests_running",
            "gauge",
            engine.slots.running().to_string(),
        ),
        (
            "num_requests_waiting",
            "gauge",
            engine.slots.waiting().to_string(),
        ),
        ("kv_cache_usage_perc", "gauge", cache_usage(engine)),
        ("prefix_cache_queries_total", "counter", prompt_tokens.to_string()),
        (
            "prefix_cache_hits_total",
            "counter",
            engine.cache_hits.load(Relaxed).to_string(),
        ),
        ("prompt_tokens_total", "counter", prompt_tokens.to_string()),
        (
            "generation_tokens_total",
            "counter",
            engine.completion_tokens.load(Relaxed).to_string(),
        ),
    ];
    let mut text = String::new();
    for (name, kind, value) in metrics {
        let family = name.strip_suffix("_total").unwrap_or(name);
        let _ = write!(
            text,
            "# HELP vllm:{name} Simulated {}.\n# TYPE vllm:{name} {kind}\n\
             vllm:{name}{{engine=\"0\",model_name=\"{model}\"}} {value}\n",
            family.replace('_', " "),
        );
    }
    text
}

/// The part of the cache that running requests occupy, as a decimal between 0 and 1.
fn cache_usage(engine: &Shared) -> String {
    let used = engine.blocks_in_use.load(Relaxed);
    let capacity = (engine.settings.cache_blocks as u64).max(1);
    let thousandths = (used.saturating_mul(1000) / capacity).min(1000);
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}
