//! Every example that is shown is read: `models.yaml` at the top, and all of `docs/examples/`.

use std::fs;
use std::path::{Path, PathBuf};

/// The files that are there. A checkout without docs has none, which is no fault of theirs.
fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shown = fs::read_dir(root.join("docs/examples"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    std::iter::once(root.join("models.yaml"))
        .chain(shown)
        .filter(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}

#[test]
fn every_example_holds() {
    for path in examples() {
        if let Err(faults) = farebox::config::load(&path) {
            panic!("{faults}");
        }
    }
}
