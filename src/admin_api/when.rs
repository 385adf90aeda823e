//! Points in time as people write them: `7d`, `2026-11-01`, `2026-11-01T12:00:00Z`. Days are days of UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};

/// A point in time that may lean on the present, which is given later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This many seconds from the present.
    Away(u64),
    /// This many milliseconds since 1970.
    At(u64),
}

/// The text is none of the ways to write a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or a span such as 7d, 12h or 30m"
)]
pub struct NotATime;

impl When {
    /// Reads a span (`s`, `m`, `h`, `d` or `w` after a number), a date (its first moment in UTC) or an RFC 3339
    /// time. Times before 1970 are none.
    pub fn parse(text: &str) -> Result<Self, NotATime> {
        if let Some(seconds) = parse_span(text) {
            return Ok(Self::Away(seconds));
        }
        let at = match text.parse::<Date>() {
            // A date is also what a time begins with: it is one only if there is nothing more to it.
            Ok(date) if text.len() == DATE_LEN => date.to_zoned(TimeZone::UTC).map(|day| day.timestamp()),
            _ => text.parse::<Timestamp>(),
        };
        let at_ms = at.map_err(|_| NotATime)?.as_millisecond();
        u64::try_from(at_ms).map(Self::At).map_err(|_| NotATime)
    }

    /// The milliseconds since 1970 of this point; a span counts back from `now_ms`.
    pub fn ago(self, now_ms: u64) -> u64 {
        match self {
            Self::Away(seconds) => now_ms.saturating_sub(seconds.saturating_mul(1000)),
            Self::At(at_ms) => at_ms,
        }
    }

    /// The milliseconds since 1970 of this point; a span counts on from `now_ms`.
    pub fn ahead(self, now_ms: u64) -> u64 {
        match self {
            Self::Away(seconds) => now_ms.saturating_add(seconds.saturating_mul(1000)),
            Self::At(at_ms) => at_ms,
        }
    }
}

const DATE_LEN: usize = "2026-11-01".len();

fn parse_span(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(seconds)
}

/// The last moment that can be written, in milliseconds since 1970.
pub fn latest_ms() -> u64 {
    u64::try_from(Timestamp::MAX.as_millisecond()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 as RFC 3339 in UTC, to the second. A moment after the year 9999 is shown as its end.
pub fn show(at_ms: u64) -> String {
    let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX);
    let rounding = jiff::TimestampRound::new()
        .smallest(Unit::Second)
        .mode(jiff::RoundMode::Trunc);
    at.round(rounding).unwrap_or(at).to_string()
}

/// The day of a point in time, in UTC: `2026-11-01`.
pub fn show_day(at_ms: u64) -> String {
    let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX);
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_a_time_is_read() {
        assert_eq!(When::parse("7d"), Ok(When::Away(604_800)));
        assert_eq!(When::parse("30m"), Ok(When::Away(1800)));
        assert_eq!(When::parse("1970-01-02"), Ok(When::At(86_400_000)));
        assert_eq!(When::parse("1970-01-02T00:00:00Z"), Ok(When::At(86_400_000)));
        assert_eq!(When::parse("1970-01-02T01:00:00+01:00"), Ok(When::At(86_400_000)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "d",
            "7",
            "-7d",
            "7y",
            "é",
            "2026-13-01",
            "2026-11-01T12:00",
            "1969-12-31",
            "soon",
            "99999999999999999999d",
        ] {
            assert_eq!(When::parse(text), Err(NotATime), "{text}");
        }
    }

    #[test]
    fn a_span_counts_back_or_on_and_does_not_wrap() {
        assert_eq!(When::Away(2).ago(5000), 3000);
        assert_eq!(When::Away(2).ahead(5000), 7000);
        assert_eq!(When::Away(9).ago(5000), 0);
        assert_eq!(When::Away(u64::MAX).ahead(5000), u64::MAX);
    }

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(show(86_400_999), "1970-01-02T00:00:00Z");
        assert_eq!(show(u64::MAX), "9999-12-30T22:00:00Z");
    }
}
