//! `price` -> a `Price`: of a model in models.yaml, and of what an administrator gives, which is written the same way.

use super::fault::{Collector, Faults, Position, quoted};
use super::reader::{Fields, Item};
use super::yaml;
use farebox_domain::catalog::Task;
use farebox_domain::price::{
    AudioTimePrice, CharacterPrice, ContextTier, EngineTimePrice, ImagePrice, Multiplier, NotAPrice, Price,
    PriceFault, RequestPrice, TokenPrice,
};

/// The keys of a price.
const KEYS: [&str; 11] = [
    "input",
    "cached_input",
    "output",
    "context_tiers",
    "per_request",
    "per_engine_second",
    "per_image",
    "per_million_characters",
    "per_audio_second",
    "priority",
    "flex",
];
/// The keys of a context tier.
const TIER_KEYS: [&str; 4] = ["above_prompt_tokens", "input", "cached_input", "output"];
const TIERS_AT_MOST: usize = 16;

/// Reads a price by itself: a YAML or JSON text with the keys that it has in models.yaml, for a model that does this. The
/// faults have their paths within the price.
pub fn parse_price(text: &str, task: Task, context_length: Option<u32>) -> Result<Price, Faults> {
    const FILE: &str = "price";
    let empty = || Faults::whole(FILE, Position::START, "there is no price");
    let root = yaml::read(text)
        .map_err(|unreadable| Faults::whole(FILE, unreadable.at, unreadable.message))?
        .ok_or_else(empty)?;
    let item = Item::root(&root);
    let mut faults = Collector::new(FILE);
    let price = read(&item, Some(task), context_length, &mut faults);
    faults.finish(price)
}

/// Reads a price, if all of it can be read and holds. A task or a context length that is unread is not held against it.
pub(super) fn read(
    item: &Item<'_>,
    task: Option<Task>,
    context_length: Option<u32>,
    faults: &mut Collector,
) -> Option<Price> {
    let fields = item.mapping(&KEYS, faults)?;
    let tokens = read_tokens(&fields, task, faults);
    let context_tiers = read_tiers(&fields, task, context_length, faults);
    if let Some(images) = fields
        .optional("per_image")
        .filter(|_| task == Some(Task::Embedding))
    {
        images.refuse("images are counted in chat messages alone; leave it out", faults);
    }
    let per_request = optional(&fields, "per_request", RequestPrice::parse, faults);
    let per_engine_second = optional(&fields, "per_engine_second", EngineTimePrice::parse, faults);
    let per_image = optional(&fields, "per_image", ImagePrice::parse, faults);
    let per_million_characters = optional(&fields, "per_million_characters", CharacterPrice::parse, faults);
    let per_audio_second = optional(&fields, "per_audio_second", AudioTimePrice::parse, faults);
    let priority = read_multiplier(&fields, "priority", faults);
    let flex = read_multiplier(&fields, "flex", faults);
    let (input, cached_input, output) = tokens?;
    let price = Price {
        context_tiers: context_tiers?,
        per_request: per_request?,
        per_engine_second: per_engine_second?,
        per_image: per_image?,
        per_million_characters: per_million_characters?,
        per_audio_second: per_audio_second?,
        priority: priority?,
        flex: flex?,
        ..Price::of_tokens(input, cached_input, output)
    };
    let found = price.faults();
    for fault in &found {
        place_fault(fault, &fields, faults);
    }
    found.is_empty().then_some(price)
}

type TokenPrices = (TokenPrice, Option<TokenPrice>, TokenPrice);

/// `input`, `cached_input` and `output`.
fn read_tokens(fields: &Fields<'_>, task: Option<Task>, faults: &mut Collector) -> Option<TokenPrices> {
    let input = fields
        .required(
            "input",
            "USD per million tokens of prompt, such as \"0.10\"",
            faults,
        )
        .and_then(|price| read_unit(price, TokenPrice::parse, faults));
    let cached_input = optional(fields, "cached_input", TokenPrice::parse, faults);
    let output = match (task, fields.optional("output")) {
        (Some(Task::Embedding), None) => Some(TokenPrice::from_picodollars(0)),
        (Some(Task::Embedding), Some(price)) => {
            price.refuse(
                "an embedding model produces no tokens; leave out their price",
                faults,
            );
            None
        }
        // Whether an output price is missing cannot be said of a task that is unread.
        (None, None) => None,
        (None | Some(Task::Chat), _) => fields
            .required(
                "output",
                "USD per million tokens of answer, such as \"0.32\"",
                faults,
            )
            .and_then(|price| read_unit(price, TokenPrice::parse, faults)),
    };
    Some((input?, cached_input?, output?))
}

fn read_tiers(
    fields: &Fields<'_>,
    task: Option<Task>,
    context_length: Option<u32>,
    faults: &mut Collector,
) -> Option<Vec<ContextTier>> {
    let Some(list) = fields.optional("context_tiers") else {
        return Some(Vec::new());
    };
    let items = list.list(TIERS_AT_MOST, faults)?;
    let tiers: Vec<_> = items
        .iter()
        .map(|item| read_tier(item, task, context_length, faults))
        .collect();
    tiers.into_iter().collect()
}

fn read_tier(
    item: &Item<'_>,
    task: Option<Task>,
    context_length: Option<u32>,
    faults: &mut Collector,
) -> Option<ContextTier> {
    let fields = item.mapping(&TIER_KEYS, faults)?;
    let what = "the tokens of prompt above which it holds, such as 128000";
    let above = fields
        .required("above_prompt_tokens", what, faults)
        .and_then(|above| {
            let tokens = above.integer_u32(1..=u32::MAX, faults)?;
            if let Some(most) = context_length.filter(|&most| tokens >= most) {
                let message = format!(
                    "no prompt is longer than context_length {most}: the tier never holds; leave it out"
                );
                above.refuse(message, faults);
            }
            Some(tokens)
        });
    let tokens = read_tokens(&fields, task, faults);
    let (input, cached_input, output) = tokens?;
    Some(ContextTier {
        above_prompt_tokens: above?.into(),
        input,
        cached_input,
        output,
    })
}

/// A price that may be left out: `Some(None)`. `None` is one that is there and is none.
fn optional<T>(
    fields: &Fields<'_>,
    key: &str,
    parse: fn(&str) -> Result<T, NotAPrice>,
    faults: &mut Collector,
) -> Option<Option<T>> {
    match fields.optional(key) {
        Some(price) => read_unit(price, parse, faults).map(Some),
        None => Some(None),
    }
}

fn read_unit<T>(
    item: &Item<'_>,
    parse: fn(&str) -> Result<T, NotAPrice>,
    faults: &mut Collector,
) -> Option<T> {
    let text = item.price_text(faults)?;
    parse(text)
        .map_err(|error| item.refuse(format!("{error}, not {}", quoted(text)), faults))
        .ok()
}

pub(super) fn read_multiplier(
    fields: &Fields<'_>,
    key: &str,
    faults: &mut Collector,
) -> Option<Option<Multiplier>> {
    let Some(item) = fields.optional(key) else {
        return Some(None);
    };
    let text = item.price_text(faults)?;
    Multiplier::parse(text)
        .map_err(|error| item.refuse(format!("{error}, not {}", quoted(text)), faults))
        .ok()
        .map(Some)
}

/// Records a fault between parts at the part that most likely has to change.
fn place_fault(fault: &PriceFault, fields: &Fields<'_>, faults: &mut Collector) {
    let in_tier = |index: usize, key: &str, faults: &mut Collector| {
        let tier = fields
            .optional("context_tiers")
            .and_then(|list| list.list(TIERS_AT_MOST, faults))
            .and_then(|tiers| tiers.into_iter().nth(index))?;
        let own = tier
            .mapping(&TIER_KEYS, faults)
            .and_then(|fields| fields.optional(key).map(|item| item.place.clone()));
        Some(own.unwrap_or(tier.place))
    };
    let place = match fault {
        PriceFault::Fractional { tier, .. } => fields.optional(tier).map(|item| item.place.clone()),
        PriceFault::NotAbove { index, .. } => in_tier(*index, "above_prompt_tokens", faults),
        PriceFault::Cheaper { index, key, .. } => in_tier(*index, key, faults),
    };
    place
        .unwrap_or_else(|| fields.place.clone())
        .refuse(fault.to_string(), faults);
}

#[cfg(test)]
mod tests;
