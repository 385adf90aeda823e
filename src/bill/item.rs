//! A cost, taken apart: so many tokens at such a price.

use crate::admin_api::Money;
use crate::admin_api::bill::{ItemView, UnitPriceView};
use crate::ledger::usage::UsageSum;
use farebox_domain::money::{OutOfRange, Picodollars};
use farebox_domain::price::{Price, TokenPrice};
use farebox_domain::tokens::Usage;

/// The item that stands for a sum which token counts and token prices alone do not make.
pub const AS_BOOKED: &str = "as_booked";

/// Prompt tokens that the engine computed.
pub const UNCACHED_PROMPT_TOKENS: &str = "uncached_prompt_tokens";
/// Prompt tokens that the engine still had.
pub const CACHED_PROMPT_TOKENS: &str = "cached_prompt_tokens";
/// Tokens produced.
pub const COMPLETION_TOKENS: &str = "completion_tokens";

/// Takes what was booked apart. The amounts always add up to `booked`: if the tokens at this price come to something
/// else (there are units that are no tokens, or the price is not known), the tokens are listed without amounts, and
/// [`AS_BOOKED`] has the whole. What was used not at all is left out.
pub fn itemize(
    usage: &Usage,
    price: Option<&Price>,
    booked: Picodollars,
) -> Result<Vec<ItemView>, OutOfRange> {
    let counts = [
        (UNCACHED_PROMPT_TOKENS, usage.uncached_tokens()),
        (CACHED_PROMPT_TOKENS, usage.cached_tokens),
        (COMPLETION_TOKENS, usage.completion_tokens),
    ];
    let prices = price.map(|price| {
        [
            price.input,
            price.cached_input.unwrap_or(price.input),
            price.output,
        ]
    });
    let mut items = Vec::new();
    let mut sum = Picodollars::ZERO;
    for (index, (name, count)) in counts
        .into_iter()
        .enumerate()
        .filter(|(_, (_, count))| *count > 0)
    {
        let unit_price = prices.map(|prices| prices[index]);
        let amount = unit_price.map(|price| times(price, count)).transpose()?;
        sum = sum.checked_add(amount.unwrap_or_default())?;
        items.push(ItemView {
            item: name.into(),
            quantity: Some(count),
            unit_price: unit_price.map(show),
            amount: amount.map(Money),
        });
    }
    if sum != booked {
        for item in &mut items {
            (item.unit_price, item.amount) = (None, None);
        }
        items.push(ItemView {
            item: AS_BOOKED.into(),
            quantity: None,
            unit_price: None,
            amount: Some(Money(booked)),
        });
    }
    Ok(items)
}

/// The tokens of a sum of entries.
pub fn usage_of_sum(sum: &UsageSum) -> Usage {
    Usage {
        prompt_tokens: sum.prompt_tokens,
        cached_tokens: sum.cached_tokens,
        completion_tokens: sum.completion_tokens,
        reasoning_tokens: sum.reasoning_tokens,
    }
}

/// Whether these items are token counts times token prices, and nothing else.
pub fn is_itemized(items: &[ItemView]) -> bool {
    items.iter().all(|item| item.item != AS_BOOKED)
}

fn times(price: TokenPrice, count: u64) -> Result<Picodollars, OutOfRange> {
    Picodollars::new(price.picodollars().into()).checked_mul(count)
}

fn show(price: TokenPrice) -> UnitPriceView {
    UnitPriceView {
        picodollars: price.picodollars().to_string(),
        usd_per_million: price.to_string(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRICE: Price = Price::of_tokens(
        TokenPrice::from_picodollars(100_000),
        Some(TokenPrice::from_picodollars(20_000)),
        TokenPrice::from_picodollars(320_000),
    );

    fn shown(items: &[ItemView]) -> Vec<String> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        items
            .iter()
            .map(|item| {
                format!(
                    "{} {} x {} = {}",
                    item.item,
                    text(item.quantity.map(|count| count.to_string())),
                    text(
                        item.unit_price
                            .as_ref()
                            .map(|price| price.usd_per_million.clone())
                    ),
                    text(item.amount.map(|amount| amount.0.get().to_string())),
                )
            })
            .collect()
    }

    #[test]
    fn tokens_at_their_prices_are_the_cost() {
        let items = itemize(&Usage::new(46, 32, 4), Some(&PRICE), Picodollars::new(3_320_000)).unwrap();
        assert_eq!(
            shown(&items),
            [
                "uncached_prompt_tokens 14 x 0.1 = 1400000",
                "cached_prompt_tokens 32 x 0.02 = 640000",
                "completion_tokens 4 x 0.32 = 1280000",
            ]
        );
        assert!(is_itemized(&items));
    }

    #[test]
    fn another_sum_is_shown_as_it_was_booked() {
        for price in [Some(&PRICE), None] {
            let items = itemize(&Usage::new(46, 0, 0), price, Picodollars::new(7)).unwrap();
            assert_eq!(
                shown(&items),
                ["uncached_prompt_tokens 46 x - = -", "as_booked - x - = 7"]
            );
            assert!(!is_itemized(&items));
        }
        assert_eq!(
            itemize(&Usage::default(), None, Picodollars::ZERO).unwrap(),
            [],
            "nothing was used"
        );
    }

    proptest! {
        #[test]
        fn items_always_add_up_to_what_was_booked(
            prompt in 0..1_000_000u64, cached in 0..1_000_000u64, completion in 0..1_000_000u64,
            off_by in -2..3i128, known in any::<bool>(),
        ) {
            let usage = Usage::new(prompt, cached, completion);
            let exact = times(PRICE.input, usage.uncached_tokens()).unwrap()
                .checked_add(times(TokenPrice::from_picodollars(20_000), usage.cached_tokens).unwrap()).unwrap()
                .checked_add(times(PRICE.output, completion).unwrap()).unwrap();
            let booked = Picodollars::new(exact.get() + off_by);
            let items = itemize(&usage, known.then_some(&PRICE), booked).unwrap();
            let sum: i128 = items.iter().filter_map(|item| item.amount).map(|amount| amount.0.get()).sum();
            prop_assert_eq!(sum, booked.get());
        }
    }
}
