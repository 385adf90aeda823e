//! What an engine itself has counted: its Prometheus text, read without a float.
//!
//! Which counters those are, and what they count, by engine (llama.cpp: tried with build 11434):
//! vLLM's and SGLang's prompt counter has cached tokens in it, llama.cpp's has not; each generation counter has every
//! choice in it. TensorRT-LLM's are named as its source of 2026 does and were not tried. TEI, Ollama and unknown servers
//! have no counters of tokens that are known here.

use farebox_domain::catalog::EngineKind;

/// The names of an engine's counters.
#[derive(Debug, Clone, Copy)]
struct Names {
    prompt: &'static str,
    generation: &'static str,
    cached: &'static str,
}

/// What an engine has counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Prompt tokens; without cached ones where [`prompt_counter_excludes_cached`].
    pub prompt_tokens: u64,
    /// Tokens that were made.
    pub generation_tokens: u64,
    /// Prompt tokens that were in its cache, if it counts them.
    pub cached_tokens: Option<u64>,
    /// When its process started, in seconds since 1970, if it says.
    pub started_at_s: Option<u64>,
}

const fn names(kind: EngineKind) -> Option<Names> {
    match kind {
        EngineKind::Vllm => Some(Names {
            prompt: "vllm:prompt_tokens_total",
            generation: "vllm:generation_tokens_total",
            cached: "vllm:prefix_cache_hits_total",
        }),
        EngineKind::Sglang => Some(Names {
            prompt: "sglang:prompt_tokens_total",
            generation: "sglang:generation_tokens_total",
            cached: "sglang:cached_tokens_total",
        }),
        EngineKind::LlamaCpp => Some(Names {
            prompt: "llamacpp:prompt_tokens_total",
            generation: "llamacpp:tokens_predicted_total",
            cached: "llamacpp:prompt_tokens_cached_total",
        }),
        EngineKind::Trtllm => Some(Names {
            prompt: "trtllm_prompt_tokens_total",
            generation: "trtllm_generation_tokens_total",
            cached: "trtllm_prompt_cached_tokens_total",
        }),
        EngineKind::Ollama | EngineKind::Tei | EngineKind::Openai => None,
    }
}

/// Whether an engine of this kind counts tokens in a way that is known.
pub const fn has_counters(kind: EngineKind) -> bool {
    names(kind).is_some()
}

/// Where its counters are, under the engine's URL.
pub const fn metrics_path(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Trtllm => "/prometheus/metrics",
        _ => "/metrics",
    }
}

/// Whether its prompt counter leaves cached tokens out.
pub const fn prompt_counter_excludes_cached(kind: EngineKind) -> bool {
    matches!(kind, EngineKind::LlamaCpp)
}

/// Reads an engine's Prometheus text; `None` where its counters are not there, or are no whole numbers.
pub fn read(kind: EngineKind, text: &str) -> Option<Counters> {
    let names = names(kind)?;
    Some(Counters {
        prompt_tokens: sum(text, names.prompt)?,
        generation_tokens: sum(text, names.generation)?,
        cached_tokens: sum(text, names.cached),
        started_at_s: sum(text, "process_start_time_seconds"),
    })
}

/// A counter's value over all of its labels; `None` if it is not there.
fn sum(text: &str, name: &str) -> Option<u64> {
    let each = samples(text, name).map(|(_, value)| decimal(value, 0));
    each.reduce(|sum, value| sum?.checked_add(value?)).flatten()
}

/// Each sample of a metric: its labels as they are written, without the braces, and its value.
pub(super) fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.as_bytes().first()? {
            // No label's value is expected to have `}` in it; with one, what is left is no number.
            b'{' => rest.get(1..)?.rsplit_once('}')?,
            b' ' => ("", rest),
            _ => return None,
        };
        Some((labels, value.split_whitespace().next()?))
    })
}

/// A decimal such as `12`, `12.0`, `1.234e+06` or `7.5e-02` with its point moved so many `places` to the right, cut to its whole
/// part. Prometheus's clients write large and small numbers so.
pub(super) fn decimal(text: &str, places: i64) -> Option<u64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.trim_start_matches('+').parse().ok()?;
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if before.is_empty() || !is_digits(before) || !is_digits(after) || exponent.abs() > 18 {
        return None;
    }
    let whole = i64::try_from(before.len()).ok()? + exponent + places;
    let Ok(whole) = usize::try_from(whole) else {
        return Some(0);
    };
    let digits = before.chars().chain(after.chars());
    let kept: String = digits.chain(std::iter::repeat('0')).take(whole).collect();
    if kept.is_empty() {
        Some(0)
    } else {
        kept.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_without_a_float() {
        for (text, read) in [
            ("0", Some(0)),
            ("12.0", Some(12)),
            ("8.128902e+06", Some(8_128_902)),
            ("1e+06", Some(1_000_000)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("1.7640000001234e+09", Some(1_764_000_000)),
            ("NaN", None),
            ("-1", None),
            ("1e-3", Some(0)),
            ("1e+99", None),
            ("19.7e-1", Some(1)),
        ] {
            assert_eq!(decimal(text, 0), read, "{text}");
        }
    }

    #[test]
    fn a_counter_is_summed_over_its_labels_and_not_mixed_with_others() {
        let text = "# TYPE vllm:prompt_tokens_total counter\n\
            vllm:prompt_tokens_total{engine=\"0\",model_name=\"a\"} 10.0\n\
            vllm:prompt_tokens_total{engine=\"1\",model_name=\"a\"} 5.0\n\
            vllm:prompt_tokens_total_created{engine=\"0\"} 1.7e+09\n\
            vllm:generation_tokens_total{engine=\"0\"} 7\n\
            process_start_time_seconds 1.76400000012e+09\n";
        let read = read(EngineKind::Vllm, text);
        let counters = Counters {
            prompt_tokens: 15,
            generation_tokens: 7,
            cached_tokens: None,
            started_at_s: Some(1_764_000_000),
        };
        assert_eq!(read, Some(counters));
        assert_eq!(super::read(EngineKind::LlamaCpp, text), None);
        assert_eq!(super::read(EngineKind::Ollama, text), None);
    }
}
