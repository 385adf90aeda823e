//! What is said about prices that do not hold.
#![expect(clippy::unwrap_used, reason = "a test may stop on a fault")]

use super::*;

/// A price in which everything that can be said is said.
const GOOD: &str = r#"
input: "0.10"
cached_input: "0.02"
output: "0.32"
context_tiers:
  - { above_prompt_tokens: 128000, input: "0.20", cached_input: "0.04", output: "0.48" }
per_request: "0.001"
per_engine_second: "0.0005"
per_image: "0.002"
per_million_characters: "0.65"
per_audio_second: "0.0001"
priority: "1.5"
flex: "0.8"
"#;

fn chat(text: &str) -> Result<Price, Faults> {
    parse_price(text, Task::Chat, Some(200_000))
}

#[test]
fn a_good_price_becomes_whole_picodollars() {
    let price = chat(GOOD).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&price).unwrap(), @r#"
    {
      "input": 100000,
      "cached_input": 20000,
      "output": 320000,
      "context_tiers": [
        {
          "above_prompt_tokens": 128000,
          "input": 200000,
          "cached_input": 40000,
          "output": 480000
        }
      ],
      "per_request": 1000000000,
      "per_engine_second": 500000,
      "per_image": 2000000000,
      "per_million_characters": 650000,
      "per_audio_second": 100000,
      "priority": "1.5",
      "flex": "0.8"
    }
    "#);
    let json = r#"{"input":"0.10","output":"0.32","flex":null}"#;
    assert!(chat(json).is_ok(), "JSON is read as well");
}

#[test]
fn every_rule_says_what_is_wrong_and_where() {
    let changes = [
        ("per_request: \"0.001\"", "per_request: 0.001"),
        ("per_request: \"0.001\"", "per_request: \"1000.5\""),
        ("per_request: \"0.001\"", "per_requests: \"0.001\""),
        (
            "per_engine_second: \"0.0005\"",
            "per_engine_second: \"0.0000000005\"",
        ),
        ("per_image: \"0.002\"", "per_image: \"2 cents\""),
        (
            "per_million_characters: \"0.65\"",
            "per_million_characters: \"0.6500001\"",
        ),
        ("per_audio_second: \"0.0001\"", "per_audio_second: [1]"),
        ("priority: \"1.5\"", "priority: 1.5"),
        ("priority: \"1.5\"", "priority: \"0\""),
        ("priority: \"1.5\"", "priority: \"1.2345\""),
        ("flex: \"0.8\"", "flex: \"100.1\""),
        ("cached_input: \"0.02\"\n", "cached_input: \"0.000001\"\n"),
        ("output: \"0.48\"", "output: \"0.480003\""),
        ("above_prompt_tokens: 128000, ", ""),
        ("above_prompt_tokens: 128000", "above_prompt_tokens: 0"),
        ("above_prompt_tokens: 128000", "above_prompt_tokens: 200000"),
        (", output: \"0.48\"", ""),
        ("output: \"0.48\"", "output: \"0.30\""),
        ("cached_input: \"0.04\", ", "cached_input: \"0.01\", "),
        (
            "- { above",
            "- { above_prompt_tokens: 128000, input: \"0.20\", output: \"0.48\" }\n  - { above",
        ),
        ("- { above", "above: 1\n  x: { above"),
    ];
    let mut listing = String::new();
    for (from, to) in changes {
        assert_eq!(GOOD.matches(from).count(), 1, "{from}");
        let faults = chat(&GOOD.replacen(from, to, 1)).unwrap_err();
        listing.push_str(&format!("{} => {}\n", from.escape_debug(), to.escape_debug()));
        for fault in faults.as_slice() {
            listing.push_str(&format!(
                "    {}: {}: {}\n",
                fault.line, fault.path, fault.message
            ));
        }
    }
    insta::assert_snapshot!(listing, @r#"
    per_request: \"0.001\" => per_request: 0.001
        7: per_request: expected a text, found a number; write "0.001" in quotes, as YAML's numbers are rounded when they are read
    per_request: \"0.001\" => per_request: \"1000.5\"
        7: per_request: a price is at most 1000 USD a request, not `1000.5`
    per_request: \"0.001\" => per_requests: \"0.001\"
        7: per_requests: there is no such key; did you mean `per_request`?
    per_engine_second: \"0.0005\" => per_engine_second: \"0.0000000005\"
        8: per_engine_second: a price has at most nine decimals, so that one millisecond is a whole number of picodollars, not `0.0000000005`
    per_image: \"0.002\" => per_image: \"2 cents\"
        9: per_image: a price is a decimal such as "0.10": USD an image, not `2 cents`
    per_million_characters: \"0.65\" => per_million_characters: \"0.6500001\"
        10: per_million_characters: a price has at most six decimals, so that one character is a whole number of picodollars, not `0.6500001`
    per_audio_second: \"0.0001\" => per_audio_second: [1]
        11: per_audio_second: expected a text, found a list
    priority: \"1.5\" => priority: 1.5
        12: priority: expected a text, found a number; write "1.5" in quotes, as YAML's numbers are rounded when they are read
    priority: \"1.5\" => priority: \"0\"
        12: priority: a multiplier is a decimal above 0 and at most 100 with at most three decimals, such as "1.5", not `0`
    priority: \"1.5\" => priority: \"1.2345\"
        12: priority: a multiplier is a decimal above 0 and at most 100 with at most three decimals, such as "1.5", not `1.2345`
    flex: \"0.8\" => flex: \"100.1\"
        13: flex: a multiplier is a decimal above 0 and at most 100 with at most three decimals, such as "1.5", not `100.1`
    cached_input: \"0.02\"\n => cached_input: \"0.000001\"\n
        12: priority: 1.5 times `cached_input` "0.000001" is finer than a whole number of picodollars for one token: write `cached_input` as "0.000002", or another multiplier
        13: flex: 0.8 times `cached_input` "0.000001" is finer than a whole number of picodollars for one token: write `cached_input` as "0.000005", or another multiplier
    output: \"0.48\" => output: \"0.480003\"
        12: priority: 1.5 times `context_tiers[0].output` "0.480003" is finer than a whole number of picodollars for one token: write `context_tiers[0].output` as "0.480002" or "0.480004", or another multiplier
        13: flex: 0.8 times `context_tiers[0].output` "0.480003" is finer than a whole number of picodollars for one token: write `context_tiers[0].output` as "0.48" or "0.480005", or another multiplier
    above_prompt_tokens: 128000,  => 
        6: context_tiers[0].above_prompt_tokens: missing: the tokens of prompt above which it holds, such as 128000
    above_prompt_tokens: 128000 => above_prompt_tokens: 0
        6: context_tiers[0].above_prompt_tokens: expected a whole number from 1 to 4294967295, found `0`
    above_prompt_tokens: 128000 => above_prompt_tokens: 200000
        6: context_tiers[0].above_prompt_tokens: no prompt is longer than context_length 200000: the tier never holds; leave it out
    , output: \"0.48\" => 
        6: context_tiers[0].output: missing: USD per million tokens of answer, such as "0.32"
    output: \"0.48\" => output: \"0.30\"
        6: context_tiers[0].output: a longer prompt may not cost less than a shorter one: `output` is "0.3", and "0.32" below it
    cached_input: \"0.04\",  => cached_input: \"0.01\", 
        6: context_tiers[0].cached_input: a longer prompt may not cost less than a shorter one: `cached_input` is "0.01", and "0.02" below it
    - { above => - { above_prompt_tokens: 128000, input: \"0.20\", output: \"0.48\" }\n  - { above
        7: context_tiers[1].above_prompt_tokens: a context tier begins above the one before it: write `above_prompt_tokens` of at least 128001
        7: context_tiers[1].cached_input: a longer prompt may not cost less than a shorter one: `cached_input` is "0.04", and "0.2" below it
    - { above => above: 1\n  x: { above
        6: context_tiers: expected a list, found a mapping: begin each item with `- `, or put it in `[ ]`
    "#);
}

#[test]
fn an_embedding_model_has_tiers_without_output_and_no_images() {
    let embedding = |text| parse_price(text, Task::Embedding, Some(8192));
    let tiers = r#"{"input":"0.01","context_tiers":[{"above_prompt_tokens":4096,"input":"0.02"}]}"#;
    assert_eq!(embedding(tiers).unwrap().context_tiers[0].output.picodollars(), 0);
    let faults = embedding(r#"{"input":"0.01","per_image":"0.1","output":"0"}"#).unwrap_err();
    insta::assert_snapshot!(faults, @r#"
    price:1:29: per_image: images are counted in chat messages alone; leave it out
    price:1:44: output: an embedding model produces no tokens; leave out their price
    "#);
    insta::assert_snapshot!(embedding("").unwrap_err(), @r#"price:1:1: there is no price"#);
}
