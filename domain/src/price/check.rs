//! What does not hold between the parts of a price, each of which is well formed.

use super::unit::Written;
use super::{
    AudioTimePrice, CharacterPrice, EngineTimePrice, ImagePrice, Multiplier, Price, RequestPrice, TokenPrice,
};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Something that does not hold between parts of a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceFault {
    /// A unit price in a service tier is not a whole number of picodollars.
    #[error(
        "{multiplier} times `{key}` \"{price}\" is finer than a whole number of picodollars for {counted}: write \
         `{key}` as {instead}, or another multiplier"
    )]
    Fractional {
        /// `priority` or `flex`.
        tier: &'static str,
        /// Its multiplier.
        multiplier: Multiplier,
        /// Which price: `input`, `context_tiers[0].output`.
        key: String,
        /// That price, as it is written.
        price: String,
        /// What it is counted in: `one token`.
        counted: &'static str,
        /// The nearest prices that would do.
        instead: String,
    },
    /// A context tier that begins no later than the one before it, or at once.
    #[error("a context tier begins above the one before it: write `above_prompt_tokens` of at least {least}")]
    NotAbove {
        /// The tier's index.
        index: usize,
        /// What would do.
        least: u64,
    },
    /// A context tier in which a token costs less than in the one before it: a longer prompt would cost less than a shorter.
    #[error(
        "a longer prompt may not cost less than a shorter one: `{key}` is \"{price}\", and \"{before}\" below it"
    )]
    Cheaper {
        /// The tier's index.
        index: usize,
        /// `input`, `cached_input` or `output`.
        key: &'static str,
        /// What a token costs in it.
        price: TokenPrice,
        /// What a token costs below it.
        before: TokenPrice,
    },
}

/// A unit price with its name.
struct Named {
    key: String,
    picodollars: u64,
    written: &'static Written,
}

impl Price {
    /// Everything that does not hold. A price that is sold has no faults.
    pub fn faults(&self) -> Vec<PriceFault> {
        let mut faults = self.tier_faults();
        let multipliers = [("priority", self.priority), ("flex", self.flex)];
        for (tier, multiplier) in multipliers {
            let Some(multiplier) = multiplier else { continue };
            let fractional = |named: Named| fractional(tier, multiplier, named);
            faults.extend(self.unit_prices().into_iter().filter_map(fractional));
        }
        faults
    }

    fn tier_faults(&self) -> Vec<PriceFault> {
        let mut faults = Vec::new();
        let mut least = 1;
        let mut below = [
            ("input", self.input),
            ("cached_input", self.cached_input.unwrap_or(self.input)),
            ("output", self.output),
        ];
        for (index, tier) in self.context_tiers.iter().enumerate() {
            if tier.above_prompt_tokens < least {
                faults.push(PriceFault::NotAbove { index, least });
            }
            least = tier.above_prompt_tokens.max(least).saturating_add(1);
            let own = [tier.input, tier.cached_input.unwrap_or(tier.input), tier.output];
            for ((key, before), price) in below.iter_mut().zip(own) {
                if price < *before {
                    faults.push(PriceFault::Cheaper {
                        index,
                        key,
                        price,
                        before: *before,
                    });
                }
                *before = price;
            }
        }
        faults
    }

    /// Every unit price that it has.
    fn unit_prices(&self) -> Vec<Named> {
        let token = |key: &str, price: Option<TokenPrice>| {
            price.map(|price| named(key, price.picodollars(), TokenPrice::WRITTEN))
        };
        let mut prices: Vec<Option<Named>> = alloc::vec![
            token("input", Some(self.input)),
            token("cached_input", self.cached_input),
            token("output", Some(self.output)),
            self.per_request
                .map(|price| named("per_request", price.picodollars(), RequestPrice::WRITTEN)),
            self.per_engine_second.map(|price| named(
                "per_engine_second",
                price.picodollars(),
                EngineTimePrice::WRITTEN
            )),
            self.per_image
                .map(|price| named("per_image", price.picodollars(), ImagePrice::WRITTEN)),
            self.per_million_characters.map(|price| named(
                "per_million_characters",
                price.picodollars(),
                CharacterPrice::WRITTEN
            )),
            self.per_audio_second.map(|price| named(
                "per_audio_second",
                price.picodollars(),
                AudioTimePrice::WRITTEN
            )),
        ];
        for (index, tier) in self.context_tiers.iter().enumerate() {
            let key = |name: &str| format!("context_tiers[{index}].{name}");
            prices.push(token(&key("input"), Some(tier.input)));
            prices.push(token(&key("cached_input"), tier.cached_input));
            prices.push(token(&key("output"), Some(tier.output)));
        }
        prices.into_iter().flatten().collect()
    }
}

fn named(key: &str, picodollars: u64, written: &'static Written) -> Named {
    Named {
        key: key.into(),
        picodollars,
        written,
    }
}

fn fractional(tier: &'static str, multiplier: Multiplier, named: Named) -> Option<PriceFault> {
    let Named {
        key,
        picodollars,
        written,
    } = named;
    if multiplier.times(picodollars).is_ok() {
        return None;
    }
    let step = multiplier.step();
    let below = picodollars / step * step;
    let above = written.show(below.saturating_add(step));
    let instead = if below == 0 {
        format!("\"{above}\"")
    } else {
        format!("\"{}\" or \"{above}\"", written.show(below))
    };
    Some(PriceFault::Fractional {
        tier,
        multiplier,
        key,
        price: format!("{}", written.show(picodollars)),
        counted: written.counted,
        instead,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::ContextTier;
    use alloc::string::ToString;

    #[test]
    fn every_fault_is_said_with_what_would_do() {
        let token = TokenPrice::from_picodollars;
        let tier = |above_prompt_tokens, input| ContextTier {
            above_prompt_tokens,
            input: token(input),
            cached_input: None,
            output: token(20),
        };
        let price = Price {
            context_tiers: alloc::vec![tier(0, 11), tier(100, 20), tier(100, 10)],
            per_engine_second: Some(EngineTimePrice::from_picodollars(7)),
            priority: Multiplier::parse("1.5").ok(),
            flex: Multiplier::parse("0.001").ok(),
            ..Price::of_tokens(token(10), Some(token(2)), token(0))
        };
        let told: Vec<String> = price.faults().iter().map(PriceFault::to_string).collect();
        assert_eq!(
            told[..6].join("\n"),
            "a context tier begins above the one before it: write `above_prompt_tokens` of at least 1\n\
             a context tier begins above the one before it: write `above_prompt_tokens` of at least 101\n\
             a longer prompt may not cost less than a shorter one: `input` is \"0.00001\", and \"0.00002\" below it\n\
             a longer prompt may not cost less than a shorter one: `cached_input` is \"0.00001\", and \"0.00002\" below it\n\
             1.5 times `per_engine_second` \"0.000000007\" is finer than a whole number of picodollars for one \
             millisecond: write `per_engine_second` as \"0.000000006\" or \"0.000000008\", or another multiplier\n\
             1.5 times `context_tiers[0].input` \"0.000011\" is finer than a whole number of picodollars for one token: \
             write `context_tiers[0].input` as \"0.00001\" or \"0.000012\", or another multiplier"
        );
        assert_eq!(
            told[6],
            "0.001 times `input` \"0.00001\" is finer than a whole number of picodollars for one token: write `input` \
             as \"0.001\", or another multiplier"
        );
    }
}
