//! From models.yaml's paths to counters, and from a file's fault to the line that names the file.

use super::PromptCounter;
use super::fault::{Cause, PromptFault};
use super::special;
use super::template::ChatTemplate;
use crate::clock::Clock;
use crate::config::{Fault, Faults, Settings};
use farebox_domain::catalog::{Catalog, EngineKind, Model, PromptFiles};
use farebox_domain::ids::ModelId;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use tokenizers::Tokenizer;

/// The largest tokenizers that are published have some 40 MB.
const TOKENIZER_BYTES_AT_MOST: u64 = 256 << 20;
/// The longest templates have some 20 kB.
const TEMPLATE_BYTES_AT_MOST: u64 = 1 << 20;

/// The counters of the models that have one.
pub type PromptCounters = BTreeMap<ModelId, Arc<PromptCounter>>;

/// Loads every model's counter, or says everything that is wrong with the files. Models that have the same files on
/// the same kinds of engines share one.
pub fn load_all(settings: &Settings, clock: &Clock) -> Result<PromptCounters, Faults> {
    let mut loaded: HashMap<(&PromptFiles, Vec<EngineKind>), Arc<PromptCounter>> = HashMap::new();
    let mut counters = PromptCounters::new();
    let mut faults = Vec::new();
    for model in settings.catalog.models() {
        let Some(files) = &model.prompt else { continue };
        let key = (files, kinds(&settings.catalog, model));
        let counter = match loaded.get(&key) {
            Some(counter) => Arc::clone(counter),
            None => match counter_of(settings, model, clock) {
                Ok(Some(counter)) => Arc::clone(loaded.entry(key).or_insert_with(|| Arc::new(counter))),
                Ok(None) => continue,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            },
        };
        counters.insert(model.id.clone(), counter);
    }
    match Faults::of(faults) {
        Some(faults) => Err(faults),
        None => Ok(counters),
    }
}

/// One model's counter, if it is to have one.
pub fn counter_of(settings: &Settings, model: &Model, clock: &Clock) -> Result<Option<PromptCounter>, Fault> {
    let Some(files) = &model.prompt else {
        return Ok(None);
    };
    PromptCounter::load(files, kinds(&settings.catalog, model), clock)
        .map(Some)
        .map_err(|fault| settings.prompt_fault(&model.id, fault.about_template, fault.to_string()))
}

/// The kinds of the engines that serve a model, each once.
fn kinds(catalog: &Catalog, model: &Model) -> Vec<EngineKind> {
    let serves = |name| {
        model
            .deployments
            .iter()
            .any(|deployment| deployment.engine == name)
    };
    let serving = EngineKind::ALL.into_iter().filter(|&kind| {
        let mut engines = catalog.engines().iter().filter(|engine| engine.kind == kind);
        engines.any(|engine| serves(engine.name.clone()))
    });
    serving.collect()
}

pub(super) fn read_tokenizer(path: &Path) -> Result<Tokenizer, PromptFault> {
    let fault = |cause| PromptFault {
        path: path.display().to_string(),
        cause,
        about_template: false,
    };
    let bytes = read(path, TOKENIZER_BYTES_AT_MOST).map_err(fault)?;
    let unusable = |told: tokenizers::Error| fault(Cause::NotATokenizer(told.to_string()));
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(unusable)?;
    // What is cut off or filled up for a batch is not what an engine reads.
    tokenizer.with_truncation(None).map_err(unusable)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

pub(super) fn read_template(files: &PromptFiles, clock: &Clock) -> Result<Option<ChatTemplate>, PromptFault> {
    let Some(path) = files.chat_template.as_deref() else {
        return Ok(None);
    };
    let fault = |cause| PromptFault {
        path: path.to_owned(),
        cause,
        about_template: true,
    };
    let bytes = read(path.as_ref(), TEMPLATE_BYTES_AT_MOST).map_err(fault)?;
    let source =
        String::from_utf8(bytes).map_err(|told| fault(Cause::NotUtf8(told.utf8_error().valid_up_to())))?;
    let special = read_special_tokens(files.tokenizer.as_ref())?;
    let is_known = special.is_some();
    let template = ChatTemplate::new(&source, special.unwrap_or_default(), clock).map_err(fault)?;
    let unknown = special::NEEDED.into_iter().find(|name| template.names(name));
    match unknown {
        Some(name) if !is_known => Err(fault(Cause::UnknownToken(name))),
        _ => Ok(Some(template)),
    }
}

/// The special tokens that the file beside the tokenizer names, if that file is there.
fn read_special_tokens(tokenizer: &Path) -> Result<Option<BTreeMap<String, String>>, PromptFault> {
    let path = tokenizer.with_file_name(special::CONFIG);
    let fault = |cause| PromptFault {
        path: path.display().to_string(),
        cause,
        about_template: false,
    };
    match read(&path, TEMPLATE_BYTES_AT_MOST) {
        Err(Cause::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(fault(cause)),
        Ok(bytes) => special::read(&bytes)
            .map(Some)
            .map_err(|told| fault(Cause::NotAConfig(told))),
    }
}

fn read(path: &Path, at_most: u64) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(at_most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(Cause::Unreadable)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > at_most {
        return Err(Cause::TooLong(at_most));
    }
    Ok(bytes)
}
