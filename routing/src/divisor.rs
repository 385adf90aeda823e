//! Division by one number again and again, by a multiplication: a choice among 512 engines divides a thousand times by the same two.

use crate::prompt::share;

/// What others are divided by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Divisor {
    by: u64,
    /// `u64::MAX / by`: of a product with it the upper half is the quotient, or up to two less.
    reciprocal: u64,
}

impl Divisor {
    /// By this, or by one where it is zero.
    pub(crate) fn new(by: u64) -> Self {
        let by = by.max(1);
        Self {
            by,
            reciprocal: u64::MAX / by,
        }
    }

    /// Quotient and remainder, exactly.
    #[inline]
    pub(crate) fn divide(self, number: u64) -> (u64, u64) {
        let product = u128::from(number) * u128::from(self.reciprocal);
        let mut quotient = u64::try_from(product >> 64).unwrap_or(u64::MAX);
        let mut rest = number - quotient * self.by;
        while rest >= self.by {
            quotient += 1;
            rest -= self.by;
        }
        (quotient, rest)
    }

    /// `part` of so many of this, as [`share`].
    #[inline]
    pub(crate) fn share(self, of: u64, part: u64) -> u64 {
        match of.checked_mul(part) {
            Some(product) => self.divide(product).0,
            None => share(of, part, self.by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers of every length.
    fn any_number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0_u32..64).prop_map(|(number, shift)| number >> shift)
    }

    proptest! {
        #[test]
        fn it_divides_as_the_processor_does(number in any_number(), part in any_number(), by in any_number()) {
            let (divisor, by) = (Divisor::new(by), by.max(1));
            prop_assert_eq!(divisor.divide(number), (number / by, number % by));
            prop_assert_eq!(divisor.share(number, part), share(number, part, by));
        }
    }
}
