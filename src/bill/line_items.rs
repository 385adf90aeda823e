//! OpenAI's line items of costs: a model's tokens of one kind, whatever price versions they were charged under.

use super::item::{
    AS_BOOKED, CACHED_PROMPT_TOKENS, COMPLETION_TOKENS, UNCACHED_PROMPT_TOKENS, itemize, usage_of_sum,
};
use super::{BillFault, PriceBook};
use crate::ledger::UsageRow;
use farebox_domain::ids::KeyId;
use farebox_domain::money::{OutOfRange, Picodollars};
use std::collections::BTreeMap;

/// A line item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineItem {
    /// The key, where rows are told apart by keys.
    pub key: Option<KeyId>,
    /// As OpenAI writes it: `gpt-4o, input_tokens`.
    pub name: String,
    /// How many tokens; `None` where the amount is a booked sum.
    pub quantity: Option<u64>,
    /// What they cost.
    pub amount: Picodollars,
}

/// The line items of rows that were grouped by model and price version. They add up to what the rows cost.
pub fn line_items(rows: &[UsageRow], prices: &PriceBook) -> Result<Vec<LineItem>, BillFault> {
    let mut items: BTreeMap<(Option<KeyId>, String), (Option<u64>, Picodollars)> = BTreeMap::new();
    for row in rows {
        let (Some(model), Some(version)) = (&row.group.model, row.group.price_version) else {
            continue;
        };
        let price = prices.find(model, version).map(|found| &found.price);
        for part in itemize(&usage_of_sum(&row.sum), price, row.sum.cost)? {
            let Some(amount) = part.amount else { continue };
            let name = format!("{model}, {}", openai_name(&part.item));
            let sum = items.entry((row.group.key.clone(), name)).or_default();
            sum.0 = match (sum.0.unwrap_or(0), part.quantity) {
                (before, Some(more)) => Some(before.checked_add(more).ok_or(OutOfRange)?),
                (_, None) => None,
            };
            sum.1 = sum.1.checked_add(amount.0)?;
        }
    }
    Ok(items
        .into_iter()
        .map(|((key, name), (quantity, amount))| LineItem {
            key,
            name,
            quantity,
            amount,
        })
        .collect())
}

fn openai_name(item: &str) -> &str {
    match item {
        UNCACHED_PROMPT_TOKENS => "input_tokens",
        CACHED_PROMPT_TOKENS => "cached_input_tokens",
        COMPLETION_TOKENS => "output_tokens",
        AS_BOOKED => AS_BOOKED,
        other => other,
    }
}
