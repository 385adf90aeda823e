//! models.yaml, read again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for models.yaml to be read again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Only say what would change. The file, and every file that it names, is read and checked all the same.
    #[serde(default)]
    pub dry_run: bool,
}

/// What changes, or has changed: nothing that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadView {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Models: those that are new or say something else in the file's order, then those that go.
    pub models: Vec<ChangeView>,
    /// Engines, likewise. One whose `url` or `kind` changes is another engine: it begins with nothing in its cache, and requests
    /// at the old one go on to their end.
    pub engines: Vec<ChangeView>,
    /// Sections that hold for everything and say something else: `limits`, `queue`, `timeouts`, `retries`.
    pub settings: Vec<String>,
    /// Sections that say something else than at the start, and hold from the next one: `server`, `export`.
    pub needs_restart: Vec<String>,
}

/// What becomes of a model or an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeView {
    /// Its id or name.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// Which of its keys say something else, where it is `changed`.
    pub keys: Vec<String>,
}
