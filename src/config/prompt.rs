//! `tokenizer` and `chat_template` of a model: where the files are, and where models.yaml names them.
//!
//! The files are not read here: they are megabytes, and whoever uses them reads them. What is wrong with one is told
//! at its key, for which the places are kept.

use super::fault::{Collector, Fault, Position};
use super::names;
use super::reader::{Fields, Place};
use farebox_domain::catalog::{Model, PromptFiles, Task};
use farebox_domain::ids::ModelId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a model's keys stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    tokenizer: Option<Place>,
    chat_template: Option<Place>,
}

/// The keys of all models that have them.
#[derive(Debug, Clone, Default)]
pub(super) struct PromptKeys {
    file: String,
    places: BTreeMap<ModelId, Places>,
}

/// Reads a model's keys. Paths are taken from the folder of models.yaml.
pub(super) fn read(
    fields: &Fields<'_>,
    task: Option<Task>,
    faults: &mut Collector,
) -> (Option<PromptFiles>, Places) {
    let tokenizer = fields.optional("tokenizer");
    let chat_template = fields.optional("chat_template");
    let places = Places {
        tokenizer: tokenizer.map(|item| item.place.clone()),
        chat_template: chat_template.map(|item| item.place.clone()),
    };
    let tokenizer_path = tokenizer.and_then(|item| item.checked(names::path, faults));
    let template_path = chat_template.and_then(|item| item.checked(names::path, faults));
    if let Some(item) = chat_template {
        if task == Some(Task::Embedding) {
            item.refuse("an embedding model has no chats; leave it out", faults);
        } else if tokenizer.is_none() {
            let message = "a template makes a text, and it takes a tokenizer to count it: name the model's \
                           tokenizer.json in `tokenizer`";
            item.refuse(message, faults);
        }
    }
    let files = tokenizer_path.map(|tokenizer| PromptFiles {
        tokenizer: faults.beside(&tokenizer),
        chat_template: template_path.map(|template| faults.beside(&template)),
    });
    (files, places)
}

impl PromptKeys {
    /// Keeps the places of the models' keys.
    pub(super) fn new<'a>(file: &str, models: impl Iterator<Item = (&'a Arc<Model>, Places)>) -> Self {
        let with_keys = models.filter(|(model, _)| model.prompt.is_some());
        Self {
            file: file.to_owned(),
            places: with_keys
                .map(|(model, places)| (model.id.clone(), places))
                .collect(),
        }
    }

    /// A fault at one of a model's two keys.
    pub(super) fn fault(&self, model: &ModelId, about_template: bool, message: String) -> Fault {
        let place = self.places.get(model).and_then(|places| match about_template {
            true => places.chat_template.as_ref(),
            false => places.tokenizer.as_ref(),
        });
        let at = place.map_or(Position::default(), |place| place.at);
        Fault {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            path: place.map(|place| place.path.clone()).unwrap_or_default(),
            message,
        }
    }
}
