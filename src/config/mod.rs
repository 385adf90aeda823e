//! models.yaml: text -> domain values, or every fault at once, each with its path, line and column.
//!
//! [`parse`] reads the text into a tree that knows where everything stands (`yaml`), walks it without stopping at a
//! fault (`reader`), makes models, prices and engines of it (`model`, `prompt`, `price`, `kv_events`, `catalog`) and the settings of the
//! server (`serving`) and of the export (`export`), and lets the catalog check that the parts hold together. What it gives back either holds, or is
//! the list of what does not. [`Plan`] is what changes from one to another.
//!
//! Invariant: nothing here reads the environment, a clock or the network. A key is named by its variable, and
//! whoever uses it looks it up.

mod fault;
mod yaml;
mod suggest;
mod reader;
mod names;
mod prompt;
mod model;
mod price;
mod kv_events;
mod adapters;
mod catalog;
mod serving;
mod export;
mod plan;
#[cfg(test)]
mod tests;

pub use export::{ExportFormat, ExportSettings};
pub use fault::{Fault, Faults};
pub use plan::{Change, How, Plan};
pub use price::parse_price;
pub use serving::{QueueSettings, ServerSettings, Timeouts};

use farebox_domain::attempt::RetryBudget;
use farebox_domain::catalog::Catalog;
use farebox_domain::ids::ModelId;
use fault::{Collector, Position};
use ipnet::IpNet;
use prompt::PromptKeys;
use reader::Item;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest file that is read, in bytes. The price list of a large provider is a hundredth of it.
pub const FILE_BYTES_AT_MOST: usize = 4 << 20;

/// What `farebox serve --demo` sells: `simulated` for chat and `simulated-embedding`, on one simulated engine.
pub const DEMO: &str = include_str!("demo.yaml");

/// A file that holds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is sold, by which engines, and what an account may do until it is given more.
    pub catalog: Catalog,
    /// How long clients have, and how much they may send.
    pub server: ServerSettings,
    /// How much trying a request is worth.
    pub retry: RetryBudget,
    /// How long engines have.
    pub timeouts: Timeouts,
    /// How long requests wait where every engine is full, and how many may.
    pub queue: QueueSettings,
    /// Who is told of every entry, if anybody is.
    pub export: Option<ExportSettings>,
    /// Who is believed about the address of whom it sends on: `server.trusted_proxies`.
    pub trusted_proxies: Vec<IpNet>,
    /// Where the files of the models' prompts are named.
    prompt_keys: PromptKeys,
}

impl Settings {
    /// [`DEMO`] in front of the simulated engine at this URL.
    pub fn demo(engine_url: &str) -> Result<Self, Faults> {
        // A JSON string is a YAML string, whatever is in it.
        let quoted_url = serde_json::Value::from(engine_url).to_string();
        let written = DEMO.replace("\"http://127.0.0.1:8000\"", &quoted_url);
        parse(&written, "demo.yaml")
    }

    /// What is wrong with a model's tokenizer or chat template, at the key that names it. The files themselves are
    /// read by who uses them; a fault in one is told like a fault in models.yaml.
    pub fn prompt_fault(&self, model: &ModelId, about_template: bool, message: String) -> Fault {
        self.prompt_keys.fault(model, about_template, message)
    }
}

/// Reads a file.
pub fn load(path: &Path) -> Result<Settings, Faults> {
    let file = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        Faults::whole(
            &file,
            Position::default(),
            format!("the file cannot be read: {error}"),
        )
    };
    let mut bytes = Vec::new();
    // One byte more than is read tells a file that is too long, whatever its metadata says.
    let bound = u64::try_from(FILE_BYTES_AT_MOST)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)
        .and_then(|opened| opened.take(bound).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    parse_bytes(&bytes, &file)
}

/// Reads bytes that should be UTF-8.
fn parse_bytes(bytes: &[u8], file: &str) -> Result<Settings, Faults> {
    if bytes.len() > FILE_BYTES_AT_MOST {
        return Err(too_long(file));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, file),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line_start = before
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
            let at = Position {
                line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
                column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
            };
            Err(Faults::whole(file, at, "the file is not UTF-8 here"))
        }
    }
}

/// Reads a text; `file` is what the faults call it.
pub fn parse(text: &str, file: &str) -> Result<Settings, Faults> {
    if text.len() > FILE_BYTES_AT_MOST {
        return Err(too_long(file));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let empty = "the file is empty: it needs `models` and `engines`";
    let root = yaml::read(text)
        .map_err(|unreadable| Faults::whole(file, unreadable.at, unreadable.message))?
        .ok_or_else(|| Faults::whole(file, Position::START, empty))?;
    let document = Item::root(&root);
    if document.is_null() {
        return Err(Faults::whole(file, Position::START, empty));
    }
    let mut faults = Collector::new(file);
    let settings = read_document(&document, &mut faults);
    faults.finish(settings)
}

fn read_document(document: &Item<'_>, faults: &mut Collector) -> Option<Settings> {
    const KEYS: [&str; 8] = [
        "models", "engines", "limits", "queue", "server", "timeouts", "retries", "export",
    ];
    let fields = document.mapping(&KEYS, faults)?;
    let (server, trusted_proxies) = serving::server(&fields, faults);
    let timeouts = serving::timeouts(&fields, faults);
    let retry = serving::retries(&fields, faults);
    let queue = serving::queue(&fields, faults);
    let export = export::read(&fields, faults);
    let (catalog, prompt_keys) = catalog::read(&fields, faults)?;
    Some(Settings {
        catalog,
        prompt_keys,
        server,
        retry,
        timeouts,
        queue,
        export,
        trusted_proxies,
    })
}

fn too_long(file: &str) -> Faults {
    let mebibytes = FILE_BYTES_AT_MOST >> 20;
    let message = format!("the file is longer than {mebibytes} MiB");
    Faults::whole(file, Position::default(), message)
}
