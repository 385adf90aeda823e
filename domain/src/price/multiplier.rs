//! What a service tier multiplies prices by.

use crate::decimal::{self, NotADecimal};
use crate::money::OutOfRange;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use serde::{Deserialize, Serialize};

/// A factor of a price in whole thousandths, above 0 and at most 100. In JSON and in models.yaml a decimal string with at
/// most three decimals: `"1.5"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Multiplier(u32);

/// The text is not a multiplier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a multiplier is a decimal above 0 and at most 100 with at most three decimals, such as \"1.5\"")]
pub struct NotAMultiplier;

impl Multiplier {
    /// What everything costs that has no multiplier.
    pub const ONE: Self = Self(1_000);
    /// The highest.
    pub const MAX: Self = Self(100_000);

    /// This many thousandths.
    pub const fn from_thousandths(thousandths: u32) -> Result<Self, NotAMultiplier> {
        if thousandths == 0 || thousandths > Self::MAX.0 {
            Err(NotAMultiplier)
        } else {
            Ok(Self(thousandths))
        }
    }

    /// How many thousandths it is.
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// Reads a decimal.
    pub fn parse(text: &str) -> Result<Self, NotAMultiplier> {
        let thousandths = decimal::parse(text, 3).map_err(|_: NotADecimal| NotAMultiplier)?;
        let thousandths = u32::try_from(thousandths).map_err(|_| NotAMultiplier)?;
        Self::from_thousandths(thousandths)
    }

    /// So many picodollars, multiplied; an error where that is not whole. [`Price::faults`](super::Price::faults) finds
    /// those before they are charged.
    pub(super) fn times(self, picodollars: u64) -> Result<i128, OutOfRange> {
        if self == Self::ONE {
            return Ok(picodollars.into());
        }
        let thousandths = u128::from(picodollars) * u128::from(self.0);
        if !thousandths.is_multiple_of(1_000) {
            return Err(OutOfRange);
        }
        i128::try_from(thousandths / 1_000).map_err(|_| OutOfRange)
    }

    /// Prices that are a multiple of this many picodollars stay whole.
    pub(super) fn step(self) -> u64 {
        1_000 / greatest_common_divisor(self.0.into(), 1_000)
    }
}

pub(super) const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000, self.0 % 1_000);
        write!(f, "{whole}")?;
        if fraction == 0 {
            return Ok(());
        }
        let digits = format!("{fraction:03}");
        write!(f, ".{}", digits.trim_end_matches('0'))
    }
}

impl Serialize for Multiplier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Multiplier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_multiplier_has_bounds() {
        assert_eq!(Multiplier::parse("1.5"), Ok(Multiplier(1_500)));
        assert_eq!(Multiplier::parse("100"), Ok(Multiplier::MAX));
        for text in ["0", "0.000", "100.001", "1.2345", "-1", "1,5", "99999999999", ""] {
            assert_eq!(Multiplier::parse(text), Err(NotAMultiplier), "{text}");
        }
    }

    #[test]
    fn a_product_is_whole_or_an_error() {
        let half_more = Multiplier(1_500);
        assert_eq!(half_more.times(2), Ok(3));
        assert_eq!(half_more.times(3), Err(OutOfRange));
        assert_eq!(half_more.step(), 2);
        assert_eq!(Multiplier(800).step(), 5);
        assert_eq!(Multiplier(1).step(), 1_000);
        assert_eq!(Multiplier::ONE.step(), 1);
        assert_eq!(Multiplier::MAX.step(), 1);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(thousandths in 1..=100_000u32) {
            let multiplier = Multiplier(thousandths);
            prop_assert_eq!(Multiplier::parse(&multiplier.to_string()), Ok(multiplier));
            prop_assert_eq!(multiplier.times(7 * multiplier.step()).is_ok(), true);
        }
    }
}
