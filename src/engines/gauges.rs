//! What an engine says of itself at the moment: what runs, what waits, and how full its KV cache is.
//!
//! From the page that its counters are on ([`super::counters`]). vLLM's names are its releases' of 2025 and 2026 (before them the
//! cache's was `gpu_cache_usage_perc`), SGLang's and TensorRT-LLM's those of 2026 as others read them; llama.cpp's newer builds say
//! nothing of their cache. An engine that has parts (data parallel ranks) tells of each: what runs and waits is added up, and of the
//! cache the fullest part counts.

use super::counters::{decimal, samples};
use farebox_domain::catalog::EngineKind;

/// What an engine says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Requests that run, whoever's they are.
    pub running: u64,
    /// Requests that wait to be run, whoever's they are.
    pub waiting: u64,
    /// Thousandths of its KV cache that are in use, if it says.
    pub kv_cache_permille: Option<u64>,
    /// Tokens that its KV cache holds, if it says.
    pub cache_tokens: Option<u64>,
}

struct Names {
    running: &'static str,
    waiting: &'static str,
    kv_cache: &'static [&'static str],
}

const fn names(kind: EngineKind) -> Option<Names> {
    match kind {
        EngineKind::Vllm => Some(Names {
            running: "vllm:num_requests_running",
            waiting: "vllm:num_requests_waiting",
            kv_cache: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        }),
        EngineKind::Sglang => Some(Names {
            running: "sglang:num_running_reqs",
            waiting: "sglang:num_queue_reqs",
            kv_cache: &["sglang:token_usage"],
        }),
        EngineKind::LlamaCpp => Some(Names {
            running: "llamacpp:requests_processing",
            waiting: "llamacpp:requests_deferred",
            kv_cache: &["llamacpp:kv_cache_usage_ratio"],
        }),
        EngineKind::Trtllm => Some(Names {
            running: "trtllm_num_requests_running",
            waiting: "trtllm_num_requests_waiting",
            kv_cache: &["trtllm_kv_cache_utilization"],
        }),
        EngineKind::Ollama | EngineKind::Tei | EngineKind::Openai => None,
    }
}

/// Reads an engine's Prometheus text; `None` where it does not say what runs and what waits.
pub fn read(kind: EngineKind, text: &str) -> Option<Gauges> {
    let names = names(kind)?;
    let sum = |name| {
        let each = samples(text, name).map(|(_, value)| decimal(value, 0));
        each.reduce(|sum, value| sum?.checked_add(value?)).flatten()
    };
    let fullest = |name: &&str| {
        samples(text, name)
            .filter_map(|(_, value)| decimal(value, 3))
            .max()
    };
    Some(Gauges {
        running: sum(names.running)?,
        waiting: sum(names.waiting)?,
        kv_cache_permille: names.kv_cache.iter().find_map(fullest),
        cache_tokens: cache_tokens(kind, text),
    })
}

fn cache_tokens(kind: EngineKind, text: &str) -> Option<u64> {
    let each = |name, tokens: fn(&str, &str) -> Option<u64>| {
        let parts = samples(text, name).map(move |(labels, value)| tokens(labels, value));
        parts.reduce(|sum, part| sum?.checked_add(part?)).flatten()
    };
    let told = match kind {
        EngineKind::Vllm => each("vllm:cache_config_info", |labels, _| {
            let number = |name| label(labels, name)?.parse::<u64>().ok();
            number("num_gpu_blocks")?.checked_mul(number("block_size")?)
        }),
        EngineKind::Sglang => each("sglang:max_total_num_tokens", |_, value| decimal(value, 0)),
        _ => None,
    };
    told.filter(|tokens| *tokens > 0)
}

/// A label's value, where it holds no quote.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut each = labels.split(',').filter_map(|pair| pair.split_once('='));
    let (_, value) = each.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().trim_matches('"'))
}

impl Gauges {
    /// Of the requests that wait, those that others sent: other replicas, and whoever uses the engine besides. `from_here` have
    /// come from this process, running or waiting.
    pub fn others_waiting(&self, from_here: u32) -> u64 {
        let all = self.running.saturating_add(self.waiting);
        self.waiting.min(all.saturating_sub(from_here.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_by_its_own_names() {
        let vllm = "# TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 4.0\n\
            vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 3.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 2.0\n\
            vllm:num_requests_waiting_by_reason{engine=\"0\"} 9.0\n\
            vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.1234\n\
            vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"m\"} 7.5e-02\n\
            vllm:cache_config_info{block_size=\"16\",cache_dtype=\"auto\",num_gpu_blocks=\"573\"} 1.0\n";
        let read_as = |kind, text| read(kind, text);
        let expected = Gauges {
            running: 7,
            waiting: 2,
            kv_cache_permille: Some(123),
            cache_tokens: Some(9168),
        };
        assert_eq!(read_as(EngineKind::Vllm, vllm), Some(expected));
        assert_eq!(read_as(EngineKind::Sglang, vllm), None);
        let sglang = "sglang:num_running_reqs{model_name=\"m\"} 1.0\nsglang:num_queue_reqs{model_name=\"m\"} 0.0\n\
            sglang:token_usage{model_name=\"m\"} 0.5\nsglang:max_total_num_tokens{model_name=\"m\"} 471258.0\n";
        let expected = Gauges {
            running: 1,
            waiting: 0,
            kv_cache_permille: Some(500),
            cache_tokens: Some(471_258),
        };
        assert_eq!(read_as(EngineKind::Sglang, sglang), Some(expected));
        let llama = "llamacpp:requests_processing 4\nllamacpp:requests_deferred 4\n";
        let expected = Gauges {
            running: 4,
            waiting: 4,
            ..Gauges::default()
        };
        assert_eq!(read_as(EngineKind::LlamaCpp, llama), Some(expected));
        let trtllm = "trtllm_num_requests_running 3.0\ntrtllm_num_requests_waiting 1.0\ntrtllm_kv_cache_utilization 1.0\n";
        assert_eq!(
            read_as(EngineKind::Trtllm, trtllm).and_then(|said| said.kv_cache_permille),
            Some(1000)
        );
        assert_eq!(read_as(EngineKind::Ollama, llama), None);
        let unsaid = "vllm:num_requests_running 1\nvllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n";
        assert_eq!(
            read_as(EngineKind::Vllm, unsaid),
            None,
            "nothing is said of who waits"
        );
        assert_eq!(cache_tokens(EngineKind::Vllm, unsaid), None);
    }

    #[test]
    fn what_waits_is_not_ours_where_there_is_more_than_ours() {
        let said = Gauges {
            running: 4,
            waiting: 6,
            ..Gauges::default()
        };
        for (from_here, others) in [(0, 6), (4, 6), (7, 3), (10, 0), (12, 0)] {
            assert_eq!(said.others_waiting(from_here), others, "{from_here}");
        }
    }
}
