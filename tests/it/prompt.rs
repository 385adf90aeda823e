//! Prompts counted before an engine is asked: what `farebox count` and `farebox check` say, and what starts.

use farebox::app::{App, Given, StartFault};
use farebox::clock::Clock;
use farebox::secrets::Secrets;
use farebox::{cli, config};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Words and signs are tokens; `<s>` begins a text.
const TOKENIZER: &str = r#"{
  "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
  "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true}],
  "pre_tokenizer": {"type": "Whitespace"},
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}
  },
  "model": {"type": "WordLevel", "vocab": {"<s>": 0, "<unk>": 1}, "unk_token": "<unk>"}
}"#;
const TEMPLATE: &str =
    "{% for message in messages %}{{ message.role }} says {{ message.content }} {% endfor %}";
const MODELS: &str = r#"
models:
  - id: chatty
    aliases: [c]
    task: chat
    context_length: 8192
    price: { input: "0.10", output: "0.32" }
    engines: [{ engine: a }]
    tokenizer: files/tokenizer.json
    chat_template: files/chat.jinja
  - id: embedder
    task: embedding
    context_length: 512
    price: { input: "0.01" }
    engines: [{ engine: a }]
    tokenizer: files/tokenizer.json
  - id: uncounted
    task: chat
    context_length: 8192
    price: { input: "0.10", output: "0.32" }
    engines: [{ engine: a }]
engines:
  - { name: a, kind: vllm, url: "http://127.0.0.1:1" }
"#;

/// A folder with a configuration, its files, and bodies to count.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path("files")).unwrap();
        folder.write("files/tokenizer.json", TOKENIZER);
        folder.write("files/chat.jinja", TEMPLATE);
        folder.write("models.yaml", MODELS);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command line; `@` stands for the folder.
    fn run(&self, line: &str) -> String {
        let folder = format!("{}/", self.0.path().display());
        let args = std::iter::once("farebox").chain(line.split_whitespace());
        let args = args.map(|arg| arg.replace('@', &folder).into());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = cli::run(args, &mut out, &mut err);
        let told = [out, err].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        format!("{}[{code}]", told.replace(&folder, ""))
    }

    async fn start(&self) -> Result<Arc<App>, StartFault> {
        // An `Err` means that another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = self.path("data");
        let given = Given {
            clock: Clock::standing_at(1_793_534_400_000),
            secrets: Secrets::seeded(7),
            database: None,
            valkey: None,
            data_dir: &data,
            admin_token: Some("token".into()),
            request_log: farebox::telemetry::request_log::Style::Off,
            read_env: Arc::new(|_| None),
            models_yaml: None,
            connections: 1_000,
        };
        let settings = config::load(&self.path("models.yaml")).unwrap();
        App::start(settings, given).await.map(|started| started.app)
    }
}

#[test]
fn bodies_are_counted_from_the_command_line() {
    let folder = Folder::new();
    folder.write(
        "chat.json",
        r#"{"messages": [{"role": "user", "content": "well, hello"}]}"#,
    );
    folder.write("completion.json", r#"{"prompt": ["well, hello", "you"]}"#);
    folder.write(
        "image.json",
        r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#,
    );
    folder.write("embedding.json", r#"{"input": "well, hello"}"#);
    let count = "count --config @models.yaml --model";
    let told = folder.run(&format!("{count} c @chat.json @completion.json @image.json"));
    // The columns are as wide as the folder's name is long.
    let lines = told
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @"
    FILE PROMPT TOKENS
    chat.json 5
    completion.json 6
    image.json unknown
    [0]
    ");
    let told = folder.run(&format!("{count} embedder --json @embedding.json @image.json"));
    insta::assert_snapshot!(told, @r#"
    {
      "data": [
        {
          "file": "embedding.json",
          "prompt_tokens": 4
        },
        {
          "file": "image.json",
          "prompt_tokens": null
        }
      ]
    }
    [0]
    "#);
    let told = [
        folder.run(&format!("{count} uncounted @chat.json")),
        folder.run(&format!("{count} nobody @chat.json")),
        folder.run(&format!("{count} c @nothing.json")),
        folder.run("count --config @chat.json --model c @chat.json"),
    ];
    insta::assert_snapshot!(told.join("\n"), @"
    error: `uncounted` has no `tokenizer` in models.yaml, so its tokens cannot be counted
    [64]
    error: models.yaml has no model `nobody`; give an id or an alias
    [64]
    error: nothing.json cannot be read: No such file or directory (os error 2)
    [64]
    chat.json:1:1: models: missing: the list of what is sold
    chat.json:1:1: engines: missing: the list of engines that serve the models
    chat.json:1:2: messages: there is no such key here; the keys are models, engines, limits, queue, server, timeouts, retries, export
    error: chat.json does not hold: 3 faults. Mend the file and check again
    [64]
    ");
}

#[test]
fn the_files_are_checked_with_the_configuration() {
    let folder = Folder::new();
    insta::assert_snapshot!(folder.run("check --config @models.yaml"), @"
    models.yaml: ok, 3 models, 1 engine
    [0]
    ");
    folder.write("files/chat.jinja", "{{ bos_token }}\n{% endfor %}");
    insta::assert_snapshot!(folder.run("check --config @models.yaml"), @"
    models.yaml:10:20: models[0].chat_template: files/chat.jinja: not a chat template: line 2: unknown statement endfor
    error: models.yaml does not hold: 1 fault. Mend the file and check again
    [64]
    ");
    folder.write("files/tokenizer.json", "[1, 2]");
    insta::assert_snapshot!(folder.run("check --config @models.yaml"), @"
    models.yaml:9:16: models[0].tokenizer: files/tokenizer.json: not a tokenizer.json of Hugging Face's tokenizers: invalid type: sequence, expected struct Tokenizer at line 1 column 1
    models.yaml:16:16: models[1].tokenizer: files/tokenizer.json: not a tokenizer.json of Hugging Face's tokenizers: invalid type: sequence, expected struct Tokenizer at line 1 column 1
    error: models.yaml does not hold: 2 faults. Mend the file and check again
    [64]
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_loaded_at_start_or_nothing_starts() {
    let folder = Folder::new();
    let app = folder.start().await.unwrap();
    let count = |model: &str| {
        let registry = app.registry();
        let counter = registry.find(model).unwrap().prompt.as_ref()?;
        Some(counter.count_text("well, hello"))
    };
    assert_eq!(
        (count("c"), count("embedder"), count("uncounted")),
        (Some(3), Some(3), None)
    );
    app.stop_background().await;

    std::fs::remove_file(folder.path("files/tokenizer.json")).unwrap();
    let fault = folder.start().await.err().unwrap();
    assert!(matches!(&fault, StartFault::Prompts(faults) if faults.as_slice().len() == 2));
    let first = fault.to_string().lines().next().unwrap_or_default().to_owned();
    assert!(
        first.ends_with("tokenizer.json: the file cannot be read: No such file or directory (os error 2)"),
        "{first}"
    );
}
