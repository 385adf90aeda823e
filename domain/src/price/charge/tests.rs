//! A charge against formulas that are written down apart from it.

use super::*;
use crate::price::{
    AudioTimePrice, CharacterPrice, ContextTier, EngineTimePrice, ImagePrice, RequestPrice, TokenPrice,
};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const NONE: Units = Units {
    engine_ms: 0,
    images: 0,
    characters: 0,
    audio_ms: 0,
};

fn token(picodollars: u64) -> TokenPrice {
    TokenPrice::from_picodollars(picodollars)
}

#[test]
fn cached_tokens_are_priced_apart() {
    let price = Price::of_tokens(token(100_000), Some(token(20_000)), token(320_000));
    let cost = price
        .charge(&Usage::new(46, 32, 4), &NONE, ServiceTier::Default)
        .unwrap();
    assert_eq!(cost, Picodollars::new(14 * 100_000 + 32 * 20_000 + 4 * 320_000));
    let without = Price {
        cached_input: None,
        ..price
    };
    assert_eq!(
        without
            .charge(&Usage::new(46, 32, 0), &NONE, ServiceTier::Default)
            .unwrap(),
        Picodollars::new(46 * 100_000)
    );
}

#[test]
fn the_whole_prompt_decides_what_every_token_costs() {
    let tier = |above_prompt_tokens, input, output| ContextTier {
        above_prompt_tokens,
        input: token(input),
        cached_input: None,
        output: token(output),
    };
    let price = Price {
        context_tiers: vec![tier(100, 20, 40), tier(200, 30, 60)],
        ..Price::of_tokens(token(10), Some(token(1)), token(20))
    };
    let charge = |prompt, cached| {
        price
            .charge(&Usage::new(prompt, cached, 1), &NONE, ServiceTier::Default)
            .unwrap()
            .get()
    };
    assert_eq!(
        charge(100, 0),
        100 * 10 + 20,
        "the threshold itself is not passed"
    );
    assert_eq!(charge(101, 0), 101 * 20 + 40);
    assert_eq!(
        charge(101, 101),
        101 * 20 + 40,
        "cached tokens count, and cost what the tier says"
    );
    assert_eq!(charge(201, 0), 201 * 30 + 60);
}

#[test]
fn a_tier_that_is_not_sold_is_billed_as_the_default_one() {
    let price = Price {
        priority: Multiplier::parse("1.5").ok(),
        ..Price::of_tokens(token(2), None, token(4))
    };
    assert_eq!(price.tier_sold(ServiceTier::Priority), ServiceTier::Priority);
    assert_eq!(price.tier_sold(ServiceTier::Flex), ServiceTier::Default);
    let charge = |tier| price.charge(&Usage::new(10, 0, 1), &NONE, tier).unwrap().get();
    assert_eq!(charge(ServiceTier::Default), 24);
    assert_eq!(charge(ServiceTier::Priority), 36);
    assert_eq!(charge(ServiceTier::Flex), 24);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let price = Price {
        priority: Multiplier::parse("1.001").ok(),
        ..Price::of_tokens(token(u64::MAX), None, token(1))
    };
    let charge = |usage, tier| price.charge(&usage, &NONE, tier);
    assert_eq!(
        charge(Usage::new(u64::MAX, 0, 0), ServiceTier::Default),
        Err(OutOfRange)
    );
    assert_eq!(
        charge(Usage::new(0, 0, 1), ServiceTier::Priority),
        Err(OutOfRange),
        "a price that is not whole is never rounded"
    );
}

/// A price that holds: multiples of a thousand picodollars, so that every multiplier leaves them whole, and tiers that
/// rise.
fn price() -> impl Strategy<Value = Price> {
    let one = || (0..1_000_000u64).prop_map(|thousands| thousands * 1_000);
    let optional = || prop::option::of(one());
    let tokens = (one(), optional(), one());
    let tiers = prop::collection::vec((1..50_000u64, one(), one(), one()), 0..3);
    let units = (optional(), optional(), optional(), optional(), optional());
    let multiplier =
        || prop::option::of((1..=100_000u32).prop_map(|t| Multiplier::from_thousandths(t).unwrap()));
    (tokens, tiers, units, multiplier(), multiplier()).prop_map(
        |((input, cached, output), steps, units, priority, flex)| {
            let mut above = 0;
            let (mut tier_input, mut tier_cached, mut tier_output) = (input, cached.unwrap_or(input), output);
            let mut context_tiers = Vec::new();
            for (longer, dearer_input, dearer_cached, dearer_output) in steps {
                above += longer;
                tier_input += dearer_input;
                tier_cached += dearer_cached;
                tier_output += dearer_output;
                context_tiers.push(ContextTier {
                    above_prompt_tokens: above,
                    input: token(tier_input),
                    cached_input: Some(token(tier_cached)),
                    output: token(tier_output),
                });
            }
            Price {
                context_tiers,
                per_request: units.0.map(RequestPrice::from_picodollars),
                per_engine_second: units.1.map(EngineTimePrice::from_picodollars),
                per_image: units.2.map(ImagePrice::from_picodollars),
                per_million_characters: units.3.map(CharacterPrice::from_picodollars),
                per_audio_second: units.4.map(AudioTimePrice::from_picodollars),
                priority,
                flex,
                ..Price::of_tokens(token(input), cached.map(token), token(output))
            }
        },
    )
}

fn usage() -> impl Strategy<Value = Usage> {
    (0..200_000u64, 0..200_000u64, 0..100_000u64)
        .prop_map(|(prompt, cached, completion)| Usage::new(prompt, cached, completion))
}

fn units() -> impl Strategy<Value = Units> {
    (0..10_000_000u64, 0..1_000u64, 0..10_000_000u64, 0..10_000_000u64).prop_map(
        |(engine_ms, images, characters, audio_ms)| Units {
            engine_ms,
            images,
            characters,
            audio_ms,
        },
    )
}

fn tier() -> impl Strategy<Value = ServiceTier> {
    prop::sample::select(ServiceTier::ALL.to_vec())
}

/// The charge by another road: thousandths of everything are summed, and divided once at the end.
fn by_another_road(price: &Price, usage: &Usage, units: &Units, tier: ServiceTier) -> i128 {
    let (mut input, mut cached, mut output) = (price.input, price.cached_input, price.output);
    for context in &price.context_tiers {
        if usage.prompt_tokens > context.above_prompt_tokens {
            (input, cached, output) = (context.input, context.cached_input, context.output);
        }
    }
    let thousandths = match tier {
        ServiceTier::Priority => price.priority.map_or(1_000, Multiplier::thousandths),
        ServiceTier::Flex => price.flex.map_or(1_000, Multiplier::thousandths),
        ServiceTier::Default => 1_000,
    };
    let cached = cached.unwrap_or(input);
    let uncached = usage.prompt_tokens - usage.cached_tokens;
    let mut sum = i128::from(input.picodollars()) * i128::from(uncached);
    sum += i128::from(cached.picodollars()) * i128::from(usage.cached_tokens);
    sum += i128::from(output.picodollars()) * i128::from(usage.completion_tokens);
    sum += price.per_request.map_or(0, |one| i128::from(one.picodollars()));
    let of_engine = price.per_engine_second.map_or(0, |one| one.picodollars());
    sum += i128::from(of_engine) * i128::from(units.engine_ms);
    let of_images = price.per_image.map_or(0, |one| one.picodollars());
    sum += i128::from(of_images) * i128::from(units.images);
    let of_characters = price.per_million_characters.map_or(0, |one| one.picodollars());
    sum += i128::from(of_characters) * i128::from(units.characters);
    let of_audio = price.per_audio_second.map_or(0, |one| one.picodollars());
    sum += i128::from(of_audio) * i128::from(units.audio_ms);
    sum *= i128::from(thousandths);
    assert_eq!(sum % 1_000, 0);
    sum / 1_000
}

proptest! {
    #[test]
    fn a_charge_is_exact(price in price(), usage in usage(), units in units(), tier in tier()) {
        prop_assert_eq!(price.faults(), []);
        let charged = price.charge(&usage, &units, tier).unwrap();
        prop_assert_eq!(charged.get(), by_another_road(&price, &usage, &units, tier));
        prop_assert_eq!(charged, price.charge(&usage, &units, price.tier_sold(tier)).unwrap());
    }

    /// One more of anything never costs less.
    #[test]
    fn a_charge_is_monotone(price in price(), usage in usage(), units in units(), tier in tier(), more in 0..100_000u64) {
        let charge = |usage: &Usage, units: &Units| price.charge(usage, units, tier).unwrap();
        let before = charge(&usage, &units);
        let longer = usage.prompt_tokens + more;
        let dearer = [
            charge(&Usage::new(longer, usage.cached_tokens, usage.completion_tokens), &units),
            charge(&Usage::new(longer, usage.cached_tokens + more, usage.completion_tokens), &units),
            charge(&Usage::new(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens + more), &units),
            charge(&usage, &Units { engine_ms: units.engine_ms + more, ..units }),
            charge(&usage, &Units { images: units.images + more, ..units }),
            charge(&usage, &Units { characters: units.characters + more, ..units }),
            charge(&usage, &Units { audio_ms: units.audio_ms + more, ..units }),
        ];
        for after in dearer {
            prop_assert!(after >= before);
        }
    }

    /// Whatever is used within the bounds, a hold of `most` covers it. The thresholds fall at random, cheaper tiers too.
    #[test]
    fn no_charge_within_bounds_exceeds_the_most(
        mut price in price(), cheaper in any::<bool>(), usage in usage(), units in units(), tier in tier(),
        room in 0..50_000u64,
    ) {
        if cheaper {
            for context in &mut price.context_tiers {
                context.input = token(1_000);
            }
        }
        let bounds = Units {
            engine_ms: units.engine_ms + room,
            images: units.images + room,
            characters: units.characters + room,
            audio_ms: units.audio_ms + room,
        };
        let (prompt, completion) = (usage.prompt_tokens + room, usage.completion_tokens + room);
        let most = price.most(prompt, completion, &bounds, tier).unwrap();
        prop_assert!(price.charge(&usage, &units, tier).unwrap() <= most);
        let exactly = price.most(usage.prompt_tokens, usage.completion_tokens, &units, tier).unwrap();
        prop_assert!(price.charge(&usage, &units, tier).unwrap() <= exactly);
    }
}
