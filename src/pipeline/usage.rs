//! An engine's `usage`, and what a request used where the engine does not say.
//!
//! OpenAI API: `CompletionUsage`. Engines leave out what is zero and send null for what they do not know
//! (FACTS.md, "Engines").

use crate::pipeline::in_flight::{Live, Progress};
use farebox_domain::tokens::{Usage, UsageSource};
use serde::Deserialize;

#[derive(Deserialize)]
struct EngineUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

/// Reads a usage object; `None` if it is not one.
pub fn read_usage(text: &[u8]) -> Option<Usage> {
    let read: EngineUsage = serde_json::from_slice(text).ok()?;
    let cached = read
        .prompt_tokens_details
        .and_then(|details| details.cached_tokens);
    let reasoning = read
        .completion_tokens_details
        .and_then(|details| details.reasoning_tokens);
    let usage = Usage::new(
        read.prompt_tokens?,
        cached.unwrap_or(0),
        read.completion_tokens.unwrap_or(0),
    );
    Some(usage.with_reasoning(reasoning.unwrap_or(0)))
}

/// The cached tokens that a usage object names; `None` where it does not name them.
pub fn reported_cached_tokens(text: &[u8]) -> Option<u64> {
    let read: EngineUsage = serde_json::from_slice(text).ok()?;
    read.prompt_tokens_details?.cached_tokens
}

/// What a request used, by the best that is known of it. Of a stream that was ended at its ceiling, no more than the
/// ceiling: what went beyond it was not shown.
pub fn usage_of(progress: &Progress, live: &Live, completed: bool) -> (Usage, UsageSource) {
    let (mut usage, source) = unclamped(progress, live.choices, live.prompt_tokens, completed);
    if let Some(ceiling) = progress.ended_at_ceiling {
        usage.completion_tokens = usage.completion_tokens.min(ceiling);
        usage.reasoning_tokens = usage.reasoning_tokens.min(ceiling);
    }
    (usage, source)
}

fn unclamped(
    progress: &Progress,
    choices: usize,
    prompt_tokens: Option<u64>,
    completed: bool,
) -> (Usage, UsageSource) {
    let Some(usage) = progress.usage.as_deref().and_then(read_usage) else {
        return match progress.deltas {
            0 => (Usage::default(), UsageSource::None),
            deltas => match prompt_tokens {
                Some(prompt) => (Usage::new(prompt, 0, deltas), UsageSource::Tokenizer),
                None => (Usage::new(0, 0, deltas), UsageSource::Deltas),
            },
        };
    };
    let undercounts = choices > 1
        && progress
            .engine
            .as_ref()
            .is_some_and(|(_, kind)| kind.undercounts_choices());
    match (undercounts, progress.whole) {
        (true, true) => (usage, UsageSource::EnginePartial),
        (true, false) => {
            let completion = usage.completion_tokens.max(progress.deltas);
            let corrected = Usage {
                completion_tokens: completion,
                ..usage
            };
            (corrected, UsageSource::EngineCorrected)
        }
        (false, _) if completed || progress.usage_is_final => (usage, UsageSource::Engine),
        (false, _) => {
            let completion = usage.completion_tokens.max(progress.deltas);
            (
                Usage {
                    completion_tokens: completion,
                    ..usage
                },
                UsageSource::EngineContinuous,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_may_be_there_null_or_left_out() {
        let read = |text: &str| read_usage(text.as_bytes());
        assert_eq!(
            read(r#"{"prompt_tokens":46,"completion_tokens":4}"#),
            Some(Usage::new(46, 0, 4))
        );
        let cached =
            r#"{"prompt_tokens":46,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":32}}"#;
        assert_eq!(read(cached), Some(Usage::new(46, 32, 4)));
        assert_eq!(
            read(r#"{"prompt_tokens":46,"prompt_tokens_details":null}"#),
            Some(Usage::new(46, 0, 0))
        );
        assert_eq!(read("null"), None);
        assert_eq!(read(r#"{"prompt_tokens":-1}"#), None);
    }

    #[test]
    fn an_engine_that_counts_one_choice_of_several_is_corrected_and_flagged() {
        use farebox_domain::catalog::EngineKind;
        let progress = Progress {
            engine: Some(("e".into(), EngineKind::LlamaCpp)),
            usage: Some(r#"{"prompt_tokens":9,"completion_tokens":5}"#.into()),
            deltas: 11,
            ..Progress::default()
        };
        assert_eq!(
            unclamped(&progress, 2, None, true),
            (Usage::new(9, 0, 11), UsageSource::EngineCorrected)
        );
        assert_eq!(
            unclamped(&progress, 1, None, true),
            (Usage::new(9, 0, 5), UsageSource::Engine)
        );
        let whole = Progress {
            whole: true,
            deltas: 0,
            ..progress
        };
        assert_eq!(
            unclamped(&whole, 2, None, true),
            (Usage::new(9, 0, 5), UsageSource::EnginePartial)
        );
    }
}
