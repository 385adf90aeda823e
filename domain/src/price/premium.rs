//! A price that is another's, multiplied.

use super::multiplier::greatest_common_divisor;
use super::{ContextTier, Multiplier, Price};

impl Price {
    /// This price with each of its unit prices multiplied, and rounded up so that it is a whole number of picodollars in every
    /// service tier. What it is multiplied by in those tiers stays. No unit price goes past the highest that can be written.
    #[must_use]
    pub fn multiplied(&self, by: Multiplier) -> Self {
        let step = [self.priority, self.flex]
            .into_iter()
            .flatten()
            .fold(1, |step, tier| least_common_multiple(step, tier.step()));
        let of = |picodollars: u64, most: u64| {
            let exact = u128::from(picodollars) * u128::from(by.thousandths());
            let whole = u64::try_from(exact.div_ceil(1_000)).unwrap_or(u64::MAX);
            whole.checked_next_multiple_of(step).unwrap_or(most).min(most)
        };
        macro_rules! unit {
            ($price:expr, $unit:ident) => {
                super::$unit::from_picodollars(of($price.picodollars(), super::$unit::MAX.picodollars()))
            };
        }
        let tier = |tier: &ContextTier| ContextTier {
            above_prompt_tokens: tier.above_prompt_tokens,
            input: unit!(tier.input, TokenPrice),
            cached_input: tier.cached_input.map(|price| unit!(price, TokenPrice)),
            output: unit!(tier.output, TokenPrice),
        };
        Self {
            input: unit!(self.input, TokenPrice),
            cached_input: self.cached_input.map(|price| unit!(price, TokenPrice)),
            output: unit!(self.output, TokenPrice),
            context_tiers: self.context_tiers.iter().map(tier).collect(),
            per_request: self.per_request.map(|price| unit!(price, RequestPrice)),
            per_engine_second: self.per_engine_second.map(|price| unit!(price, EngineTimePrice)),
            per_image: self.per_image.map(|price| unit!(price, ImagePrice)),
            per_million_characters: self
                .per_million_characters
                .map(|price| unit!(price, CharacterPrice)),
            per_audio_second: self.per_audio_second.map(|price| unit!(price, AudioTimePrice)),
            priority: self.priority,
            flex: self.flex,
        }
    }
}

const fn least_common_multiple(a: u64, b: u64) -> u64 {
    a / greatest_common_divisor(a, b) * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{RequestPrice, TokenPrice};

    const fn times(thousandths: u32) -> Multiplier {
        match Multiplier::from_thousandths(thousandths) {
            Ok(multiplier) => multiplier,
            Err(_) => Multiplier::ONE,
        }
    }

    #[test]
    fn every_unit_is_multiplied_and_none_becomes_cheaper_by_rounding() {
        let token = TokenPrice::from_picodollars;
        let mut price = Price::of_tokens(token(100_000), Some(token(3)), token(320_000));
        price.per_request = Some(RequestPrice::from_picodollars(10));
        let dearer = price.multiplied(times(1_200));
        assert_eq!(dearer.input, token(120_000));
        assert_eq!(dearer.cached_input, Some(token(4)), "3.6 is rounded up");
        assert_eq!(dearer.output, token(384_000));
        assert_eq!(dearer.per_request, Some(RequestPrice::from_picodollars(12)));
        assert_eq!(price.multiplied(Multiplier::ONE), price);
    }

    #[test]
    fn what_is_multiplied_again_in_a_service_tier_stays_whole() {
        let token = TokenPrice::from_picodollars;
        let mut price = Price::of_tokens(token(20), None, token(40));
        price.flex = Some(times(500));
        price.priority = Some(times(1_250));
        assert!(price.faults().is_empty());
        let dearer = price.multiplied(times(1_050));
        assert_eq!(
            (dearer.input, dearer.output),
            (token(24), token(44)),
            "21 and 42, in steps of 4"
        );
        assert!(dearer.faults().is_empty());
    }

    #[test]
    fn the_highest_price_stays_the_highest() {
        let price = Price::of_tokens(TokenPrice::MAX, None, TokenPrice::MAX);
        assert_eq!(price.multiplied(Multiplier::MAX), price);
    }
}
