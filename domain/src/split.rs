//! How the inputs of one request are divided among engines that take only so many in a call.

use alloc::vec::Vec;
use core::ops::Range;

/// The parts of `inputs` inputs, in order: none has more than `most`, sizes differ by one at the most, and each of `engines`
/// engines gets as many parts as another where there are inputs enough. No `most` and no `engines` count as one.
pub fn parts(inputs: usize, most: usize, engines: usize) -> Vec<Range<usize>> {
    let needed = inputs.div_ceil(most.max(1));
    let even = needed.checked_next_multiple_of(engines.max(1));
    let count = even.unwrap_or(needed).min(inputs);
    let mut parts = Vec::with_capacity(count);
    let mut start = 0;
    for left in (1..=count).rev() {
        let end = start + (inputs - start).div_ceil(left);
        parts.push(start..end);
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn engines_get_the_same_number_of_parts_and_parts_are_even() {
        assert_eq!(parts(64, 32, 1), [0..32, 32..64]);
        assert_eq!(parts(64, 32, 3), [0..22, 22..43, 43..64]);
        assert_eq!(parts(33, 32, 2), [0..17, 17..33]);
        assert_eq!(parts(5, 4, 8), [0..1, 1..2, 2..3, 3..4, 4..5]);
        assert_eq!(parts(100, 32, 3).len(), 6);
    }

    proptest! {
        #[test]
        fn each_input_is_in_one_part_and_no_part_is_too_large(
            inputs in 0usize..3000, most in 0usize..3000, engines in 0usize..50,
        ) {
            let parts = parts(inputs, most, engines);
            let mut next = 0;
            for part in &parts {
                prop_assert_eq!(part.start, next);
                prop_assert!((1..=most.max(1)).contains(&part.len()));
                next = part.end;
            }
            prop_assert_eq!(next, inputs);
            let sizes = || parts.iter().map(ExactSizeIterator::len);
            prop_assert!(sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0) <= 1);
        }
    }
}
