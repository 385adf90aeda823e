//! Calendar months, in UTC: what spending limits count by.

use core::fmt;

/// A calendar month, counted from January 1970. A request belongs to the month of its admission, whenever it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month(u32);

const MS_PER_DAY: u64 = 86_400_000;

impl Month {
    /// The month that this time is in. Times beyond the year 9999 are in its last month.
    pub fn of_ms(unix_ms: u64) -> Self {
        // Days from the era that begins on 0000-03-01; Hinnant's civil_from_days.
        let days = (unix_ms / MS_PER_DAY).min(2_932_896) + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        // March is 0, so January and February belong to the next year.
        let months = (era * 400 + year_of_era) * 12 + march_month + 2;
        Self(u32::try_from(months - 1970 * 12).unwrap_or(u32::MAX))
    }

    /// The month with this number, counted from January 1970.
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }

    /// Months since January 1970.
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The month after it.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The month before it; of the first, itself.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Its first moment, in milliseconds since 1970.
    pub fn starts_at_ms(self) -> u64 {
        let (year, month) = (1970 + u64::from(self.0 / 12), u64::from(self.0 % 12) + 1);
        // Hinnant's days_from_civil, for the first of the month.
        let march_year = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (march_year / 400, march_year % 400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * 146_097 + day_of_era - 719_468) * MS_PER_DAY
    }

    /// The month written as `2026-11`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        if year.len() != 4 || month.len() != 2 {
            return None;
        }
        let (year, month): (u32, u32) = (year.parse().ok()?, month.parse().ok()?);
        if year < 1970 || !(1..=12).contains(&month) {
            return None;
        }
        Some(Self((year - 1970) * 12 + month - 1))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", 1970 + self.0 / 12, self.0 % 12 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn months_begin_at_midnight_utc() {
        let (last_of_october, first_of_november) = (1_793_491_199_999, 1_793_491_200_000);
        assert_eq!(Month::of_ms(last_of_october).to_string(), "2026-10");
        assert_eq!(Month::of_ms(first_of_november).to_string(), "2026-11");
        assert_eq!(Month::of_ms(0).to_string(), "1970-01");
        assert_eq!(Month::of_ms(951_782_400_000).to_string(), "2000-02");
        assert_eq!(Month::parse("2026-11").unwrap().starts_at_ms(), first_of_november);
        for text in [
            "2026", "2026-00", "2026-13", "26-11", "2026-1", "1969-12", "+026-11",
        ] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_in_the_month_that_has_begun_and_not_ended(at in 0..253_402_300_800_000u64) {
            let month = Month::of_ms(at);
            prop_assert!(month.starts_at_ms() <= at && at < month.next().starts_at_ms());
            prop_assert_eq!(Month::parse(&month.to_string()), Some(month));
        }
    }
}
