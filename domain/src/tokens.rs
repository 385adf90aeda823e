//! Token counts, and where they came from.

use serde::{Deserialize, Serialize};

/// What a request used, in tokens. `cached_prompt` is the part of `prompt` that the engine did not have to
/// compute, and never more than it; `reasoning` is the part of `completion` that was thought and not said.
///
/// OpenAI API: `CompletionUsage`; `prompt_tokens_details.cached_tokens`,
/// `completion_tokens_details.reasoning_tokens`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All tokens of the prompt, cached ones among them.
    pub prompt_tokens: u64,
    /// The cached ones.
    pub cached_tokens: u64,
    /// All tokens produced.
    pub completion_tokens: u64,
    /// The reasoning ones among them.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// The most tokens of a kind that one request is believed to have used: no model comes near it, and sums of it stay
    /// within 64 bits for eight million requests.
    pub const MAX_TOKENS: u64 = 1 << 40;

    /// Whether no count is beyond [`Usage::MAX_TOKENS`].
    pub fn is_credible(&self) -> bool {
        self.prompt_tokens <= Self::MAX_TOKENS && self.completion_tokens <= Self::MAX_TOKENS
    }

    /// A usage whose parts never exceed their whole: an engine that reports more cached than prompt tokens, or
    /// more reasoning than completion tokens, is taken at the whole.
    pub fn new(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            cached_tokens: cached_tokens.min(prompt_tokens),
            completion_tokens,
            reasoning_tokens: 0,
        }
    }

    /// The same with a count of reasoning tokens.
    pub fn with_reasoning(mut self, reasoning_tokens: u64) -> Self {
        self.reasoning_tokens = reasoning_tokens.min(self.completion_tokens);
        self
    }

    /// Prompt tokens that the engine computed.
    pub fn uncached_tokens(&self) -> u64 {
        self.prompt_tokens - self.cached_tokens.min(self.prompt_tokens)
    }

    /// Prompt and completion together.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// Where a usage came from, in falling order of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The engine's own final usage.
    Engine,
    /// The engine's own final usage, known to undercount: it reports one choice of several, and the rest was
    /// counted here (llama.cpp with `n` above one, FACTS.md).
    EngineCorrected,
    /// The engine's own final usage, known to undercount, with nothing to correct it by: a whole answer with
    /// several choices from such an engine.
    EnginePartial,
    /// The running usage of the last event that came before the stream ended early.
    EngineContinuous,
    /// The engine gave none: the prompt was counted by the model's own tokenizer, and one token for each delta that was
    /// passed on.
    Tokenizer,
    /// The engine gave none: one token for each delta that was passed on; the prompt is unknown.
    Deltas,
    /// Nothing is known: nothing was delivered.
    None,
}

impl UsageSource {
    /// Every source, for metrics and for `verify`'s counts.
    pub const ALL: [Self; 7] = [
        Self::Engine,
        Self::EngineCorrected,
        Self::EnginePartial,
        Self::EngineContinuous,
        Self::Tokenizer,
        Self::Deltas,
        Self::None,
    ];

    /// Its name in the ledger, in metrics and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::EngineCorrected => "engine_corrected",
            Self::EnginePartial => "engine_partial",
            Self::EngineContinuous => "engine_continuous",
            Self::Tokenizer => "tokenizer",
            Self::Deltas => "deltas",
            Self::None => "none",
        }
    }

    /// The source with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that is not listed cannot be read back from the ledger. The match fails to build when one is added.
    #[test]
    fn every_source_reads_back() {
        for source in UsageSource::ALL {
            match source {
                UsageSource::Engine
                | UsageSource::EngineCorrected
                | UsageSource::EnginePartial
                | UsageSource::EngineContinuous
                | UsageSource::Tokenizer
                | UsageSource::Deltas
                | UsageSource::None => assert_eq!(UsageSource::parse(source.as_str()), Some(source)),
            }
        }
        assert_eq!(
            UsageSource::parse("engine_partial"),
            Some(UsageSource::EnginePartial)
        );
    }
}
