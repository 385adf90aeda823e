//! The price of one unit of what is counted, each kind of its own type, so that none is multiplied by another's count.

use crate::decimal::{self, NotADecimal};
use crate::money::Picodollars;
use serde::{Deserialize, Serialize};

/// How the price of a unit is written, and what is counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// `USD per million tokens`
    pub per: &'static str,
    /// `one token`: of which it is a whole number of picodollars.
    pub counted: &'static str,
    /// How many decimals a price may have, in digits and in words.
    pub decimals: (usize, &'static str),
    /// The highest price in USD.
    pub most_usd: u64,
}

impl Written {
    /// So many picodollars a counted unit, as it is written.
    pub fn show(&self, picodollars: u64) -> Picodollars {
        // With `d` decimals, the last place is worth 10^-d USD, which is 10^(12 - d) picodollars.
        let place = (self.decimals.0..12).fold(1_i128, |place, _| place * 10);
        Picodollars::new(i128::from(picodollars) * place)
    }

    fn parse(&'static self, text: &str, most: u64) -> Result<u64, NotAPrice> {
        let price = decimal::parse(text, self.decimals.0).map_err(|fault| match fault {
            NotADecimal::Malformed => NotAPrice::NotADecimal(self),
            NotADecimal::TooFine => NotAPrice::TooFine(self),
            NotADecimal::TooHigh => NotAPrice::TooHigh(self),
        })?;
        if price > most {
            Err(NotAPrice::TooHigh(self))
        } else {
            Ok(price)
        }
    }
}

/// Why a text is not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAPrice {
    /// Not digits with at most one point between them.
    #[error("a price is a decimal such as \"0.10\": {}", .0.per)]
    NotADecimal(&'static Written),
    /// Finer than a picodollar a counted unit.
    #[error("a price has at most {} decimals, so that {} is a whole number of picodollars", .0.decimals.1, .0.counted)]
    TooFine(&'static Written),
    /// Above what the ledger can multiply.
    #[error("a price is at most {} {}", .0.most_usd, .0.per)]
    TooHigh(&'static Written),
}

macro_rules! unit_price {
    ($(#[$doc:meta])* $name:ident, $most:literal, $written:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The highest price.
            pub const MAX: Self = Self($most);
            /// How it is written.
            pub const WRITTEN: &'static Written = &$written;

            /// This many picodollars for one.
            pub const fn from_picodollars(picodollars: u64) -> Self {
                Self(picodollars)
            }

            /// Picodollars for one.
            pub const fn picodollars(self) -> u64 {
                self.0
            }

            /// Reads it as it is written.
            pub fn parse(text: &str) -> Result<Self, NotAPrice> {
                Self::WRITTEN.parse(text, $most).map(Self)
            }
        }

        /// Shown as it is written.
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&Self::WRITTEN.show(self.0), f)
            }
        }
    };
}

unit_price! {
    /// The price of one token in whole picodollars.
    ///
    /// Written as a decimal string in USD per million tokens with at most six decimals, so that one token is always
    /// a whole number of picodollars: `"0.10"` is 100,000 picodollars a token.
    TokenPrice, 1_000_000_000_000,
    Written { per: "USD per million tokens", counted: "one token", decimals: (6, "six"), most_usd: 1_000_000 }
}
unit_price! {
    /// The price of one request in whole picodollars. Written in USD with at most twelve decimals.
    RequestPrice, 1_000_000_000_000_000,
    Written { per: "USD a request", counted: "one request", decimals: (12, "twelve"), most_usd: 1_000 }
}
unit_price! {
    /// The price of a millisecond of an engine's time in whole picodollars. Written in USD per second with at most nine
    /// decimals.
    EngineTimePrice, 1_000_000_000_000,
    Written { per: "USD per second of engine time", counted: "one millisecond", decimals: (9, "nine"), most_usd: 1_000 }
}
unit_price! {
    /// The price of one image in whole picodollars. Written in USD with at most twelve decimals.
    ImagePrice, 1_000_000_000_000_000,
    Written { per: "USD an image", counted: "one image", decimals: (12, "twelve"), most_usd: 1_000 }
}
unit_price! {
    /// The price of one character in whole picodollars. Written in USD per million characters with at most six decimals.
    CharacterPrice, 1_000_000_000_000,
    Written { per: "USD per million characters", counted: "one character", decimals: (6, "six"), most_usd: 1_000_000 }
}
unit_price! {
    /// The price of a millisecond of sound in whole picodollars. Written in USD per second with at most nine decimals.
    AudioTimePrice, 1_000_000_000_000,
    Written { per: "USD per second of audio", counted: "one millisecond", decimals: (9, "nine"), most_usd: 1_000 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn a_price_is_exact_or_refused() {
        let parse = |text| TokenPrice::parse(text).map(TokenPrice::picodollars);
        assert_eq!(parse("0.10"), Ok(100_000));
        assert_eq!(parse("0.000001"), Ok(1));
        assert_eq!(parse("2"), Ok(2_000_000));
        let written = TokenPrice::WRITTEN;
        assert_eq!(parse("0.0000001"), Err(NotAPrice::TooFine(written)));
        for text in ["", ".", "1.", ".5", "-1", "1e3", "0,1", "1.2.3", " 1"] {
            assert_eq!(parse(text), Err(NotAPrice::NotADecimal(written)), "{text}");
        }
        assert_eq!(parse("1000000.000001"), Err(NotAPrice::TooHigh(written)));
        assert_eq!(parse("99999999999999999999999"), Err(NotAPrice::TooHigh(written)));
    }

    #[test]
    fn each_unit_is_counted_in_whole_picodollars() {
        assert_eq!(RequestPrice::parse("0.001").unwrap().picodollars(), 1_000_000_000);
        assert_eq!(EngineTimePrice::parse("0.0005").unwrap().picodollars(), 500_000);
        assert_eq!(ImagePrice::parse("0.000000000001").unwrap().picodollars(), 1);
        assert_eq!(CharacterPrice::parse("0.65").unwrap().picodollars(), 650_000);
        assert_eq!(AudioTimePrice::parse("0.0000075").unwrap().picodollars(), 7_500);
        let told = [
            EngineTimePrice::parse("0.0000000001").unwrap_err().to_string(),
            RequestPrice::parse("1000.1").unwrap_err().to_string(),
            ImagePrice::parse("free").unwrap_err().to_string(),
        ];
        assert_eq!(
            told,
            [
                "a price has at most nine decimals, so that one millisecond is a whole number of picodollars",
                "a price is at most 1000 USD a request",
                "a price is a decimal such as \"0.10\": USD an image",
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(picodollars in 0..=TokenPrice::MAX.picodollars()) {
            let token = TokenPrice::from_picodollars(picodollars);
            prop_assert_eq!(TokenPrice::parse(&token.to_string()), Ok(token));
            let request = RequestPrice::from_picodollars(picodollars);
            prop_assert_eq!(RequestPrice::parse(&request.to_string()), Ok(request));
            let engine = EngineTimePrice::from_picodollars(picodollars);
            prop_assert_eq!(EngineTimePrice::parse(&engine.to_string()), Ok(engine));
        }
    }
}
