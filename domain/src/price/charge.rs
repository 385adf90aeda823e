//! What a usage comes to: exact, or an error where it does not fit.

use super::{Multiplier, Price};
use crate::money::{OutOfRange, Picodollars};
use crate::tokens::Usage;
use crate::units::{ServiceTier, Units};

/// What each kind of token costs in one request, in picodollars, before the service tier.
#[derive(Clone, Copy)]
struct Rates {
    input: u64,
    cached: u64,
    output: u64,
}

impl Price {
    /// What this usage and these units cost: exact, or an error if it does not fit.
    pub fn charge(&self, usage: &Usage, units: &Units, tier: ServiceTier) -> Result<Picodollars, OutOfRange> {
        self.charge_tokens(usage, tier)?
            .checked_add(self.charge_units(units, tier)?)
    }

    /// What the tokens alone cost: of a request that ended before it was answered.
    pub fn charge_tokens(&self, usage: &Usage, tier: ServiceTier) -> Result<Picodollars, OutOfRange> {
        let rates = self.rates_of(usage.prompt_tokens);
        let counted = [
            (rates.input, usage.uncached_tokens()),
            (rates.cached, usage.cached_tokens.min(usage.prompt_tokens)),
            (rates.output, usage.completion_tokens),
        ];
        sum(counted, self.multiplier(tier))
    }

    /// The tier that a request is billed in which asks for this one: a tier without a multiplier is not sold.
    pub fn tier_sold(&self, asked: ServiceTier) -> ServiceTier {
        let sold = match asked {
            ServiceTier::Default => true,
            ServiceTier::Priority => self.priority.is_some(),
            ServiceTier::Flex => self.flex.is_some(),
        };
        if sold { asked } else { ServiceTier::Default }
    }

    /// The most that a request can cost with at most so many tokens and units, for a hold: no prompt token is cached, and
    /// of the context tiers that so long a prompt can reach the dearest prices it.
    pub fn most(
        &self,
        prompt_tokens: u64,
        completion_tokens: u64,
        units: &Units,
        tier: ServiceTier,
    ) -> Result<Picodollars, OutOfRange> {
        let of_tokens = |rates: Rates| {
            let dearest = rates.input.max(rates.cached);
            let counted = [(dearest, prompt_tokens), (rates.output, completion_tokens)];
            sum(counted, self.multiplier(tier))
        };
        let mut most = of_tokens(self.base_rates())?;
        for context in self.tiers_below(prompt_tokens) {
            most = most.max(of_tokens(context)?);
        }
        most.checked_add(self.charge_units(units, tier)?)
    }

    fn charge_units(&self, units: &Units, tier: ServiceTier) -> Result<Picodollars, OutOfRange> {
        let counted = [
            (self.per_request.map_or(0, |price| price.picodollars()), 1),
            (
                self.per_engine_second.map_or(0, |price| price.picodollars()),
                units.engine_ms,
            ),
            (
                self.per_image.map_or(0, |price| price.picodollars()),
                units.images,
            ),
            (
                self.per_million_characters.map_or(0, |price| price.picodollars()),
                units.characters,
            ),
            (
                self.per_audio_second.map_or(0, |price| price.picodollars()),
                units.audio_ms,
            ),
        ];
        sum(counted, self.multiplier(tier))
    }

    /// By what a tier multiplies. One that is not sold is billed as the default one.
    fn multiplier(&self, tier: ServiceTier) -> Multiplier {
        let own = match tier {
            ServiceTier::Default => None,
            ServiceTier::Priority => self.priority,
            ServiceTier::Flex => self.flex,
        };
        own.unwrap_or(Multiplier::ONE)
    }

    fn base_rates(&self) -> Rates {
        Rates {
            input: self.input.picodollars(),
            cached: self.cached_input.unwrap_or(self.input).picodollars(),
            output: self.output.picodollars(),
        }
    }

    /// The rates of every context tier that a prompt of this length passes, in the order of their thresholds.
    fn tiers_below(&self, prompt_tokens: u64) -> impl DoubleEndedIterator<Item = Rates> {
        self.context_tiers
            .iter()
            .filter(move |tier| tier.above_prompt_tokens < prompt_tokens)
            .map(|tier| Rates {
                input: tier.input.picodollars(),
                cached: tier.cached_input.unwrap_or(tier.input).picodollars(),
                output: tier.output.picodollars(),
            })
    }

    /// The rates of a request: those of the last threshold that its prompt passes.
    fn rates_of(&self, prompt_tokens: u64) -> Rates {
        self.tiers_below(prompt_tokens)
            .next_back()
            .unwrap_or_else(|| self.base_rates())
    }
}

fn sum(
    counted: impl IntoIterator<Item = (u64, u64)>,
    multiplier: Multiplier,
) -> Result<Picodollars, OutOfRange> {
    counted
        .into_iter()
        // A price of nothing, and a count of none, are most of them.
        .filter(|&(price, count)| price != 0 && count != 0)
        .try_fold(Picodollars::ZERO, |sum, (price, count)| {
            let one = Picodollars::new(multiplier.times(price)?);
            sum.checked_add(one.checked_mul(count)?)
        })
}

#[cfg(test)]
mod tests;
