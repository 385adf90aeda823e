//! Prompts and counts with a tokenizer made here, one token a byte, and that nothing makes the counter panic.
#![expect(clippy::unwrap_used, reason = "a test may stop on a fault")]

use super::template::ChatTemplate;
use super::*;
use crate::config;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const CHAT: &str = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}<assistant>{% endif %}";

/// 2026-11-01T12:00:00Z.
fn clock() -> Clock {
    Clock::standing_at(1_793_534_400_000)
}

/// A byte is a token; `<s>` is one too, and begins a text.
fn tokenizer_json() -> Value {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocabulary: BTreeMap<String, usize> = alphabet.iter().map(char::to_string).zip(1..).collect();
    json!({
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "<s>"},
        "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": []}
    })
}

/// A folder with a model's files in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("tokenizer.json", &tokenizer_json().to_string());
        folder.write(
            "tokenizer_config.json",
            r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": null, "other": 1}"#,
        );
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self, template: Option<&str>, kind: EngineKind) -> Result<PromptCounter, PromptFault> {
        if let Some(template) = template {
            self.write("chat.jinja", template);
        }
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let files = PromptFiles {
            tokenizer: path("tokenizer.json"),
            chat_template: template.map(|_| path("chat.jinja")),
        };
        PromptCounter::load(&files, [kind], &clock())
    }

    fn fault(&self, template: &str) -> String {
        let fault = self.load(Some(template), EngineKind::Vllm).unwrap_err();
        fault
            .to_string()
            .replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn counter(template: &str, kind: EngineKind) -> PromptCounter {
    Folder::new().load(Some(template), kind).unwrap()
}

/// The prompt that a template makes of a body.
fn prompt(template: &str, kind: EngineKind, body: &str) -> Option<String> {
    let special = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
    let template = ChatTemplate::new(template, special, &clock()).unwrap();
    let body: ChatBody = serde_json::from_str(body).unwrap();
    let variables = body.variables(Convention::of(kind), &template)?;
    template.render(variables).ok()
}

fn user(content: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

#[test]
fn a_chat_is_counted_as_its_template_writes_it() {
    let counter = counter(CHAT, EngineKind::Vllm);
    let count = |body: &Value| counter.count_chat(body.to_string().as_bytes());
    let length = |text: &str| u64::try_from(text.len()).ok();
    // `<s>` is one token, wherever it stands.
    assert_eq!(count(&user(&json!("héé"))), length(".<user>héé\n<assistant>"));
    assert_eq!(count(&user(&json!("a<s>b"))), length(".<user>a.b\n<assistant>"));
    assert_eq!(count(&user(&json!(null))), length(".<user>\n<assistant>"));
    let mut body = user(&json!("hi"));
    body["add_generation_prompt"] = json!(false);
    assert_eq!(count(&body), length(".<user>hi\n"));
    body["add_special_tokens"] = json!(true);
    assert_eq!(count(&body), length("..<user>hi\n"));
}

#[test]
fn what_cannot_be_known_is_not_guessed() {
    let counter = counter(CHAT, EngineKind::Vllm);
    let image = json!([{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "x"}}]);
    let with = |name: &str, value: Value| {
        let mut body = user(&json!("hi"));
        body[name] = value;
        body
    };
    for body in [
        user(&image),
        user(&json!([{"type": "input_audio", "input_audio": {}}])),
        user(&json!({"text": "an object"})),
        user(&json!(5)),
        json!({"messages": [{"content": "no role"}]}),
        json!({"messages": ["a text"]}),
        json!({"messages": "a text"}),
        json!({"messages": [{"role": "assistant", "content": null, "audio": {"id": "a"}}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}),
        with("tools", json!([{"type": "custom", "custom": {}}])),
        with("chat_template", json!("{{ messages }}")),
        with("chat_template_kwargs", json!({"messages": []})),
        with("continue_final_message", json!(true)),
        json!({}),
        json!([]),
    ] {
        assert_eq!(counter.count_chat(body.to_string().as_bytes()), None, "{body}");
    }
    assert_eq!(counter.count_chat(br#"{"messages": [], "messages": []}"#), None);
    let without = Folder::new().load(None, EngineKind::Vllm).unwrap();
    assert_eq!(
        without.count_chat(user(&json!("hi")).to_string().as_bytes()),
        None
    );
}

#[test]
fn a_template_may_use_what_hugging_faces_may() {
    let template = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}\n\
                    {% set ns = namespace(n=0) %}\n\
                    {% for m in messages %}\n\
                    \x20   {% if m.content.startswith('skip') %}{% continue %}{% endif %}\n\
                    \x20   {% set ns.n = ns.n + 1 %}\n\
                    {{ ns.n }} {{ m['content'].strip().split('\\n')[-1] | trim }} {{ true }} {{ none }}\n\
                    {% endfor %}\n\
                    {{ tools | tojson }} {{ messages[0] | tojson(indent=2) }} {{ strftime_now('%d %b %Y') }}\n\
                    {% macro shown(x) %}[{{ x }}]{% endmacro %}{{ shown(documents) }}{{ undefined_thing }}";
    let body = json!({
        "messages": [{"role": "user", "content": "a\n b "}, {"role": "user", "content": "skip me"}],
        "tools": [{"type": "function", "function": {
            "name": "f", "description": "<'é'>", "parameters": {"z": 1, "a": [true, null, 1.5]}}}],
    });
    insta::assert_snapshot!(prompt(template, EngineKind::Vllm, &body.to_string()).unwrap(), @r#"
    1 b True None
    [{"type": "function", "function": {"name": "f", "description": "<'é'>", "parameters": {"a": [true, null, 1.5], "z": 1}}}] {
      "content": "a\n b ",
      "role": "user"
    } 01 Nov 2026
    [None]
    "#);
    let refused = json!({"messages": [{"role": "system", "content": "x"}]});
    assert_eq!(prompt(template, EngineKind::Vllm, &refused.to_string()), None);
}

#[test]
fn an_object_keeps_the_clients_order() {
    let arguments = r#"{"b": 1, "a": {"d": [], "c": {}}}"#;
    // Written by hand, since serde_json's own objects are sorted.
    let body = format!(
        r#"{{"messages": [{{"role": "user", "content": "", "x": {arguments}}}, {{"role": "assistant",
            "tool_calls": [{{"function": {{"arguments": {}, "name": "f"}}}}]}}]}}"#,
        json!(arguments)
    );
    let template = "{{ messages[0].x | tojson }} {{ messages[-1].tool_calls | tojson }}";
    insta::assert_snapshot!(prompt(template, EngineKind::Vllm, &body).unwrap(), @r#"{"b": 1, "a": {"d": [], "c": {}}} [{"function": {"arguments": {"b": 1, "a": {"d": [], "c": {}}}, "name": "f"}}]"#);
}

#[test]
fn parts_are_passed_on_or_joined_as_the_template_takes_them() {
    let body = user(&json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]));
    let shown = |template| prompt(template, EngineKind::Vllm, &body.to_string()).unwrap();
    assert_eq!(shown("{{ messages[0].content }}"), "a\nb");
    assert_eq!(shown("{{ messages[0].content + '!' }}"), "a\nb!");
    let takes_parts = "{% if messages[0].content is string %}{{ messages[0].content }}{% else %}\
                       {% for part in messages[0].content %}({{ part.text }}){% endfor %}{% endif %}";
    assert_eq!(shown(takes_parts), "(a)(b)");
    let by_llama_cpp = |template| prompt(template, EngineKind::LlamaCpp, &body.to_string());
    assert_eq!(by_llama_cpp("{{ messages[0].content }}").as_deref(), Some("a\nb"));
    assert_eq!(by_llama_cpp(takes_parts), None);
}

#[test]
fn engines_differ_where_they_are_known_to() {
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
                    {% if add_generation_prompt %}<assistant>{% endif %}{{ tools | tojson }}";
    let body = json!({
        "messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": "hi"}],
        "tools": [{"function": {"strict": true, "name": "f"}}],
    });
    let shown = |kind| prompt(template, kind, &body.to_string()).unwrap();
    insta::assert_snapshot!(shown(EngineKind::Vllm), @r#"<developer>x<user>hi<assistant>[{"type": "function", "function": {"name": "f", "description": null, "parameters": null, "strict": true}}]"#);
    insta::assert_snapshot!(shown(EngineKind::LlamaCpp), @r#"<system>x<user>hi<assistant>[{"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}]"#);
    // Where a model is on both, the higher count is the one that is safe.
    let folder = Folder::new();
    folder.write("chat.jinja", template);
    let path = |name: &str| folder.0.path().join(name).display().to_string();
    let files = PromptFiles {
        tokenizer: path("tokenizer.json"),
        chat_template: Some(path("chat.jinja")),
    };
    let both = PromptCounter::load(&files, [EngineKind::LlamaCpp, EngineKind::Vllm], &clock()).unwrap();
    assert_eq!(
        both.count_chat(body.to_string().as_bytes()),
        u64::try_from(shown(EngineKind::Vllm).len()).ok()
    );
}

#[test]
fn what_llama_cpp_does_by_rules_for_each_model_is_not_guessed() {
    let begun = json!({"messages": [{"role": "assistant", "content": "I th"}]});
    let mut unasked = user(&json!("hi"));
    unasked["add_generation_prompt"] = json!(false);
    let mut effort = user(&json!("hi"));
    effort["chat_template_kwargs"] = json!({"reasoning_effort": "high"});
    let mut tools = user(&json!("hi"));
    tools["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    for body in [begun, unasked, effort, tools] {
        let shown = |kind| prompt("{{ messages[0].content }}", kind, &body.to_string());
        assert!(shown(EngineKind::Vllm).is_some(), "{body}");
        assert_eq!(shown(EngineKind::LlamaCpp), None, "{body}");
    }
    let body = user(&json!("hi")).to_string();
    let family = "{{ messages[0].content }}{# <|channel|> #}";
    assert_eq!(prompt(family, EngineKind::Vllm, &body).as_deref(), Some("hi"));
    assert_eq!(prompt(family, EngineKind::LlamaCpp, &body), None);
}

#[test]
fn a_text_that_is_marked_safe_is_up_to_python() {
    let body = user(&json!("<hi>")).to_string();
    let template = "{{ 'says '|safe + messages[0].content }}";
    assert_eq!(prompt(template, EngineKind::Vllm, &body), None);
    let alone = "{{ messages[0] | tojson | safe }}";
    assert!(prompt(alone, EngineKind::Vllm, &body).is_some());
    assert_eq!(
        prompt(template, EngineKind::LlamaCpp, &body).as_deref(),
        Some("says <hi>")
    );
}

#[test]
fn the_tag_for_training_writes_nothing() {
    let template = "{%- for m in messages %}\n  {%- generation -%}\n [{{ m.content }}]\n {% endgeneration %}\n{% endfor %}{% x";
    let body = user(&json!("hi")).to_string();
    let whole = template.trim_end_matches("{% x");
    assert_eq!(prompt(whole, EngineKind::Vllm, &body).as_deref(), Some("[hi]\n"));
    let cut = ChatTemplate::new(template, BTreeMap::new(), &clock());
    assert!(cut.is_err());
}

#[test]
fn a_template_without_end_is_cut_off() {
    for endless in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{{ messages[0].content * 100000 }}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaa') %}{% for a in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ] {
        let template = format!("{{% if messages[0].content == 'now' %}}{endless}{{% endif %}}");
        let counter = counter(&template, EngineKind::Vllm);
        let count = |content: &str| counter.count_chat(user(&json!(content)).to_string().as_bytes());
        assert_eq!((count("later"), count("now")), (Some(0), None), "{endless}");
    }
}

#[test]
fn texts_and_tokens_are_counted_with_what_an_engine_adds() {
    let counter = Folder::new().load(None, EngineKind::Vllm).unwrap();
    let count = |body: &str, field| counter.count_texts(body.as_bytes(), field);
    assert_eq!(count(r#"{"prompt": "hello"}"#, "prompt"), Some(6));
    assert_eq!(count(r#"{"prompt": ""}"#, "prompt"), Some(1));
    assert_eq!(count(r#"{"prompt": ["hello", "you"]}"#, "prompt"), Some(10));
    assert_eq!(count(r#"{"input": [7, 8, 9]}"#, "input"), Some(3));
    assert_eq!(count(r#"{"input": [[7, 8, 9], [1]]}"#, "input"), Some(4));
    for unknown in [
        r#"{"prompt": "hello", "suffix": "x"}"#,
        r#"{"prompt": ["hello", 5]}"#,
        r#"{"prompt": [-1]}"#,
        r#"{"prompt": {}}"#,
        r#"{"prompt": null}"#,
        r#"{"input": "hello"}"#,
        "prompt",
    ] {
        assert_eq!(count(unknown, "prompt"), None, "{unknown}");
    }
    assert_eq!(counter.count_text("hello<s>"), 6);
    assert_eq!(counter.count_text(""), 0);
}

#[test]
fn a_prompts_ids_are_those_of_engines_that_tell_what_they_hold() {
    let body = user(&json!("hi")).to_string();
    let of = |kinds: &[EngineKind]| {
        let folder = Folder::new();
        folder.write("chat.jinja", CHAT);
        let path = |name: &str| folder.0.path().join(name).display().to_string();
        let files = PromptFiles {
            tokenizer: path("tokenizer.json"),
            chat_template: Some(path("chat.jinja")),
        };
        PromptCounter::load(&files, kinds.iter().copied(), &clock()).unwrap()
    };
    let both = of(&[EngineKind::LlamaCpp, EngineKind::Vllm]).read(Endpoint::ChatCompletions, body.as_bytes());
    assert_eq!(both.ids.map(|ids| ids.len() as u64), both.count);
    let other = of(&[EngineKind::LlamaCpp]).read(Endpoint::ChatCompletions, body.as_bytes());
    assert_eq!((other.count, other.ids), (both.count, None));

    let counter = Folder::new().load(None, EngineKind::Vllm).unwrap();
    let ids = |body: &str| counter.read(Endpoint::Completions, body.as_bytes()).ids;
    assert_eq!(ids(r#"{"prompt": [7, 8, 9]}"#), Some(vec![7, 8, 9]));
    assert_eq!(ids(r#"{"prompt": "hello"}"#).map(|ids| ids.len()), Some(6));
    assert_eq!(ids(r#"{"prompt": ["hello", "you"]}"#), None, "two prompts");
}

#[test]
fn what_is_too_long_is_not_counted_but_for_an_answer() {
    let doubled = "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}";
    let counter = PromptCounter {
        bytes_at_most: 200,
        ..counter(doubled, EngineKind::Vllm)
    };
    let chat = |length: usize| {
        let body = user(&json!("a".repeat(length))).to_string();
        (counter.count_chat(body.as_bytes()), body.len())
    };
    assert_eq!(chat(100), (Some(200), 143));
    assert_eq!(chat(101), (None, 144), "the prompt is too long");
    assert_eq!(chat(158), (None, 201), "the body is too long");
    let body = json!({"prompt": "a".repeat(200)}).to_string();
    assert_eq!(counter.count_texts(body.as_bytes(), "prompt"), None);
    assert_eq!(counter.count_text(&"aé".repeat(1000)), 3000);
}

#[test]
fn a_fault_says_what_is_wrong_with_which_file() {
    let folder = Folder::new();
    let mut told = vec![
        folder.fault("{% for m in messages %}"),
        folder.fault("line one\n{{ messages | no_such_filter }}"),
        folder.fault("{{ raise_exception('never') }}"),
    ];
    folder.write("tokenizer_config.json", "[]");
    told.push(folder.fault(CHAT));
    std::fs::remove_file(folder.0.path().join("tokenizer_config.json")).unwrap();
    told.push(folder.fault(CHAT));
    folder.write("tokenizer.json", "{}");
    told.push(folder.fault("x"));
    std::fs::remove_file(folder.0.path().join("tokenizer.json")).unwrap();
    told.push(folder.fault("x"));
    insta::assert_snapshot!(told.join("\n"), @r#"
    chat.jinja: not a chat template: line 1: unexpected end of input, expected end of block
    chat.jinja: the template fails on a chat of one user message: line 2: filter no_such_filter is unknown
    chat.jinja: the template fails on a chat of one user message: line 1: never
    tokenizer_config.json: not a tokenizer_config.json: invalid type: sequence, expected a map at line 1 column 0
    chat.jinja: the template writes `bos_token`, and no file says which token that is: put the model's tokenizer_config.json beside its tokenizer.json
    tokenizer.json: not a tokenizer.json of Hugging Face's tokenizers: Model missing. at line 1 column 2
    tokenizer.json: the file cannot be read: No such file or directory (os error 2)
    "#);
}

#[test]
fn every_fault_of_a_configuration_has_its_line_and_counters_are_shared() {
    let folder = Folder::new();
    folder.write("chat.jinja", CHAT);
    folder.write("broken.jinja", "{% if %}");
    let model = |id: &str, keys: &str| {
        format!(
            "  - id: {id}\n    task: chat\n    context_length: 4096\n    price: {{ input: \"1\", output: \"1\" }}\n    \
             engines: [{{ engine: e }}]\n{keys}"
        )
    };
    let file = |models: &[String]| {
        let engines = "engines:\n  - { name: e, kind: vllm, url: \"http://127.0.0.1:9\" }\n";
        let path = folder.0.path().join("models.yaml");
        std::fs::write(&path, format!("models:\n{}{engines}", models.concat())).unwrap();
        config::load(&path).unwrap()
    };
    let good = "    tokenizer: tokenizer.json\n    chat_template: chat.jinja\n";
    let settings = file(&[model("a", good), model("b", good), model("c", "")]);
    let counters = load_all(&settings, &clock()).unwrap();
    assert!(Arc::ptr_eq(&counters[&"a".into()], &counters[&"b".into()]));
    assert_eq!(counters.len(), 2);

    let settings = file(&[
        model("a", "    tokenizer: nowhere.json\n"),
        model("b", good),
        model(
            "c",
            "    tokenizer: tokenizer.json\n    chat_template: broken.jinja\n",
        ),
    ]);
    let told = load_all(&settings, &clock()).unwrap_err().to_string();
    let folder_path = format!("{}/", folder.0.path().display());
    insta::assert_snapshot!(told.replace(&folder_path, ""), @r#"
    models.yaml:7:16: models[0].tokenizer: nowhere.json: the file cannot be read: No such file or directory (os error 2)
    models.yaml:21:20: models[2].chat_template: broken.jinja: not a chat template: line 1: unexpected end of block
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_counted(text in any::<String>()) {
        let counter = shared();
        let bytes = u64::try_from(text.replace("<s>", ".").len()).unwrap();
        prop_assert_eq!(counter.count_text(&text), bytes);
        let body = json!({"prompt": text}).to_string();
        prop_assert_eq!(counter.count_texts(body.as_bytes(), "prompt"), Some(bytes + 1));
        let body = user(&json!(text)).to_string();
        let around = u64::try_from(".<user>\n<assistant>".len()).unwrap();
        prop_assert_eq!(counter.count_chat(body.as_bytes()), Some(bytes + around));
    }

    #[test]
    fn any_bytes_are_counted_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let counter = shared();
        let _either = (counter.count_chat(&bytes), counter.count_texts(&bytes, "prompt"));
    }

    #[test]
    fn any_body_is_counted_or_not(
        text in r#"\{"(messages|prompt|tools|chat_template_kwargs)": ?[\[\]{}":,a-z0-9. -]{0,80}\}"#,
        role in any::<String>(),
        extra in r#"[\[\]{}":,a-z0-9. -]{0,40}"#,
    ) {
        let counter = shared();
        let chat = format!(r#"{{"messages": [{{"role": {}, "content": "x"}}], "tools": [{extra}]}}"#, json!(role));
        for body in [&text, &chat] {
            let _either = (counter.count_chat(body.as_bytes()), counter.count_texts(body.as_bytes(), "prompt"));
        }
    }
}

impl PromptCounter {
    fn count_chat(&self, body: &[u8]) -> Option<u64> {
        self.count(Endpoint::ChatCompletions, body)
    }

    fn count_texts(&self, body: &[u8], field: &str) -> Option<u64> {
        let endpoint = if field == "input" {
            Endpoint::Embeddings
        } else {
            Endpoint::Completions
        };
        self.count(endpoint, body)
    }
}

fn shared() -> &'static PromptCounter {
    static SHARED: std::sync::LazyLock<PromptCounter> =
        std::sync::LazyLock::new(|| counter(CHAT, EngineKind::Vllm));
    &SHARED
}
