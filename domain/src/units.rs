//! What is sold besides tokens, and the tier in which a request is served.

use serde::{Deserialize, Serialize};

/// What a request used that is not a token. All zero for most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Units {
    /// From the call to the engine until its last byte, in milliseconds.
    pub engine_ms: u64,
    /// Images, in or out.
    pub images: u64,
    /// Characters of text (Unicode scalar values), where a model is sold by them.
    pub characters: u64,
    /// Sound, in or out, in milliseconds.
    pub audio_ms: u64,
}

impl Units {
    /// The most of a unit that one request is believed to have used: 34 years of engine time.
    pub const MAX_COUNT: u64 = 1 << 40;

    /// Whether no count is beyond [`Units::MAX_COUNT`].
    pub fn is_credible(&self) -> bool {
        [self.engine_ms, self.images, self.characters, self.audio_ms]
            .iter()
            .all(|&count| count <= Self::MAX_COUNT)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How urgently a request is served, and so at which multiple of the price. OpenAI's `service_tier`, DeepInfra's
/// values (FACTS.md).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// In turn.
    #[default]
    Default,
    /// Before others.
    Priority,
    /// When there is room.
    Flex,
}

impl ServiceTier {
    /// Every tier.
    pub const ALL: [Self; 3] = [Self::Default, Self::Priority, Self::Flex];

    /// Its name in requests, in the ledger and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Priority => "priority",
            Self::Flex => "flex",
        }
    }

    /// The tier with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}
