//! What a token costs, and what a usage comes to.

use crate::money::{OutOfRange, Picodollars};
use crate::tokens::Usage;
use crate::units::{ServiceTier, Units};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The price of one token in whole picodollars.
///
/// Written as a decimal string in USD per million tokens with at most six decimals, so that one token is always
/// a whole number of picodollars: `"0.10"` is 100,000 picodollars a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenPrice(u64);

/// Why a text is not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAPrice {
    /// Not digits with at most one point between them.
    #[error("a price is a decimal such as \"0.10\": USD per million tokens")]
    NotADecimal,
    /// Finer than a picodollar a token.
    #[error("a price has at most six decimals, so that one token is a whole number of picodollars")]
    TooFine,
    /// Above what the ledger can multiply.
    #[error("a price is at most 1000000 USD per million tokens")]
    TooHigh,
}

impl TokenPrice {
    /// The highest price: a dollar a token.
    pub const MAX: Self = Self(1_000_000_000_000);

    /// This many picodollars a token.
    pub const fn from_picodollars(picodollars: u64) -> Self {
        Self(picodollars)
    }

    /// Picodollars a token.
    pub const fn picodollars(self) -> u64 {
        self.0
    }

    /// Reads USD per million tokens.
    pub fn parse_usd_per_million(text: &str) -> Result<Self, NotAPrice> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let has_point = text.contains('.');
        if whole.is_empty()
            || (has_point && fraction.is_empty())
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return Err(NotAPrice::NotADecimal);
        }
        if fraction.len() > 6 {
            return Err(NotAPrice::TooFine);
        }
        let mut picodollars: u64 = 0;
        let padding = core::iter::repeat_n(b'0', 6 - fraction.len());
        for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
            picodollars = picodollars
                .checked_mul(10)
                .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                .ok_or(NotAPrice::TooHigh)?;
        }
        let price = Self(picodollars);
        if price > Self::MAX {
            Err(NotAPrice::TooHigh)
        } else {
            Ok(price)
        }
    }
}

/// Shown as it is written: USD per million tokens.
impl core::fmt::Display for TokenPrice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // A picodollar a token is a microdollar a million tokens.
        core::fmt::Display::fmt(&Picodollars::new(i128::from(self.0) * 1_000_000), f)
    }
}

/// A model's prices. Where cached input has no price of its own it costs what input costs: never nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Price {
    /// A prompt token that the engine computed.
    pub input: TokenPrice,
    /// A prompt token that the engine still had; `None` is billed as `input`.
    pub cached_input: Option<TokenPrice>,
    /// A token produced. Zero for embedding models, which produce none.
    pub output: TokenPrice,
}

impl Price {
    /// What this usage costs: exact, or an error if it does not fit.
    pub fn charge(
        &self,
        usage: &Usage,
        _units: &Units,
        _tier: ServiceTier,
    ) -> Result<Picodollars, OutOfRange> {
        let of = |price: TokenPrice, count: u64| Picodollars::new(i128::from(price.0)).checked_mul(count);
        let cached = self.cached_input.unwrap_or(self.input);
        of(self.input, usage.uncached_tokens())?
            .checked_add(of(cached, usage.cached_tokens)?)?
            .checked_add(of(self.output, usage.completion_tokens)?)
    }
}

/// Names one price of one model for ever: entries carry it, and a price that changes gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceVersion(pub i64);

/// A price under its name, and when it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionedPrice {
    /// Its name.
    pub version: PriceVersion,
    /// From when it holds, in milliseconds since 1970; `None`: never by itself, it was made to rerate by.
    pub effective_at_ms: Option<u64>,
    /// The price.
    pub price: Price,
}

/// Every price that a model has, had and is to have. It is never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceSchedule {
    first: VersionedPrice,
    /// By the time from which they hold, later versions behind earlier ones of the same time.
    later: Vec<VersionedPrice>,
}

impl PriceSchedule {
    /// The schedule of these versions, in any order; `None` if none of them ever holds by itself.
    pub fn new(versions: impl IntoIterator<Item = VersionedPrice>) -> Option<Self> {
        let mut holding: Vec<_> = versions
            .into_iter()
            .filter(|version| version.effective_at_ms.is_some())
            .collect();
        holding.sort_by_key(|version| (version.effective_at_ms, version.version));
        let mut holding = holding.into_iter();
        Some(Self {
            first: holding.next()?,
            later: holding.collect(),
        })
    }

    /// The one that holds at this time: the last that began. Before the first one began, the first.
    pub fn at(&self, unix_ms: u64) -> &VersionedPrice {
        self.later
            .iter()
            .rev()
            .find(|version| version.effective_at_ms.is_some_and(|from| from <= unix_ms))
            .unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn a_price_is_exact_or_refused() {
        let parse = TokenPrice::parse_usd_per_million;
        assert_eq!(parse("0.10"), Ok(TokenPrice(100_000)));
        assert_eq!(parse("0.000001"), Ok(TokenPrice(1)));
        assert_eq!(parse("2"), Ok(TokenPrice(2_000_000)));
        assert_eq!(parse("0.0000001"), Err(NotAPrice::TooFine));
        for text in ["", ".", "1.", ".5", "-1", "1e3", "0,1", "1.2.3", " 1"] {
            assert_eq!(parse(text), Err(NotAPrice::NotADecimal), "{text}");
        }
        assert_eq!(parse("1000000.000001"), Err(NotAPrice::TooHigh));
        assert_eq!(parse("99999999999999999999999"), Err(NotAPrice::TooHigh));
    }

    #[test]
    fn cached_tokens_are_priced_apart() {
        let price = Price {
            input: TokenPrice(100_000),
            cached_input: Some(TokenPrice(20_000)),
            output: TokenPrice(320_000),
        };
        let cost = price
            .charge(&Usage::new(46, 32, 4), &Units::default(), ServiceTier::Default)
            .unwrap();
        assert_eq!(cost, Picodollars::new(14 * 100_000 + 32 * 20_000 + 4 * 320_000));
        let without = Price {
            cached_input: None,
            ..price
        };
        assert_eq!(
            without
                .charge(&Usage::new(46, 32, 0), &Units::default(), ServiceTier::Default)
                .unwrap(),
            Picodollars::new(46 * 100_000)
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(picodollars in 0..=TokenPrice::MAX.0) {
            let price = TokenPrice(picodollars);
            prop_assert_eq!(TokenPrice::parse_usd_per_million(&price.to_string()), Ok(price));
        }

        #[test]
        fn a_charge_is_the_sum_of_its_tokens(
            input in 0..1_000_000u64, cached in 0..1_000_000u64, output in 0..1_000_000u64,
            prompt in 0..100_000u64, hits in 0..100_000u64, completion in 0..100_000u64,
        ) {
            let price = Price {
                input: TokenPrice(input), cached_input: Some(TokenPrice(cached)), output: TokenPrice(output),
            };
            let hits = hits.min(prompt);
            let expected = (prompt - hits) * input + hits * cached + completion * output;
            let charged = price.charge(&Usage::new(prompt, hits, completion), &Units::default(), ServiceTier::Default).unwrap();
            prop_assert_eq!(charged.get(), i128::from(expected));
        }
    }
}
