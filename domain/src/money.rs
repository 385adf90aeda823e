//! Money is an integer: picodollars (1e-12 USD), checked, 128 bits in memory.

use alloc::string::{String, ToString};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Picodollars in one dollar.
pub const PICODOLLARS_PER_USD: i128 = 1_000_000_000_000;

/// An amount of money in picodollars. Never a float, never rounded.
///
/// Shown in USD with as many decimals as it needs (`Display`); in JSON a string of whole picodollars, as
/// JavaScript's numbers would round it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Picodollars(i128);

/// An amount outside of 128 bits, or outside of the 64 bits that a ledger entry has for its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount is outside the range that can be represented")]
pub struct OutOfRange;

impl Picodollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// This many picodollars.
    pub const fn new(picodollars: i128) -> Self {
        Self(picodollars)
    }

    /// The number of picodollars.
    pub const fn get(self) -> i128 {
        self.0
    }

    /// The sum, or an error rather than a wrapped number.
    pub fn checked_add(self, other: Self) -> Result<Self, OutOfRange> {
        self.0.checked_add(other.0).map(Self).ok_or(OutOfRange)
    }

    /// The difference, or an error rather than a wrapped number.
    pub fn checked_sub(self, other: Self) -> Result<Self, OutOfRange> {
        self.0.checked_sub(other.0).map(Self).ok_or(OutOfRange)
    }

    /// The sum, held at the ends of 128 bits: for what is compared and not booked.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, held at the ends of 128 bits: for what is compared and not booked.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This amount, `count` times.
    pub fn checked_mul(self, count: u64) -> Result<Self, OutOfRange> {
        self.0.checked_mul(i128::from(count)).map(Self).ok_or(OutOfRange)
    }

    /// For a ledger entry's 64-bit column (at most 9.2 million USD).
    pub fn to_i64(self) -> Result<i64, OutOfRange> {
        i64::try_from(self.0).map_err(|_| OutOfRange)
    }

    /// Reads USD: a decimal with at most twelve places, such as `20` or `-0.5`.
    pub fn parse_usd(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (digits, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 12 || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let whole: i128 = whole.parse().ok()?;
        let fraction: i128 = alloc::format!("{fraction:0<12}").parse().ok()?;
        let magnitude = whole.checked_mul(PICODOLLARS_PER_USD)?.checked_add(fraction)?;
        Some(Self(if negative { -magnitude } else { magnitude }))
    }

    /// Reads whole picodollars from decimal digits.
    pub fn parse(digits: &str) -> Option<Self> {
        digits.parse().ok().map(Self)
    }
}

impl fmt::Display for Picodollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let unit = PICODOLLARS_PER_USD.unsigned_abs();
        let (whole, fraction) = (magnitude / unit, magnitude % unit);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if fraction != 0 {
            let mut digits = [b'0'; 12];
            let mut rest = fraction;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
            let text = core::str::from_utf8(&digits)
                .unwrap_or_default()
                .trim_end_matches('0');
            write!(f, ".{text}")?;
        }
        Ok(())
    }
}

impl Serialize for Picodollars {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

impl<'de> Deserialize<'de> for Picodollars {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        Self::parse(&digits).ok_or_else(|| serde::de::Error::custom("whole picodollars as a string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_in_dollars_to_the_last_picodollar() {
        assert_eq!(Picodollars::ZERO.to_string(), "0");
        assert_eq!(Picodollars::new(1).to_string(), "0.000000000001");
        assert_eq!(Picodollars::new(-1_500_000_000_000).to_string(), "-1.5");
        assert_eq!(Picodollars::new(20_000_000_000_000).to_string(), "20");
    }

    #[test]
    fn dollars_read_back() {
        for text in ["0", "20", "0.5", "-1.5", "0.000000000001", "9223372.036854775807"] {
            assert_eq!(Picodollars::parse_usd(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "-",
            ".5",
            "1.",
            "1e3",
            "+1",
            " 1",
            "1,5",
            "0.0000000000001",
            "1.-1",
        ] {
            assert_eq!(Picodollars::parse_usd(text), None, "{text}");
        }
    }

    #[test]
    fn overflow_is_an_error_and_never_a_wrapped_number() {
        assert_eq!(
            Picodollars::new(i128::MAX).checked_add(Picodollars::new(1)),
            Err(OutOfRange)
        );
        assert_eq!(Picodollars::new(i128::MAX).checked_mul(2), Err(OutOfRange));
        assert_eq!(
            Picodollars::new(i128::from(i64::MAX) + 1).to_i64(),
            Err(OutOfRange)
        );
    }
}
