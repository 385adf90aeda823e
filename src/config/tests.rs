//! What is said about files that do not hold, and that nothing makes the reader panic.
#![expect(clippy::unwrap_used, reason = "a test may stop on a fault")]

use super::*;
use farebox_domain::catalog::{EngineKind, KvFeed, Routing, Task};
use farebox_domain::limits::RateLimits;
use proptest::prelude::*;
use std::time::Duration;

/// A file in which everything that can be said is said.
const GOOD: &str = r#"
models:
  - id: org/model-a
    aliases: [a, model-a]
    task: chat
    context_length: 131072
    max_output_tokens: 16384
    price: { input: "0.10", cached_input: "0.02", output: "0.32" }
    engines:
      - { engine: vllm-a, serves: org/Model-A, lora: null }
      - { engine: other }
    routing: round_robin
  - id: org/embedder
    task: embedding
    context_length: 512
    price: { input: "0.005" }
    engines: [{ engine: other, serves: e }]
engines:
  - { name: vllm-a, kind: vllm, url: "http://10.0.0.4:8000/", api_key_env: VLLM_A_KEY, max_concurrent: 256 }
  - { name: other, kind: llama.cpp, url: "https://engines.example/other" }
limits:
  concurrent_requests: 300
  requests_per_minute: null
  tokens_per_minute: null
server: { body_limit_bytes: 0x100000, drain_deadline: 0, write_timeout: 10m }
timeouts: { connect: "500ms", total: 2h }
retries: { attempts: 5, time: "30 s", backoff: 1, budget_percent: 50, budget_min_per_second: 3 }
queue: { size: 50, flex: 1h }
"#;

fn faults_of(text: &str) -> String {
    match parse(text, "models.yaml") {
        Ok(_) => "it holds".to_owned(),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn a_good_file_becomes_values() {
    let settings = parse(GOOD, "models.yaml").unwrap();
    let catalog = &settings.catalog;
    let model = catalog.find("a").unwrap();
    assert_eq!(model.id.as_str(), "org/model-a");
    assert_eq!((model.task, model.routing), (Task::Chat, Routing::RoundRobin));
    assert_eq!((model.context_length, model.max_output_tokens), (131_072, 16_384));
    assert_eq!(model.price.input.to_string(), "0.1");
    assert_eq!(model.deployments[0].serves, "org/Model-A");
    assert_eq!(
        model.deployments[1].serves, "org/model-a",
        "the id where nothing is said"
    );
    let queue = settings.queue;
    assert_eq!((queue.size, queue.flex), (50, Duration::from_secs(3600)));
    assert_eq!(queue.default, Duration::from_secs(30), "where nothing is said");
    let embedder = catalog.find("org/embedder").unwrap();
    assert_eq!(
        (embedder.max_output_tokens, embedder.price.output.picodollars()),
        (512, 0)
    );
    assert_eq!(embedder.price.cached_input, None);
    let engine = &catalog.engines()[0];
    assert_eq!(
        (engine.kind, engine.url.as_str()),
        (EngineKind::Vllm, "http://10.0.0.4:8000")
    );
    assert_eq!(engine.api_key_env.as_deref(), Some("VLLM_A_KEY"));
    assert_eq!(
        (engine.max_concurrent, catalog.engines()[1].max_concurrent),
        (Some(256), None)
    );
    assert_eq!(catalog.limits().concurrent_requests, 300);
    assert_eq!(settings.server.body_limit_bytes, 1 << 20);
    assert_eq!(settings.server.drain_deadline, Duration::ZERO);
    assert_eq!(settings.server.write_timeout, Duration::from_secs(600));
    assert_eq!(
        settings.server.header_timeout,
        ServerSettings::default().header_timeout
    );
    assert_eq!(settings.timeouts.connect, Duration::from_millis(500));
    assert_eq!(settings.timeouts.total, Duration::from_secs(7200));
    assert_eq!(
        (settings.retry.attempts, settings.retry.time),
        (5, Duration::from_secs(30))
    );
    let share = settings.retry.share;
    assert_eq!((share.percent, share.min_per_second), (50, 3));
}

#[test]
fn an_embedding_model_may_say_how_many_inputs_a_call_has() {
    let of_embedder = |inputs: &str| {
        let with = format!("    context_length: 512\n    max_batch_inputs: {inputs}\n");
        GOOD.replace("    context_length: 512\n", &with)
    };
    let inputs = |text: &str| {
        let settings = parse(text, "models.yaml").unwrap();
        settings.catalog.find("org/embedder").unwrap().max_batch_inputs
    };
    assert_eq!((inputs(GOOD), inputs(&of_embedder("32"))), (None, Some(32)));
    let of_chat = GOOD.replace("    routing: round_robin\n", "    max_batch_inputs: 32\n");
    let faults = [of_embedder("0"), of_embedder("2049"), of_chat].map(|text| faults_of(&text));
    insta::assert_snapshot!(faults.join("\n"), @"
    models.yaml:16:23: models[1].max_batch_inputs: expected a whole number from 1 to 2048, found `0`
    models.yaml:16:23: models[1].max_batch_inputs: expected a whole number from 1 to 2048, found `2049`
    models.yaml:12:23: models[0].max_batch_inputs: only an embedding model's requests have inputs; leave it out
    ");
}

#[test]
fn a_model_may_name_others_that_stand_in_for_it() {
    let text = |fallback: &str| {
        let with = format!("    routing: round_robin\n    fallback: {fallback}\n");
        GOOD.replace("    routing: round_robin\n", &with)
            .replace("  - id: org/embedder", &format!("{SECOND}  - id: org/embedder"))
    };
    let settings = parse(&text("[org/model-b]"), "models.yaml").unwrap();
    let fallback = &settings.catalog.find("a").unwrap().fallback;
    assert_eq!(fallback[..], ["org/model-b".into()]);
    let said = [
        "[org/model-c, org/embedder]",
        "[org/model-a]",
        "org/model-b",
        "[a b]",
    ]
    .map(|fallback| faults_of(&text(fallback)));
    insta::assert_snapshot!(said.join("\n"), @"
    models.yaml:13:16: models[0].fallback[0]: there is no model with the id `org/model-c`; did you mean `org/model-a`?
    models.yaml:13:29: models[0].fallback[1]: `org/embedder` has another task
    models.yaml:13:16: models[0].fallback[0]: a model does not stand in for itself
    models.yaml:13:15: models[0].fallback: expected a list, found a text: begin each item with `- `, or put it in `[ ]`
    models.yaml:13:16: models[0].fallback[0]: a model's name is 1 to 200 printable ASCII characters without spaces, not `a b`
    ");
}

const SECOND: &str = "  - { id: org/model-b, task: chat, context_length: 4096, price: { input: \"1\", output: \"1\" }, engines: [{ engine: other }] }\n";

#[test]
fn the_demo_holds_at_any_address() {
    let demo = Settings::demo("http://127.0.0.1:4242").unwrap();
    assert_eq!(demo.catalog.engines()[0].url, "http://127.0.0.1:4242");
    assert!(demo.catalog.find("simulated").is_some() && demo.catalog.find("simulated-embedding").is_some());
    assert!(parse(DEMO, "demo.yaml").is_ok());
    assert!(Settings::demo("http://a\" }\n").is_err());
}

#[test]
fn an_adapter_is_what_its_base_is_under_its_own_name_and_at_its_own_price() {
    let adapters = r#"    routing: round_robin
    adapters:
      - { id: org/red, name: red, path: /adapters/red, price_multiplier: "1.5" }
      - { id: org/blue }
"#;
    let text = GOOD.replace("    routing: round_robin\n", adapters);
    let settings = parse(&text, "models.yaml").unwrap();
    let (base, red) = (
        settings.catalog.find("a").unwrap(),
        settings.catalog.find("org/red").unwrap(),
    );
    let adapter = red.adapter.as_ref().unwrap();
    assert_eq!(
        (adapter.name.as_str(), adapter.path.as_deref()),
        ("red", Some("/adapters/red"))
    );
    assert_eq!((red.limited_as(), base.limited_as()), (&base.id, &base.id));
    assert_eq!(red.price.output.to_string(), "0.48");
    assert_eq!((&red.deployments, red.routing), (&base.deployments, base.routing));
    let blue = settings.catalog.find("org/blue").unwrap();
    assert_eq!(
        (blue.price.clone(), blue.adapter.as_ref().unwrap().name.as_str()),
        (base.price.clone(), "org/blue")
    );
    let bad = text
        .replace("id: org/blue", "id: a, serves: x")
        .replace("\"1.5\"", "1.5")
        .replace(
            "    engines: [{ engine: other, serves: e }]",
            "    engines: [{ engine: nowhere }]\n    adapters: [{ id: c }]",
        );
    insta::assert_snapshot!(faults_of(&bad), @r#"
    models.yaml:14:74: models[0].adapters[0].price_multiplier: expected a text, found a number; write "1.5" in quotes, as YAML's numbers are rounded when they are read
    models.yaml:15:15: models[0].adapters[1].id: `a` already names another model, on line 4
    models.yaml:15:18: models[0].adapters[1].serves: there is no such key here; the keys are id, name, path, price_multiplier
    models.yaml:20:25: models[1].engines[0].engine: there is no engine `nowhere` under `engines`
    models.yaml:21:15: models[1].adapters: a model that embeds has no adapters here; leave them out
    "#);
}

#[test]
fn every_fault_of_a_file_is_listed_at_once() {
    let bad = r#"
models:
  - id: org/model a
    alias: [a]
    task: rerank
    context_length: "4096"
    price: { input: 0.10, output: "0.1234567" }
    engines:
      - { engine: vllm-b, serves: x, lora: adapter-1 }
  - id: twin
    aliases: twin
    task: chat
    context_length: 4096
    max_output_tokens: 8192
    price: { input: "0.10" }
    routing: prefix
    engines: []
  - id: twin
    task: embedding
    context_length: 0
    price: { input: "free", output: "0" }
    engines: [{ engine: vllm-a }, { engine: vllm-a, model: y }]
engines:
  - { name: vllm-a, kind: vlm, url: "http://10.0.0.4:8000/v1", api_key_env: sk-12345 }
  - { name: vllm-a, kind: vllm, url: "http://10.0.0.5:8000", max_concurrent: -1 }
limits:
  concurrent_requests: 200
  concurrent_requests: 300
  requests_per_minute: 0
timeouts: { connect: "1 fortnight", total: 90h }
"#;
    insta::assert_snapshot!(faults_of(bad), @r#"
    models.yaml:3:9: models[0].id: a model's name is 1 to 200 printable ASCII characters without spaces, not `org/model a`
    models.yaml:4:5: models[0].alias: there is no such key; did you mean `aliases`?
    models.yaml:5:11: models[0].task: `rerank` is not yet supported by this version; write one of chat, embedding
    models.yaml:6:21: models[0].context_length: expected a whole number from 1 to 4294967295, found a text; leave out the quotes
    models.yaml:7:21: models[0].price.input: expected a text, found a number; write "0.10" in quotes, as YAML's numbers are rounded when they are read
    models.yaml:7:35: models[0].price.output: a price has at most six decimals, so that one token is a whole number of picodollars, not `0.1234567`
    models.yaml:9:19: models[0].engines[0].engine: there is no engine `vllm-b` under `engines`; did you mean `vllm-a`?
    models.yaml:9:44: models[0].engines[0].lora: adapters are listed under the model's `adapters`, and go to any of its engines; where an engine serves one under a name of its own, put that name in `serves`
    models.yaml:11:14: models[1].aliases: expected a list, found a text: begin each item with `- `, or put it in `[ ]`
    models.yaml:14:24: models[1].max_output_tokens: max_output_tokens 8192 is more than context_length 4096
    models.yaml:15:12: models[1].price.output: missing: USD per million tokens of answer, such as "0.32"
    models.yaml:17:14: models[1].engines: a model needs at least one engine
    models.yaml:18:9: models[2].id: `twin` already names another model, on line 10
    models.yaml:20:21: models[2].context_length: expected a whole number from 1 to 4294967295, found `0`
    models.yaml:21:21: models[2].price.input: a price is a decimal such as "0.10": USD per million tokens, not `free`
    models.yaml:21:37: models[2].price.output: an embedding model produces no tokens; leave out their price
    models.yaml:22:45: models[2].engines[1].engine: the engine `vllm-a` is listed twice for this model
    models.yaml:22:53: models[2].engines[1].model: there is no such key here; the keys are engine, serves, lora
    models.yaml:24:27: engines[0].kind: expected one of vllm, sglang, llama.cpp, trtllm, ollama, tei, openai (any other server that speaks OpenAI's API), found `vlm`; did you mean `vllm`?
    models.yaml:24:37: engines[0].url: leave out the `/v1`, farebox adds it: `http://10.0.0.4:8000`
    models.yaml:24:77: engines[0].api_key_env: expected the name of the environment variable that holds the key, such as VLLM_A_KEY (letters, digits and `_`), not the key itself
    models.yaml:25:13: engines[1].name: the engine `vllm-a` is described twice; first on line 24
    models.yaml:25:78: engines[1].max_concurrent: expected a whole number from 1 to 1000000, found `-1`
    models.yaml:28:3: limits.concurrent_requests: this key is here twice; first on line 27
    models.yaml:29:24: limits.requests_per_minute: expected a whole number from 1 to 1000000000, found `0`
    models.yaml:30:22: timeouts.connect: expected a time such as "500ms", "30s", "10m" or "2h", or seconds as a whole number; found `1 fortnight`
    models.yaml:30:44: timeouts.total: expected a time from 1ms to 24h, found `90h`
    "#);
}

/// One thing of the good file that is changed, and to what.
const CHANGES: &[(&str, &str)] = &[
    // keys
    ("routing: round_robin", "Routing: round_robin"),
    ("routing: round_robin", "colour: red"),
    ("routing: round_robin", "\"a\\nb\": red"),
    ("routing: round_robin", "? [a]\n    : b"),
    ("routing: round_robin", "id: again"),
    ("retries: {", "retry: {"),
    ("queue: { size: 50", "queue: { size: -1"),
    ("flex: 1h", "flex: 0"),
    ("engines:\n  - { name: vllm-a", "engine:\n  - { name: vllm-a"),
    // names
    ("id: org/embedder", "id:"),
    ("id: org/embedder", "id: \"\""),
    ("id: org/embedder", "id: 4096"),
    ("id: org/embedder", "id: true"),
    ("id: org/embedder", "id: [a]"),
    ("id: org/embedder", "id: modèle"),
    ("id: org/embedder", "id: org/model-a"),
    ("id: org/embedder", "id: a"),
    ("[a, model-a]", "[a, org/model-a]"),
    ("[a, model-a]", "[a, a]"),
    ("[a, model-a]", "{ a: b }"),
    ("[a, model-a]", "null"),
    ("name: other", "name: Other"),
    ("name: other", "name: vllm-a"),
    ("engine: vllm-a,", "engine: vllm_a,"),
    ("engine: vllm-a,", "engine: nowhere,"),
    ("engine: vllm-a,", "engine: 7,"),
    ("engine: vllm-a, serves: org/Model-A", "engine: other"),
    ("- { engine: other }", "- other"),
    ("serves: e ", "serves: \"\\0\" "),
    ("lora: null", "lora: adapter-1"),
    ("engines: [{ engine: other, serves: e }]", "engines: []"),
    ("engines: [{ engine: other, serves: e }]", "engines: other"),
    ("    engines: [{ engine: other, serves: e }]\n", ""),
    // choices
    ("task: embedding", "task: embeddings"),
    ("task: embedding", "task: rerank"),
    ("task: embedding", "task: painting"),
    ("task: embedding", "task: chat"),
    ("    task: embedding\n", ""),
    ("routing: round_robin", "routing: prefix"),
    ("routing: round_robin", "routing: random"),
    ("kind: llama.cpp", "kind: llamacpp"),
    ("kind: llama.cpp", "kind: tgi"),
    // numbers
    ("context_length: 512", "context_length: 0"),
    ("context_length: 512", "context_length: 512.0"),
    ("context_length: 512", "context_length: \"512\""),
    ("context_length: 512", "context_length: many"),
    ("context_length: 512", "context_length: 4294967296"),
    ("context_length: 512", "context_length: 99999999999999999999999"),
    ("context_length: 512", "context_length: -1"),
    (
        "context_length: 512",
        "context_length: 512\n    max_output_tokens: 1",
    ),
    ("max_output_tokens: 16384", "max_output_tokens: 131073"),
    ("max_concurrent: 256", "max_concurrent: 0"),
    ("concurrent_requests: 300", "concurrent_requests: 0"),
    ("concurrent_requests: 300", "concurrent_requests: null"),
    ("tokens_per_minute: null", "tokens_per_minute: 0"),
    // prices
    ("input: \"0.005\"", "input: 0.005"),
    ("input: \"0.005\"", "input: 5"),
    ("input: \"0.005\"", "input: null"),
    ("input: \"0.005\"", "input: \"-1\""),
    ("input: \"0.005\"", "input: \"$0.005\""),
    ("input: \"0.005\"", "input: \"0.0000001\""),
    ("input: \"0.005\"", "input: \"1000001\""),
    ("input: \"0.005\"", "input: \"0.005\", output: \"0\""),
    ("input: \"0.005\"", "output: \"0.005\""),
    ("cached_input: \"0.02\"", "cached_input: null"),
    (", output: \"0.32\"", ""),
    ("    price: { input: \"0.005\" }\n", ""),
    ("price: { input: \"0.005\" }", "price: \"0.005\""),
    // addresses and keys
    ("https://engines.example/other", "https://engines.example/v1/"),
    (
        "https://engines.example/other",
        "https://me:s3cret@engines.example",
    ),
    (
        "https://engines.example/other",
        "https://engines.example/?key=s3cret",
    ),
    ("https://engines.example/other", "engines.example"),
    ("VLLM_A_KEY", "sk-s3cret"),
    // times
    ("500ms", "0ms"),
    ("500ms", "1.5s"),
    ("500ms", "1 day"),
    ("total: 2h", "total: 25h"),
    ("total: 2h", "total: 18446744073709551615h"),
    ("total: 2h", "total: [1]"),
    ("attempts: 5", "attempts: 0"),
    ("0x100000", "12"),
    // YAML
    ("aliases: [a, model-a]", "aliases: [a, model-a"),
    ("\nlimits:", "\n limits:"),
    ("task: embedding", "\ttask: embedding"),
    ("id: org/embedder", "id: &anchor org/embedder"),
    ("id: org/embedder", "id: !!str 4096"),
    ("\nlimits:", "\n---\nlimits:"),
    ("serves: e ", NESTED),
];

/// Forty lists in each other.
const NESTED: &str =
    "serves: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]] ";

#[test]
fn every_rule_says_what_is_wrong_and_where() {
    let mut listing = String::new();
    for (from, to) in CHANGES {
        assert_eq!(GOOD.matches(from).count(), 1, "{from} is in the good file once");
        let said = faults_of(&GOOD.replacen(from, to, 1));
        assert!(!said.contains("s3cret"), "{said}");
        let [from, to] = [from, to].map(|text| {
            text.chars()
                .take(44)
                .collect::<String>()
                .escape_debug()
                .to_string()
        });
        listing.push_str(&format!("{from} => {to}\n"));
        for line in said.lines() {
            listing.push_str(&format!("    {}\n", line.trim_start_matches("models.yaml:")));
        }
    }
    insta::assert_snapshot!(listing, @r#"
    routing: round_robin => Routing: round_robin
        12:5: models[0].Routing: there is no such key; did you mean `routing`?
    routing: round_robin => colour: red
        12:5: models[0].colour: there is no such key here; the keys are id, aliases, task, context_length, max_output_tokens, price, engines, max_batch_inputs, routing, isolate_cache, limits, tokenizer, chat_template, fallback, adapters
    routing: round_robin => \"a\\nb\": red
        12:5: models[0].`a\nb`: there is no such key here; the keys are id, aliases, task, context_length, max_output_tokens, price, engines, max_batch_inputs, routing, isolate_cache, limits, tokenizer, chat_template, fallback, adapters
    routing: round_robin => ? [a]\n    : b
        12:7: models[0]: a key is a text
    routing: round_robin => id: again
        12:5: models[0].id: this key is here twice; first on line 3
    retries: { => retry: {
        27:1: retry: there is no such key here; the keys are models, engines, limits, queue, server, timeouts, retries, export
    queue: { size: 50 => queue: { size: -1
        28:16: queue.size: expected a whole number from 0 to 100000, found `-1`
    flex: 1h => flex: 0
        28:26: queue.flex: expected a time from 1ms to 24h, found `0`
    engines:\n  - { name: vllm-a => engine:\n  - { name: vllm-a
        2:1: engines: missing: the list of engines that serve the models
        18:1: engine: there is no such key; did you mean `engines`?
    id: org/embedder => id:
        13:5: models[1].id: expected a text, found nothing
    id: org/embedder => id: \"\"
        13:9: models[1].id: a model's name is 1 to 200 printable ASCII characters without spaces, not ``
    id: org/embedder => id: 4096
        13:9: models[1].id: expected a text, found a number; put it in quotes
    id: org/embedder => id: true
        13:9: models[1].id: expected a text, found a truth value; put it in quotes
    id: org/embedder => id: [a]
        13:9: models[1].id: expected a text, found a list
    id: org/embedder => id: modèle
        13:9: models[1].id: a model's name is 1 to 200 printable ASCII characters without spaces, not `modèle`
    id: org/embedder => id: org/model-a
        13:9: models[1].id: `org/model-a` already names another model, on line 3
    id: org/embedder => id: a
        13:9: models[1].id: `a` already names another model, on line 4
    [a, model-a] => [a, org/model-a]
        4:18: models[0].aliases[1]: `org/model-a` already names this model, on line 3
    [a, model-a] => [a, a]
        4:18: models[0].aliases[1]: `a` already names this model, on line 4
    [a, model-a] => { a: b }
        4:14: models[0].aliases: expected a list, found a mapping: begin each item with `- `, or put it in `[ ]`
    [a, model-a] => null
        it holds
    name: other => name: Other
        11:19: models[0].engines[1].engine: there is no engine `other` under `engines`
        17:25: models[1].engines[0].engine: there is no engine `other` under `engines`
        20:13: engines[1].name: an engine's name is 1 to 100 of a-z, 0-9, `.`, `_` and `-`, not `Other`
    name: other => name: vllm-a
        11:19: models[0].engines[1].engine: there is no engine `other` under `engines`
        17:25: models[1].engines[0].engine: there is no engine `other` under `engines`
        20:13: engines[1].name: the engine `vllm-a` is described twice; first on line 19
    engine: vllm-a, => engine: vllm_a,
        10:19: models[0].engines[0].engine: there is no engine `vllm_a` under `engines`; did you mean `vllm-a`?
    engine: vllm-a, => engine: nowhere,
        10:19: models[0].engines[0].engine: there is no engine `nowhere` under `engines`
    engine: vllm-a, => engine: 7,
        10:19: models[0].engines[0].engine: expected a text, found a number; put it in quotes
    engine: vllm-a, serves: org/Model-A => engine: other
        11:19: models[0].engines[1].engine: the engine `other` is listed twice for this model
    - { engine: other } => - other
        11:9: models[0].engines[1]: expected a mapping with the keys engine, serves, lora, found a text
    serves: e  => serves: \"\\0\" 
        17:40: models[1].engines[0].serves: what an engine calls a model is 1 to 1000 bytes without control characters
    lora: null => lora: adapter-1
        10:54: models[0].engines[0].lora: adapters are listed under the model's `adapters`, and go to any of its engines; where an engine serves one under a name of its own, put that name in `serves`
    engines: [{ engine: other, serves: e }] => engines: []
        17:14: models[1].engines: a model needs at least one engine
    engines: [{ engine: other, serves: e }] => engines: other
        17:14: models[1].engines: expected a list, found a text: begin each item with `- `, or put it in `[ ]`
        engines: [{ engine: other, serves: e }]\n => 
        13:5: models[1].engines: missing: who serves it, by their names under the top level's `engines`
    task: embedding => task: embeddings
        14:11: models[1].task: expected one of chat, embedding, found `embeddings`; did you mean `embedding`?
    task: embedding => task: rerank
        14:11: models[1].task: `rerank` is not yet supported by this version; write one of chat, embedding
    task: embedding => task: painting
        14:11: models[1].task: expected one of chat, embedding, found `painting`
    task: embedding => task: chat
        16:12: models[1].price.output: missing: USD per million tokens of answer, such as "0.32"
        task: embedding\n => 
        13:5: models[1].task: missing: one of chat, embedding
    routing: round_robin => routing: prefix
        it holds
    routing: round_robin => routing: random
        12:14: models[0].routing: expected one of least_loaded, round_robin, prefix, found `random`
    kind: llama.cpp => kind: llamacpp
        20:26: engines[1].kind: expected one of vllm, sglang, llama.cpp, trtllm, ollama, tei, openai (any other server that speaks OpenAI's API), found `llamacpp`; did you mean `llama.cpp`?
    kind: llama.cpp => kind: tgi
        20:26: engines[1].kind: expected one of vllm, sglang, llama.cpp, trtllm, ollama, tei, openai (any other server that speaks OpenAI's API), found `tgi`; did you mean `tei`?
    context_length: 512 => context_length: 0
        15:21: models[1].context_length: expected a whole number from 1 to 4294967295, found `0`
    context_length: 512 => context_length: 512.0
        15:21: models[1].context_length: expected a whole number from 1 to 4294967295, found `512.0`
    context_length: 512 => context_length: \"512\"
        15:21: models[1].context_length: expected a whole number from 1 to 4294967295, found a text; leave out the quotes
    context_length: 512 => context_length: many
        15:21: models[1].context_length: expected a whole number from 1 to 4294967295, found a text
    context_length: 512 => context_length: 4294967296
        15:21: models[1].context_length: expected a whole number from 1 to 4294967295, found `4294967296`
    context_length: 512 => context_length: 99999999999999999999999
        15:21: models[1].context_length: expected a whole number from 1 to 4294967295, found `99999999999999999999999`
    context_length: 512 => context_length: -1
        15:21: models[1].context_length: expected a whole number from 1 to 4294967295, found `-1`
    context_length: 512 => context_length: 512\n    max_output_tokens: 1
        16:24: models[1].max_output_tokens: an embedding model produces no tokens; leave it out
    max_output_tokens: 16384 => max_output_tokens: 131073
        7:24: models[0].max_output_tokens: max_output_tokens 131073 is more than context_length 131072
    max_concurrent: 256 => max_concurrent: 0
        19:104: engines[0].max_concurrent: expected a whole number from 1 to 1000000, found `0`
    concurrent_requests: 300 => concurrent_requests: 0
        22:24: limits.concurrent_requests: expected a whole number from 1 to 1000000, found `0`
    concurrent_requests: 300 => concurrent_requests: null
        22:3: limits.concurrent_requests: an account always has a limit; write a number
    tokens_per_minute: null => tokens_per_minute: 0
        24:22: limits.tokens_per_minute: expected a whole number from 1 to 1000000000, found `0`
    input: \"0.005\" => input: 0.005
        16:21: models[1].price.input: expected a text, found a number; write "0.005" in quotes, as YAML's numbers are rounded when they are read
    input: \"0.005\" => input: 5
        16:21: models[1].price.input: expected a text, found a number; write "5" in quotes, as YAML's numbers are rounded when they are read
    input: \"0.005\" => input: null
        16:14: models[1].price.input: expected a text, found nothing
    input: \"0.005\" => input: \"-1\"
        16:21: models[1].price.input: a price is a decimal such as "0.10": USD per million tokens, not `-1`
    input: \"0.005\" => input: \"$0.005\"
        16:21: models[1].price.input: a price is a decimal such as "0.10": USD per million tokens, not `$0.005`
    input: \"0.005\" => input: \"0.0000001\"
        16:21: models[1].price.input: a price has at most six decimals, so that one token is a whole number of picodollars, not `0.0000001`
    input: \"0.005\" => input: \"1000001\"
        16:21: models[1].price.input: a price is at most 1000000 USD per million tokens, not `1000001`
    input: \"0.005\" => input: \"0.005\", output: \"0\"
        16:38: models[1].price.output: an embedding model produces no tokens; leave out their price
    input: \"0.005\" => output: \"0.005\"
        16:12: models[1].price.input: missing: USD per million tokens of prompt, such as "0.10"
        16:22: models[1].price.output: an embedding model produces no tokens; leave out their price
    cached_input: \"0.02\" => cached_input: null
        it holds
    , output: \"0.32\" => 
        8:12: models[0].price.output: missing: USD per million tokens of answer, such as "0.32"
        price: { input: \"0.005\" }\n => 
        13:5: models[1].price: missing: what its tokens cost; nothing is free unless it says "0"
    price: { input: \"0.005\" } => price: \"0.005\"
        16:12: models[1].price: expected a mapping with the keys input, cached_input, output, context_tiers, per_request, per_engine_second, per_image, per_million_characters, per_audio_second, priority, flex, found a text
    https://engines.example/other => https://engines.example/v1/
        20:42: engines[1].url: leave out the `/v1`, farebox adds it: `https://engines.example`
    https://engines.example/other => https://me:s3cret@engines.example
        20:42: engines[1].url: an engine's URL has no user and password; name the key's variable in `api_key_env`
    https://engines.example/other => https://engines.example/?key=s3cret
        20:42: engines[1].url: an engine's URL has no query and no fragment; paths are put at its end
    https://engines.example/other => engines.example
        20:42: engines[1].url: an engine's URL begins with http:// or https://, unlike `engines.example`
    VLLM_A_KEY => sk-s3cret
        19:76: engines[0].api_key_env: expected the name of the environment variable that holds the key, such as VLLM_A_KEY (letters, digits and `_`), not the key itself
    500ms => 0ms
        26:22: timeouts.connect: expected a time from 1ms to 24h, found `0ms`
    500ms => 1.5s
        26:22: timeouts.connect: expected a time such as "500ms", "30s", "10m" or "2h", or seconds as a whole number; found `1.5s`
    500ms => 1 day
        26:22: timeouts.connect: expected a time such as "500ms", "30s", "10m" or "2h", or seconds as a whole number; found `1 day`
    total: 2h => total: 25h
        26:38: timeouts.total: expected a time from 1ms to 24h, found `25h`
    total: 2h => total: 18446744073709551615h
        26:38: timeouts.total: expected a time such as "500ms", "30s", "10m" or "2h", or seconds as a whole number; found `18446744073709551615h`
    total: 2h => total: [1]
        26:38: timeouts.total: expected a time such as "500ms", "30s", "10m" or "2h", or seconds as a whole number, found a list
    attempts: 5 => attempts: 0
        27:22: retries.attempts: expected a whole number from 1 to 100, found `0`
    0x100000 => 12
        25:29: server.body_limit_bytes: expected a whole number from 1024 to 1073741824, found `12`
    aliases: [a, model-a] => aliases: [a, model-a
        5:9: not YAML: illegal placement of ':' indicator
    \nlimits: => \n limits:
        21:2: not YAML: while parsing a block mapping, did not find expected key
    task: embedding => \ttask: embedding
        13:9: not YAML: while scanning a plain scalar, found a tab
    id: org/embedder => id: &anchor org/embedder
        13:9: YAML anchors and aliases (`&name`, `*name`) are not read here; write the value out
    id: org/embedder => id: !!str 4096
        13:9: YAML tags (`!...`) are not read here; leave it out, and quote what is a text
    \nlimits: => \n---\nlimits:
        22:1: a second document begins here; a file is one document, without another `---`
    serves: e  => serves: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
        17:67: nested deeper than anything that is read here
    "#);
}

/// Items that could not be read at all are passed over; the others keep their own numbers.
#[test]
fn faults_between_parts_keep_the_places_of_the_file() {
    let model = r#"{ id: a, task: chat, context_length: 1, price: { input: "0", output: "0" }, engines: [{ engine: e }] }"#;
    let engine = r#"{ name: f, kind: vllm, url: "http://h" }"#;
    let of = |models: &str, engines: &str| faults_of(&format!("models: [{models}]\nengines: [{engines}]\n"));
    let said = of(
        &format!("7,\n {model},\n {model}"),
        &format!("{engine},\n {engine}"),
    );
    insta::assert_snapshot!(said, @r#"
    models.yaml:1:10: models[0]: expected a mapping with the keys id, aliases, task, context_length, max_output_tokens, price, engines, max_batch_inputs, routing, isolate_cache, limits, tokenizer, chat_template, fallback, adapters, found a number
    models.yaml:2:98: models[1].engines[0].engine: there is no engine `e` under `engines`
    models.yaml:3:8: models[2].id: `a` already names another model, on line 2
    models.yaml:3:98: models[2].engines[0].engine: there is no engine `e` under `engines`
    models.yaml:5:10: engines[1].name: the engine `f` is described twice; first on line 4
    "#);
    // An engine that is unread may be the one that is meant.
    insta::assert_snapshot!(of(model, &format!("8,\n {engine},\n {engine}")), @r#"
    models.yaml:2:11: engines[0]: expected a mapping with the keys name, kind, url, api_key_env, max_concurrent, cache_tokens, kv_events, found a number
    models.yaml:4:10: engines[2].name: the engine `f` is described twice; first on line 3
    "#);
}

#[test]
fn an_engines_events_are_heard_where_somebody_is_routed_by_them() {
    let told = |model: &str, kind: &str, events: &str| {
        format!(
            "models:\n  - {{ id: a, task: chat, context_length: 9, price: {{ input: \"0\", output: \"0\" }}, \
             engines: [{{ engine: e }}]{model} }}\nengines:\n  - {{ name: e, kind: {kind}, url: \"http://h\", \
             kv_events: {events} }}\n"
        )
    };
    let routed = ", routing: prefix, tokenizer: t.json";
    let settings = parse(
        &told(
            routed,
            "vllm",
            "{ connect: \"tcp://10.0.0.4:5557\", replay: \"tcp://[::1]:5558\" }",
        ),
        "models.yaml",
    );
    let events = settings.unwrap().catalog.engines()[0].kv_events.clone().unwrap();
    assert_eq!(events.feed, KvFeed::Connect("tcp://10.0.0.4:5557".into()));
    assert_eq!(events.replay.as_deref(), Some("tcp://[::1]:5558"));
    assert!(
        parse(
            &told(routed, "sglang", "{ bind: \"tcp://*:5557\" }"),
            "models.yaml"
        )
        .is_ok()
    );

    let good = "{ connect: \"tcp://10.0.0.4:5557\" }";
    let refused = [
        told(", routing: prefix", "vllm", good),
        told(", tokenizer: t.json", "vllm", good),
        told(routed, "ollama", good),
        told(
            routed,
            "vllm",
            "{ connect: \"10.0.0.4:5557\", bind: \"tcp://*:5557\" }",
        ),
        told(routed, "vllm", "{ replay: \"tcp://*:5557\" }"),
        told(routed, "vllm", "true"),
        // What was meant by one that is unread is not known.
        told(", routing: prefixes", "vllm", good),
    ];
    insta::assert_snapshot!(refused.map(|text| faults_of(&text)).join("\n"), @r#"
    models.yaml:2:101: models[0].engines[0].engine: `e` tells what its cache holds in tokens (kv_events), and a prompt's tokens are to be found in it: name the model's tokenizer.json in `tokenizer`, and its template in `chat_template`
    models.yaml:4:13: engines[0].name: kv_events are of use to models with `routing: prefix` alone, and `e` serves none
    models.yaml:4:58: engines[0].kv_events: engines of the kind ollama do not tell what their caches hold; vllm and sglang do
    models.yaml:4:56: engines[0].kv_events: one of two: `connect`, where the engine binds its endpoint (it has a `*`), or `bind`, where it connects to farebox
    models.yaml:4:67: engines[0].kv_events.connect: expected an endpoint such as tcp://10.0.0.4:5557, found `10.0.0.4:5557`
    models.yaml:4:56: engines[0].kv_events: one of two: `connect`, where the engine binds its endpoint (it has a `*`), or `bind`, where it connects to farebox
    models.yaml:4:66: engines[0].kv_events.replay: `*` is every address of this host, and nobody's to connect to: name the engine's
    models.yaml:4:56: engines[0].kv_events: expected a mapping with the keys connect, bind, replay, found a truth value
    models.yaml:2:116: models[0].routing: expected one of least_loaded, round_robin, prefix, found `prefixes`; did you mean `prefix`?
    "#);
}

#[test]
fn a_model_has_rates_besides_those_of_the_account() {
    let with = |limits| GOOD.replace("routing: round_robin", limits);
    let holds = with("limits: { requests_per_minute: 600, tokens_per_minute: null }");
    let catalog = parse(&holds, "models.yaml").unwrap().catalog;
    let of_model = RateLimits {
        requests: Some(600),
        tokens: None,
    };
    assert_eq!(catalog.find("a").unwrap().limits, of_model);
    assert!(catalog.find("org/embedder").unwrap().limits.is_empty() && catalog.limits().rates.is_empty());
    assert!(parse(&with("limits: null"), "models.yaml").is_ok());
    let faults = with(
        "limits:\n      requests_per_minute: 0\n      tokens_per_minute: \"9\"\n      concurrent_requests: 9",
    );
    insta::assert_snapshot!([faults_of(&faults), faults_of(&with("limits: 600"))].join("\n"), @r#"
    models.yaml:13:28: models[0].limits.requests_per_minute: expected a whole number from 1 to 1000000000, found `0`
    models.yaml:14:26: models[0].limits.tokens_per_minute: expected a whole number from 1 to 1000000000, found a text; leave out the quotes
    models.yaml:15:7: models[0].limits.concurrent_requests: there is no such key here; the keys are requests_per_minute, tokens_per_minute
    models.yaml:12:13: models[0].limits: expected a mapping with the keys requests_per_minute, tokens_per_minute, found a number
    "#);
}

#[test]
fn a_tokenizer_and_a_template_are_paths_beside_the_file() {
    let keys = "routing: round_robin\n    tokenizer: a/tokenizer.json\n    chat_template: /b/chat.jinja";
    let text = GOOD.replace("routing: round_robin", keys);
    let settings = parse(&text, "/etc/farebox/models.yaml").unwrap();
    let model = settings.catalog.find("a").unwrap();
    let files = model.prompt.as_ref().unwrap();
    assert_eq!(files.tokenizer, "/etc/farebox/a/tokenizer.json");
    assert_eq!(
        files.chat_template.as_deref(),
        Some("/b/chat.jinja"),
        "it is whole already"
    );
    assert_eq!(settings.catalog.find("org/embedder").unwrap().prompt, None);
    let fault = |about_template| {
        settings
            .prompt_fault(&model.id, about_template, "it is empty".into())
            .to_string()
    };
    assert_eq!(
        fault(false),
        "/etc/farebox/models.yaml:13:16: models[0].tokenizer: it is empty"
    );
    assert_eq!(
        fault(true),
        "/etc/farebox/models.yaml:14:20: models[0].chat_template: it is empty"
    );
}

#[test]
fn a_template_needs_a_chat_and_a_tokenizer() {
    let alone = GOOD
        .replace("routing: round_robin", "chat_template: chat.jinja")
        .replace(
            "context_length: 512",
            "context_length: 512\n    tokenizer: \"\"\n    chat_template: [chat.jinja]",
        );
    insta::assert_snapshot!(faults_of(&alone), @r#"
    models.yaml:12:20: models[0].chat_template: a template makes a text, and it takes a tokenizer to count it: name the model's tokenizer.json in `tokenizer`
    models.yaml:16:16: models[1].tokenizer: a path is 1 to 4000 bytes without control characters
    models.yaml:17:20: models[1].chat_template: expected a text, found a list
    models.yaml:17:20: models[1].chat_template: an embedding model has no chats; leave it out
    "#);
}

#[test]
fn a_file_without_a_document_says_what_it_needs() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "\u{feff}", "null"] {
        assert_eq!(
            faults_of(text),
            "models.yaml:1:1: the file is empty: it needs `models` and `engines`"
        );
    }
    insta::assert_snapshot!(faults_of("{}"), @r#"
    models.yaml:1:1: models: missing: the list of what is sold
    models.yaml:1:1: engines: missing: the list of engines that serve the models
    "#);
    insta::assert_snapshot!(faults_of("models: []\nengines:\n"), @r#"
    models.yaml:1:9: models: the list is empty
    models.yaml:2:1: engines: expected a list, found nothing
    "#);
    insta::assert_snapshot!(faults_of("[1]"), @"models.yaml:1:1: expected a mapping with the keys models, engines, limits, queue, server, timeouts, retries, export, found a list");
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let dir = tempfile::tempdir().unwrap();
    let said_of = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        load(&path)
            .unwrap_err()
            .to_string()
            .replace(&path.display().to_string(), name)
    };
    assert_eq!(
        said_of("a.yaml", b"a: b\n# \xc3\xa9\xff"),
        "a.yaml:2:4: the file is not UTF-8 here"
    );
    let too_long = vec![b'#'; FILE_BYTES_AT_MOST + 1];
    assert_eq!(
        said_of("a.yaml", &too_long),
        "a.yaml: the file is longer than 4 MiB"
    );
    assert_eq!(
        said_of("a.yaml", &too_long[1..]),
        "a.yaml:1:1: the file is empty: it needs `models` and `engines`"
    );
    let missing = load(&dir.path().join("missing.yaml")).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("missing.yaml: the file cannot be read: "),
        "{missing}"
    );
    assert!(load(dir.path()).is_err(), "a directory is not a file");
}

#[test]
fn faults_are_bounded_sorted_and_the_same_in_json() {
    let faults = parse(&"x: 1\n".repeat(1000), "models.yaml").unwrap_err();
    assert_eq!(faults.as_slice().len(), 201);
    let last = faults.as_slice().last().unwrap();
    assert_eq!(last.message, "there is more; these are 200 of the faults");
    assert!(
        faults
            .as_slice()
            .is_sorted_by_key(|fault| (fault.line, fault.column))
    );

    let json = serde_json::to_string(&parse("[1]", "models.yaml").unwrap_err()).unwrap();
    assert!(
        json.starts_with(r#"[{"file":"models.yaml","line":1,"column":1,"path":"","message":"expected"#),
        "{json}"
    );
}

/// What would take a recursive reader's stack, or a careless one's memory.
#[test]
fn hostile_files_are_refused_in_time() {
    for text in [
        "[".repeat(FILE_BYTES_AT_MOST),
        "- ".repeat(100_000),
        "{a: ".repeat(100_000),
        "a: &a [*a]\n".to_owned(),
        "- x\n".repeat(600_000),
        format!("models: [{}]", "{}, ".repeat(100_000)),
        format!("? {}", "? ".repeat(100_000)),
    ] {
        assert!(parse(&text, "models.yaml").is_err());
    }
}

#[test]
fn an_export_is_read_with_its_defaults() {
    let read = |export: &str| parse(&format!("{GOOD}\n{export}"), "models.yaml");
    assert_eq!(read("").unwrap().export, None);
    let export = read("export: { url: \"http://10.0.0.9:8888/api/v1/events\" }")
        .unwrap()
        .export;
    let export = export.unwrap();
    assert_eq!(export.url, "http://10.0.0.9:8888/api/v1/events");
    assert_eq!((export.format, export.batch), (ExportFormat::CloudEvents, 100));
    let all = "export:
  url: https://api.stripe.com/v1/billing/meter_events
  format: stripe
  api_key_env: STRIPE_KEY
  batch: 1000
  timeout: 3s
  customers: [{ account: acct_1, customer: cus_1 }]
";
    let export = read(all).unwrap().export.unwrap();
    assert_eq!((export.format, export.batch), (ExportFormat::Stripe, 1000));
    assert_eq!(export.customers["acct_1"], "cus_1");
}

#[test]
fn each_fault_of_an_export_is_told_with_its_line() {
    let faults = |export: &str| {
        let lines_before = GOOD.lines().count() + 1;
        let found = parse(&format!("{GOOD}\n{export}"), "models.yaml").unwrap_err();
        let shown = found.into_iter().map(|fault| {
            let (line, column) = (fault.line - lines_before, fault.column);
            format!("{line}:{column}: {}: {}", fault.path, fault.message)
        });
        shown.collect::<Vec<_>>().join("\n")
    };
    let told = faults(
        "export:
  url: http://me:s3cret@host/
  format: openmetre
  api_key_env: sk-s3cret
  batch: 0
  timeout: soon
  source: a b
  sauce: x
  customers:
    - { account: acct_1, customer: cus_1 }
    - { account: acct_1, customer: cus_2 }
    - { account: acct_2 }
",
    );
    assert!(!told.contains("s3cret"), "{told}");
    insta::assert_snapshot!(told, @r#"
    2:8: export.url: the receiver's URL has no user and password; name the key's variable in `api_key_env`
    3:11: export.format: expected one of cloudevents, lago, stripe, found `openmetre`
    4:16: export.api_key_env: expected the name of the environment variable that holds the key, such as VLLM_A_KEY (letters, digits and `_`), not the key itself
    5:10: export.batch: expected a whole number from 1 to 1000, found `0`
    6:12: export.timeout: expected a time such as "500ms", "30s", "10m" or "2h", or seconds as a whole number; found `soon`
    7:11: export.source: a source is 1 to 100 printable ASCII characters without spaces, not `a b`
    8:3: export.sauce: there is no such key; did you mean `source`?
    11:7: export.customers[1]: `acct_1` is here twice
    12:7: export.customers[2].customer: missing: what the receiver calls it
    "#);
    insta::assert_snapshot!(faults("export: { format: stripe, batch: 10 }"), @r#"
    1:9: export.url: missing: what is posted to, such as "http://10.0.0.9:8888/api/v1/events"
    1:9: export: Stripe knows customers by ids of its own: list them in `customers`, as { account: acct_..., customer: cus_... }
    "#);
    insta::assert_snapshot!(faults("export: { url: \"http://host/\", format: lago, batch: 101 }"), @"1:53: export.batch: Lago takes at most 100 events at once");
}

/// A value that stands for one that could not be read never leaves.
fn assert_nothing_unread(settings: &Settings) {
    for model in settings.catalog.models() {
        let names = model
            .aliases
            .iter()
            .map(String::as_str)
            .chain([model.id.as_str()]);
        assert!(
            names
                .chain(model.deployments.iter().map(|one| one.serves.as_str()))
                .all(|name| !name.starts_with('\0'))
        );
        assert_ne!(model.price.input, farebox_domain::price::TokenPrice::MAX);
    }
    assert!(
        settings
            .catalog
            .engines()
            .iter()
            .all(|engine| engine.url.starts_with("http"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(parse_bytes(&bytes, "models.yaml").is_err());
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(text in "[ \n:{}\\[\\],\"'#&*!|>%@`?~a0.-]{0,200}") {
        let _either = parse(&text, "models.yaml");
    }

    #[test]
    fn a_good_file_cut_and_mixed_is_read_or_refused(
        at in 0..GOOD.len(),
        removed in 0..40_usize,
        from in 0..GOOD.len(),
        copied in 0..40_usize,
    ) {
        let bytes = GOOD.as_bytes();
        let end = |start: usize, len: usize| (start + len).min(bytes.len());
        let mixed = [&bytes[..at], &bytes[from..end(from, copied)], &bytes[end(at, removed)..]].concat();
        match parse_bytes(&mixed, "models.yaml") {
            Ok(settings) => assert_nothing_unread(&settings),
            Err(faults) => prop_assert!(!faults.as_slice().is_empty()),
        }
    }
}
