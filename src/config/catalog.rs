//! `models`, `engines` and `limits` -> a `Catalog`.
//!
//! A model or an engine in which something is unreadable still takes part in the check of the whole, so that one
//! run names everything. What could not be read is then an *unread* value, which clashes with nothing: a name that
//! no file can hold, the highest price, the longest context. It never leaves: the fault that made it is recorded.

use super::fault::{Collector, LISTED_AT_MOST, Position, quoted};
use super::kv_events;
use super::model;
use super::names;
use super::prompt::PromptKeys;
use super::reader::{Fields, Item, Place};
use super::suggest::did_you_mean;
use farebox_domain::catalog::{Catalog, CatalogFault, EngineKind, EngineSpec, FallbackFault, Model};
use farebox_domain::limits::{Limits, RATE_AT_MOST, RateLimits};
use std::collections::BTreeMap;

const MODELS_AT_MOST: usize = 10_000;
const ENGINES_AT_MOST: usize = 1000;
/// A cap that no account reaches and no counter overflows.
const CONCURRENT_AT_MOST: u32 = 1_000_000;

/// The name of something whose name could not be read. Its first character is refused in every name.
pub(super) fn unread_name(place: &Place) -> String {
    format!("\0{}", place.path)
}

fn is_unread(name: &str) -> bool {
    name.starts_with('\0')
}

/// Reads the three keys of the document.
pub(super) fn read(document: &Fields<'_>, faults: &mut Collector) -> Option<(Catalog, PromptKeys)> {
    let models = read_models(document, faults);
    let engines = read_engines(document, faults);
    let limits = read_limits(document, faults);
    let (models, model_places): (Vec<Model>, Vec<model::Places>) = models.into_iter().unzip();
    let sources = Sources {
        models: model_places,
        names: names_in_order(&models),
        engines: engines.places,
        engine_names: engines
            .specs
            .iter()
            .map(|engine| engine.name.to_string())
            .collect(),
        engines_are_whole: engines.are_whole,
        all_is_read: faults.is_empty(),
    };
    match Catalog::new(models, engines.specs, limits) {
        Ok(catalog) => {
            let places = sources.models.into_iter().map(|places| places.prompt);
            let keys = PromptKeys::new(faults.file(), catalog.models().iter().zip(places));
            Some((catalog, keys))
        }
        Err(found) => {
            sources.place_all(&found, faults);
            None
        }
    }
}

fn read_models(document: &Fields<'_>, faults: &mut Collector) -> Vec<(Model, model::Places)> {
    let what = "the list of what is sold";
    let items = document
        .required("models", what, faults)
        .and_then(|item| non_empty(item, MODELS_AT_MOST, faults))
        .unwrap_or_default();
    items.iter().flat_map(|item| model::read(item, faults)).collect()
}

/// The engines that could be read, and whether that is all of them.
struct Engines {
    specs: Vec<EngineSpec>,
    places: Vec<Place>,
    are_whole: bool,
}

fn read_engines(document: &Fields<'_>, faults: &mut Collector) -> Engines {
    let what = "the list of engines that serve the models";
    let items = document
        .required("engines", what, faults)
        .and_then(|item| non_empty(item, ENGINES_AT_MOST, faults));
    let mut engines = Engines {
        specs: Vec::new(),
        places: Vec::new(),
        are_whole: items.is_some(),
    };
    for item in items.unwrap_or_default() {
        match read_engine(&item, faults) {
            Some((spec, place)) => {
                engines.are_whole &= !is_unread(spec.name.as_str());
                engines.specs.push(spec);
                engines.places.push(place);
            }
            None => engines.are_whole = false,
        }
    }
    engines
}

fn read_engine(item: &Item<'_>, faults: &mut Collector) -> Option<(EngineSpec, Place)> {
    const KEYS: [&str; 7] = [
        "name",
        "kind",
        "url",
        "api_key_env",
        "max_concurrent",
        "cache_tokens",
        "kv_events",
    ];
    let fields = item.mapping(&KEYS, faults)?;
    let name_item = fields.required("name", "what `models` call it by", faults);
    let place = name_item.map_or_else(|| fields.place.clone(), |name| name.place.clone());
    let name = name_item
        .and_then(|name| known_even_if_wrong(name, names::engine, faults))
        .unwrap_or_else(|| unread_name(&place));
    let kind = fields
        .required("kind", &one_of(EngineKind::ALL.map(EngineKind::as_str)), faults)
        .and_then(|kind| kind.checked(engine_kind, faults));
    let url = fields
        .required(
            "url",
            "where it listens, such as \"http://10.0.0.4:8000\"",
            faults,
        )
        .and_then(|url| url.checked(names::url, faults))
        .unwrap_or_default();
    let spec = EngineSpec {
        name: name.into(),
        kind: kind.unwrap_or(EngineKind::Openai),
        url,
        api_key_env: fields
            .optional("api_key_env")
            .and_then(|variable| variable.checked(names::environment_variable, faults)),
        max_concurrent: fields
            .optional("max_concurrent")
            .and_then(|most| most.integer_u32(1..=CONCURRENT_AT_MOST, faults)),
        cache_tokens: fields
            .optional("cache_tokens")
            .and_then(|tokens| tokens.integer_u32(1..=u32::MAX, faults)),
        kv_events: kv_events::read(&fields, kind, faults),
    };
    Some((spec, place))
}

fn engine_kind(text: &str) -> Result<EngineKind, String> {
    let known = EngineKind::ALL.map(EngineKind::as_str);
    EngineKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| {
            let guess = did_you_mean(text, known);
            format!(
                "expected {} (any other server that speaks OpenAI's API), found {}{guess}",
                one_of(known),
                quoted(text)
            )
        })
}

fn read_limits(document: &Fields<'_>, faults: &mut Collector) -> Limits {
    const KEYS: [&str; 3] = ["concurrent_requests", "requests_per_minute", "tokens_per_minute"];
    let mut limits = Limits::default();
    let Some(fields) = document
        .optional("limits")
        .and_then(|item| item.mapping(&KEYS, faults))
    else {
        return limits;
    };
    // Here `null` could be read as without a limit, which no account is.
    match fields.written("concurrent_requests") {
        Some(item) if item.is_null() => item.refuse("an account always has a limit; write a number", faults),
        Some(item) => {
            if let Some(concurrent_requests) = item.integer_u32(1..=CONCURRENT_AT_MOST, faults) {
                limits.concurrent_requests = concurrent_requests;
            }
        }
        None => {}
    }
    limits.rates = read_rates(&fields, faults);
    limits
}

/// `requests_per_minute` and `tokens_per_minute`, which are no limit where they are left out.
pub(super) fn read_rates(fields: &Fields<'_>, faults: &mut Collector) -> RateLimits {
    let mut rate = |key| {
        let item = fields.optional(key)?;
        item.integer_u32(1..=RATE_AT_MOST, faults).map(u64::from)
    };
    RateLimits {
        requests: rate("requests_per_minute"),
        tokens: rate("tokens_per_minute"),
    }
}

/// The items of a list that has to have one.
fn non_empty<'a>(item: &Item<'a>, at_most: usize, faults: &mut Collector) -> Option<Vec<Item<'a>>> {
    let items = item.list(at_most, faults)?;
    if items.is_empty() {
        item.refuse("the list is empty", faults);
    }
    Some(items)
}

/// A name as it is written, even where a rule refuses it: what refers to it is then not refused as well.
pub(super) fn known_even_if_wrong(
    item: &Item<'_>,
    rule: fn(&str) -> Result<String, String>,
    faults: &mut Collector,
) -> Option<String> {
    let text = item.text(faults)?;
    if let Err(message) = rule(text) {
        item.refuse(message, faults);
    }
    Some(text.trim_start_matches('\0').to_owned())
}

/// `one of a, b, c`
pub(super) fn one_of<'a>(known: impl IntoIterator<Item = &'a str>) -> String {
    format!("one of {}", known.into_iter().collect::<Vec<_>>().join(", "))
}

/// The models that have a name, by name, in the file's order: the index, and the place among the model's names.
fn names_in_order(models: &[Model]) -> BTreeMap<String, Vec<(usize, usize)>> {
    let mut names: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, model) in models.iter().enumerate() {
        let own = std::iter::once(model.id.as_str()).chain(model.aliases.iter().map(String::as_str));
        for (which, name) in own.enumerate() {
            names.entry(name.to_owned()).or_default().push((index, which));
        }
    }
    names
}

/// Where the parts of a catalog come from, to give the catalog's own faults their places.
struct Sources {
    models: Vec<model::Places>,
    names: BTreeMap<String, Vec<(usize, usize)>>,
    engines: Vec<Place>,
    engine_names: Vec<String>,
    engines_are_whole: bool,
    /// Whether nothing in the file was unreadable.
    all_is_read: bool,
}

impl Sources {
    fn place_all(&self, found: &[CatalogFault], faults: &mut Collector) {
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        for fault in found.iter().take(LISTED_AT_MOST + 1) {
            match fault {
                CatalogFault::NameTaken { name, .. } => {
                    // The first fault for a name is about the second place where it stands, and so on.
                    let nth = taken.entry(name).or_default();
                    *nth += 1;
                    self.name_taken(name, *nth, faults);
                }
                CatalogFault::EngineTwice { engine, name } => {
                    let first = self.engine_names.iter().position(|other| other == name.as_str());
                    let line = first
                        .and_then(|first| self.engines.get(first))
                        .map(|first| first.at.line);
                    let message = format!("{fault}; first on line {}", line.unwrap_or(0));
                    refuse(self.engines.get(*engine), message, faults);
                }
                CatalogFault::KvEventsUnused { engine, .. } => {
                    if self.all_is_read {
                        refuse(self.engines.get(*engine), fault.to_string(), faults);
                    }
                }
                CatalogFault::NoEngine { model } => {
                    let place = self.models.get(*model).map(|places| &places.engines);
                    refuse(place, fault.to_string(), faults);
                }
                CatalogFault::UnknownEngine {
                    model,
                    deployment,
                    name,
                } => {
                    if self.engines_are_whole && !is_unread(name.as_str()) {
                        let well_named = |name: &&str| names::engine(name).is_ok();
                        let known = self.engine_names.iter().map(String::as_str).filter(well_named);
                        let message = format!("{fault}{}", did_you_mean(name.as_str(), known));
                        refuse(self.deployment(*model, *deployment), message, faults);
                    }
                }
                CatalogFault::DeploymentTwice {
                    model, deployment, ..
                }
                | CatalogFault::CacheNotIsolated {
                    model, deployment, ..
                } => {
                    refuse(self.deployment(*model, *deployment), fault.to_string(), faults);
                }
                CatalogFault::Fallback {
                    model, fallback, why, ..
                } => self.fallback(*model, *fallback, why, faults),
                CatalogFault::KvEventsWithoutTokenizer {
                    model, deployment, ..
                } => {
                    if self.all_is_read {
                        refuse(self.deployment(*model, *deployment), fault.to_string(), faults);
                    }
                }
                CatalogFault::OutputExceedsContext { model, .. } => {
                    let place = self.models.get(*model).map(|places| &places.max_output_tokens);
                    refuse(place, fault.to_string(), faults);
                }
            }
        }
    }

    fn name_taken(&self, name: &str, nth: usize, faults: &mut Collector) {
        let stands = self.names.get(name).map(Vec::as_slice).unwrap_or_default();
        let (Some(&(first_model, first_which)), Some(&(model, which))) = (stands.first(), stands.get(nth))
        else {
            return;
        };
        let place_of =
            |model: usize, which| self.models.get(model).and_then(|places| places.names.get(which));
        let line = place_of(first_model, first_which).map_or(0, |first: &Place| first.at.line);
        let message = if first_model == model {
            format!("`{name}` already names this model, on line {line}")
        } else {
            format!("`{name}` already names another model, on line {line}")
        };
        refuse(place_of(model, which), message, faults);
    }

    fn fallback(&self, model: usize, fallback: usize, why: &FallbackFault, faults: &mut Collector) {
        let place = self
            .models
            .get(model)
            .and_then(|places| places.fallbacks.get(fallback));
        let guess = match why {
            FallbackFault::Unknown(id) => {
                let well_named = |name: &&str| names::model(name).is_ok();
                did_you_mean(
                    id.as_str(),
                    self.names.keys().map(String::as_str).filter(well_named),
                )
            }
            _ => String::new(),
        };
        refuse(place, format!("{why}{guess}"), faults);
    }

    fn deployment(&self, model: usize, deployment: usize) -> Option<&Place> {
        self.models
            .get(model)
            .and_then(|places| places.deployments.get(deployment))
    }
}

/// A fault whose place is unknown is still a fault.
fn refuse(place: Option<&Place>, message: String, faults: &mut Collector) {
    let nowhere = Place {
        path: String::new(),
        at: Position::START,
    };
    place.unwrap_or(&nowhere).refuse(message, faults);
}
