//! What is sold costs: the price of each unit, and what a usage comes to.
//!
//! - [`mod@unit`] is the price of one token, request, image and so on, [`multiplier`] what a service tier makes of it;
//! - [`Price`] is what a model costs; [`charge`] multiplies it by what was used, [`check`] finds what does not hold in it;
//! - [`schedule`] names prices, and says when each holds.

pub mod unit;
pub mod multiplier;
pub mod charge;
pub mod check;
pub mod premium;
pub mod schedule;

pub use self::check::PriceFault;
pub use self::multiplier::{Multiplier, NotAMultiplier};
pub use self::schedule::{PriceSchedule, PriceVersion, VersionedPrice};
pub use self::unit::{
    AudioTimePrice, CharacterPrice, EngineTimePrice, ImagePrice, NotAPrice, RequestPrice, TokenPrice,
};

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A model's prices. Where cached input has no price of its own it costs what input costs: never nothing.
///
/// In the ledger's database it is a JSON object of whole picodollars, one for each unit that is counted: a token, a request, a
/// millisecond, an image, a character. What a price does not have is left out, so that one that was written before a unit
/// was invented reads back as it was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Price {
    /// A prompt token that the engine computed.
    pub input: TokenPrice,
    /// A prompt token that the engine still had; `None` is billed as `input`.
    pub cached_input: Option<TokenPrice>,
    /// A token produced. Zero for embedding models, which produce none.
    pub output: TokenPrice,
    /// Prices of tokens for requests with a long prompt, by the length from which they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_tiers: Vec<ContextTier>,
    /// A request that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request: Option<RequestPrice>,
    /// The engine's time from the call until the end; counted in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_engine_second: Option<EngineTimePrice>,
    /// An image in the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_image: Option<ImagePrice>,
    /// A character of the prompt; written for a million of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_million_characters: Option<CharacterPrice>,
    /// Sound that the engine says it has heard or made; counted in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_audio_second: Option<AudioTimePrice>,
    /// By what everything is multiplied in the priority tier; `None`: that tier is not sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Multiplier>,
    /// By what everything is multiplied in the flex tier; `None`: that tier is not sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flex: Option<Multiplier>,
}

/// What tokens cost in a request whose prompt is longer than `above_prompt_tokens`: all of its tokens, those of its prompt
/// and those of its answer, as at the large providers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContextTier {
    /// A prompt of more tokens than these, cached ones among them, is priced by this tier or a higher one.
    pub above_prompt_tokens: u64,
    /// A prompt token that the engine computed.
    pub input: TokenPrice,
    /// A prompt token that the engine still had; `None` is billed as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<TokenPrice>,
    /// A token produced.
    pub output: TokenPrice,
}

impl Price {
    /// A price of tokens and of nothing else.
    pub const fn of_tokens(input: TokenPrice, cached_input: Option<TokenPrice>, output: TokenPrice) -> Self {
        Self {
            input,
            cached_input,
            output,
            context_tiers: Vec::new(),
            per_request: None,
            per_engine_second: None,
            per_image: None,
            per_million_characters: None,
            per_audio_second: None,
            priority: None,
            flex: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first and the second form of the ledger wrote.
    #[test]
    fn a_price_of_tokens_is_written_as_it_always_was() {
        let old = r#"{"input":100000,"cached_input":20000,"output":320000}"#;
        let price: Price = serde_json::from_str(old).unwrap();
        let token = TokenPrice::from_picodollars;
        assert_eq!(
            price,
            Price::of_tokens(token(100_000), Some(token(20_000)), token(320_000))
        );
        assert_eq!(serde_json::to_string(&price).unwrap(), old);
        let null = r#"{"input":1,"cached_input":null,"output":0}"#;
        let price: Price = serde_json::from_str(null).unwrap();
        assert_eq!(serde_json::to_string(&price).unwrap(), null);
    }

    #[test]
    fn every_unit_reads_back() {
        let token = TokenPrice::from_picodollars;
        let price = Price {
            context_tiers: alloc::vec![ContextTier {
                above_prompt_tokens: 128_000,
                input: token(2),
                cached_input: None,
                output: token(4),
            }],
            per_request: Some(RequestPrice::from_picodollars(5)),
            per_engine_second: Some(EngineTimePrice::from_picodollars(6)),
            per_image: Some(ImagePrice::from_picodollars(7)),
            per_million_characters: Some(CharacterPrice::from_picodollars(8)),
            per_audio_second: Some(AudioTimePrice::from_picodollars(9)),
            priority: Multiplier::parse("1.5").ok(),
            flex: Multiplier::parse("0.8").ok(),
            ..Price::of_tokens(token(1), None, token(3))
        };
        let text = serde_json::to_string(&price).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"input":1,"cached_input":null,"output":3,"#,
                r#""context_tiers":[{"above_prompt_tokens":128000,"input":2,"output":4}],"#,
                r#""per_request":5,"per_engine_second":6,"per_image":7,"per_million_characters":8,"per_audio_second":9,"#,
                r#""priority":"1.5","flex":"0.8"}"#
            )
        );
        assert_eq!(serde_json::from_str::<Price>(&text).unwrap(), price);
    }
}
