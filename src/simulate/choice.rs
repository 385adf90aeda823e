//! One choice of an answer while it is produced.

use super::text::Source;

/// Why a choice ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Stop,
    Length,
    ToolCalls,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::Stop => "stop",
            Reason::Length => "length",
            Reason::ToolCalls => "tool_calls",
        }
    }
}

/// A choice, its tokens so far and its end.
#[derive(Debug)]
pub(super) struct Choice {
    /// Of its own prompt.
    pub(super) prompt_tokens: u64,
    pub(super) source: Source,
    /// The tool that it calls; its name is the first token.
    pub(super) tool: Option<String>,
    pub(super) produced: u64,
    /// Tokens when it is complete.
    pub(super) limit: u64,
    pub(super) reason: Reason,
}

impl Choice {
    pub(super) fn is_complete(&self) -> bool {
        self.produced >= self.limit
    }
}
