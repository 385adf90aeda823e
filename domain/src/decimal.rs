//! Decimal texts as whole numbers of a smaller unit: never by way of a float, never rounded.

/// Why a text is not such a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotADecimal {
    /// Not digits with at most one point between them.
    #[error("it is not a decimal such as \"0.10\"")]
    Malformed,
    /// More decimals than the unit has.
    #[error("it has too many decimals")]
    TooFine,
    /// Beyond 64 bits.
    #[error("it is too large")]
    TooHigh,
}

/// Reads digits with at most `decimals` of them behind a point: `"0.10"` with six is 100,000. No sign, no exponent, no
/// spaces.
pub fn parse(text: &str, decimals: usize) -> Result<u64, NotADecimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let has_point = text.contains('.');
    if whole.is_empty() || (has_point && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(NotADecimal::Malformed);
    }
    if fraction.len() > decimals {
        return Err(NotADecimal::TooFine);
    }
    let mut number: u64 = 0;
    let padding = core::iter::repeat_n(b'0', decimals - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        number = number
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(NotADecimal::TooHigh)?;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_whole_number_or_refused() {
        assert_eq!(parse("1.5", 3), Ok(1500));
        assert_eq!(parse("2", 0), Ok(2));
        assert_eq!(parse("0.0001", 3), Err(NotADecimal::TooFine));
        assert_eq!(parse("99999999999999999999", 0), Err(NotADecimal::TooHigh));
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0,1", "1.2.3", " 1"] {
            assert_eq!(parse(text, 3), Err(NotADecimal::Malformed), "{text}");
        }
    }
}
