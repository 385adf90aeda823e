//! What is said about files that do not hold, and that nothing makes the reader panic.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop on a fault")]

use super::*;
use farebox_domain::catalog::{EngineKind, Routing, Task};
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
retries: { attempts: 5, time: "30 s", backoff: 1 }
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
}

#[test]
fn the_demo_holds_at_any_address() {
    let demo = Settings::demo("http://127.0.0.1:4242").unwrap();
    assert_eq!(demo.catalog.engines()[0].url, "http://127.0.0.1:4242");
    assert!(demo.catalog.find("simulated").is_some() && demo.catalog.find("simulated-embedding").is_some());
    assert!(parse(DEMO, "demo.yaml").is_ok());
    assert!(Settings::demo("http://a\" }\n").is_err());
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
  requests_per_minute: 60
timeouts: { connect: "1 fortnight", total: 90h }
"#;
    insta::assert_snapshot!(faults_of(bad), @"");
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
    ("tokens_per_minute: null", "tokens_per_minute: 1000"),
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
    insta::assert_snapshot!(listing, @"");
}

#[test]
fn a_file_without_a_document_says_what_it_needs() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "\u{feff}", "null"] {
        assert_eq!(
            faults_of(text),
            "models.yaml:1:1: the file is empty: it needs `models` and `engines`"
        );
    }
    insta::assert_snapshot!(faults_of("{}"), @"");
    insta::assert_snapshot!(faults_of("models: []\nengines:\n"), @"");
    insta::assert_snapshot!(faults_of("[1]"), @"");
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
        assert!(model.price.input.to_string().len() < 7, "{}", model.price.input);
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
