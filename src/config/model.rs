//! One item of `models` -> a `Model`, with the places of whatever the catalog's own rules may find wrong later.

use super::adapters;
use super::catalog::{known_even_if_wrong, one_of, read_rates, unread_name};
use super::fault::{Collector, quoted};
use super::names;
use super::prompt;
use super::reader::{Fields, Item, Place};
use super::suggest::did_you_mean;
use farebox_domain::catalog::{CacheSharing, Deployment, Model, Routing, Task};
use farebox_domain::ids::ModelId;
use farebox_domain::price::{Price, TokenPrice};
use std::ops::RangeInclusive;

const ALIASES_AT_MOST: usize = 1000;
const DEPLOYMENTS_AT_MOST: usize = 1000;
/// Each is tried in its turn while a client waits.
const FALLBACKS_AT_MOST: usize = 10;
/// A request has no more inputs (OpenAI API).
const BATCH_INPUTS: RangeInclusive<u32> = 1..=2048;
/// What a later version does, so that it is not taken for a slip.
const LATER_TASKS: [&str; 6] = ["rerank", "classify", "transcription", "speech", "image", "video"];

/// Where a model's parts stand.
#[derive(Clone)]
pub(super) struct Places {
    /// The id, then the aliases in the model's order.
    pub(super) names: Vec<Place>,
    /// `engines`
    pub(super) engines: Place,
    /// Each of them.
    pub(super) deployments: Vec<Place>,
    /// `max_output_tokens`
    pub(super) max_output_tokens: Place,
    /// Each of `fallback`
    pub(super) fallbacks: Vec<Place>,
    /// `tokenizer` and `chat_template`
    pub(super) prompt: prompt::Places,
}

/// Reads a model and its adapters, which are models too; nothing if it is not a mapping.
pub(super) fn read(item: &Item<'_>, faults: &mut Collector) -> Vec<(Model, Places)> {
    let Some((fields, model, places)) = read_one(item, faults) else {
        return Vec::new();
    };
    let adapters = adapters::read(&fields, (&model, &places), faults);
    [vec![(model, places)], adapters].concat()
}

fn read_one<'a>(item: &Item<'a>, faults: &mut Collector) -> Option<(Fields<'a>, Model, Places)> {
    const KEYS: [&str; 15] = [
        "id",
        "aliases",
        "task",
        "context_length",
        "max_output_tokens",
        "price",
        "engines",
        "max_batch_inputs",
        "routing",
        "isolate_cache",
        "limits",
        "tokenizer",
        "chat_template",
        "fallback",
        "adapters",
    ];
    let fields = item.mapping(&KEYS, faults)?;
    let ((id, aliases), names) = read_names(&fields, faults);
    let task = fields
        .required("task", &one_of(Task::ALL.map(Task::as_str)), faults)
        .and_then(|task| task.checked(read_task, faults));
    let (context_length, max_output_tokens) = read_lengths(&fields, task, faults);
    let price = fields
        .required(
            "price",
            "what its tokens cost; nothing is free unless it says \"0\"",
            faults,
        )
        .and_then(|price| super::price::read(price, task, Some(context_length), faults));
    let (deployments, deployment_places) = read_deployments(&fields, &id, faults);
    let max_batch_inputs = read_max_batch_inputs(&fields, task, faults);
    let routing = fields
        .optional("routing")
        .and_then(|routing| routing.checked(read_routing, faults));
    let cache_sharing = fields
        .optional("isolate_cache")
        .and_then(|isolate| isolate.checked(read_isolation, faults))
        .unwrap_or_default();
    let limits = fields
        .optional("limits")
        .and_then(|limits| limits.mapping(&["requests_per_minute", "tokens_per_minute"], faults))
        .map(|limits| read_rates(&limits, faults));
    let (prompt, prompt_places) = prompt::read(&fields, task, faults);
    let (fallback, fallback_places) = read_fallback(&fields, faults);
    let place_of = |key| fields.optional(key).map_or(&fields.place, |item| &item.place);
    let places = Places {
        names,
        engines: place_of("engines").clone(),
        deployments: deployment_places,
        max_output_tokens: place_of("max_output_tokens").clone(),
        fallbacks: fallback_places,
        prompt: prompt_places,
    };
    let unread = Price::of_tokens(TokenPrice::MAX, None, TokenPrice::MAX);
    let model = Model {
        id: id.into(),
        aliases,
        task: task.unwrap_or(Task::Chat),
        context_length,
        max_output_tokens,
        price: price.unwrap_or(unread),
        deployments,
        max_batch_inputs,
        routing: routing.unwrap_or_default(),
        cache_sharing,
        limits: limits.unwrap_or_default(),
        prompt,
        fallback,
        adapter: None,
    };
    Some((fields, model, places))
}

/// The id and the aliases, and where they stand, id first.
fn read_names(fields: &Fields<'_>, faults: &mut Collector) -> ((String, Vec<String>), Vec<Place>) {
    let id_item = fields.required("id", "the name that clients ask for", faults);
    let id_place = id_item.map_or_else(|| fields.place.clone(), |id| id.place.clone());
    let id = id_item
        .and_then(|id| known_even_if_wrong(id, names::model, faults))
        .unwrap_or_else(|| unread_name(&id_place));
    let mut aliases = Vec::new();
    let mut places = vec![id_place];
    let items = fields
        .optional("aliases")
        .and_then(|list| list.list(ALIASES_AT_MOST, faults))
        .unwrap_or_default();
    for item in items {
        if let Some(alias) = known_even_if_wrong(&item, names::model, faults) {
            aliases.push(alias);
            places.push(item.place);
        }
    }
    ((id, aliases), places)
}

/// The ids of the models that stand in for it, and where they stand.
fn read_fallback(fields: &Fields<'_>, faults: &mut Collector) -> (Vec<ModelId>, Vec<Place>) {
    let items = fields
        .optional("fallback")
        .and_then(|list| list.list(FALLBACKS_AT_MOST, faults))
        .unwrap_or_default();
    let read = |item: Item<'_>| {
        let id = item.checked(names::model, faults)?;
        Some((id.into(), item.place))
    };
    items.into_iter().filter_map(read).unzip()
}

fn read_task(text: &str) -> Result<Task, String> {
    let known = Task::ALL.map(Task::as_str);
    Task::ALL
        .into_iter()
        .find(|task| task.as_str() == text)
        .ok_or_else(|| unknown_choice(text, &known, &LATER_TASKS))
}

fn read_routing(text: &str) -> Result<Routing, String> {
    let known = Routing::ALL.map(Routing::as_str);
    Routing::ALL
        .into_iter()
        .find(|routing| routing.as_str() == text)
        .ok_or_else(|| unknown_choice(text, &known, &[]))
}

fn read_isolation(text: &str) -> Result<CacheSharing, String> {
    match text {
        "account" => Ok(CacheSharing::Account),
        _ => Err(format!(
            "expected account (no account's prompts find another's in an engine's cache), found {}",
            quoted(text)
        )),
    }
}

fn unknown_choice(text: &str, known: &[&str], later: &[&str]) -> String {
    let choices = one_of(known.iter().copied());
    if later.contains(&text) {
        return format!("`{text}` is not yet supported by this version; write {choices}");
    }
    let guess = did_you_mean(text, known.iter().copied());
    format!("expected {choices}, found {}{guess}", quoted(text))
}

/// The context's length, and the most that an answer can have of it. What is unread is as long as can be, and what
/// is unread of an answer is as short.
fn read_lengths(fields: &Fields<'_>, task: Option<Task>, faults: &mut Collector) -> (u32, u32) {
    let context = fields
        .required("context_length", "tokens of prompt and answer together", faults)
        .and_then(|tokens| tokens.integer_u32(1..=u32::MAX, faults));
    let context_length = context.unwrap_or(u32::MAX);
    let max_output_tokens = match fields.optional("max_output_tokens") {
        None => context_length,
        Some(tokens) if task == Some(Task::Embedding) => {
            tokens.refuse("an embedding model produces no tokens; leave it out", faults);
            1
        }
        Some(tokens) => tokens.integer_u32(1..=u32::MAX, faults).unwrap_or(1),
    };
    (context_length, max_output_tokens)
}

/// How many inputs an engine is sent at once.
fn read_max_batch_inputs(fields: &Fields<'_>, task: Option<Task>, faults: &mut Collector) -> Option<u32> {
    let inputs = fields.optional("max_batch_inputs")?;
    if task == Some(Task::Chat) {
        inputs.refuse(
            "only an embedding model's requests have inputs; leave it out",
            faults,
        );
        return None;
    }
    inputs.integer_u32(BATCH_INPUTS, faults)
}

/// Who serves the model, and where each of them stands. Where that is unread it is one unread engine, which is not
/// the same as none.
fn read_deployments(fields: &Fields<'_>, id: &str, faults: &mut Collector) -> (Vec<Deployment>, Vec<Place>) {
    let unread = |place: &Place| Deployment {
        engine: unread_name(place).into(),
        serves: unread_name(place),
    };
    let items = fields
        .required(
            "engines",
            "who serves it, by their names under the top level's `engines`",
            faults,
        )
        .and_then(|list| list.list(DEPLOYMENTS_AT_MOST, faults));
    let Some(items) = items else {
        return (vec![unread(&fields.place)], vec![fields.place.clone()]);
    };
    let read = |item: Item<'_>| match read_deployment(&item, id, faults) {
        Some(read) => read,
        None => (unread(&item.place), item.place),
    };
    items.into_iter().map(read).unzip()
}

fn read_deployment(item: &Item<'_>, id: &str, faults: &mut Collector) -> Option<(Deployment, Place)> {
    const KEYS: [&str; 3] = ["engine", "serves", "lora"];
    let fields = item.mapping(&KEYS, faults)?;
    if let Some(lora) = fields.optional("lora") {
        let message = "adapters are listed under the model's `adapters`, and go to any of its engines; where an engine serves \
                       one under a name of its own, put that name in `serves`";
        lora.refuse(message, faults);
    }
    let serves = match fields.optional("serves") {
        Some(name) => name.checked(names::served, faults),
        None => Some(id.to_owned()),
    };
    let engine = fields.required("engine", "the name of one of the top level's `engines`", faults);
    let place = engine.map_or(&item.place, |engine| &engine.place).clone();
    let name = engine.and_then(|engine| engine.text(faults));
    let deployment = Deployment {
        engine: name.map_or_else(|| unread_name(&place), str::to_owned).into(),
        serves: serves.unwrap_or_else(|| unread_name(&place)),
    };
    Some((deployment, place))
}
