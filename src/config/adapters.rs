//! `adapters` of a model -> a model for each: what its base is, under its own name, at its own price.

use super::catalog::{known_even_if_wrong, unread_name};
use super::fault::Collector;
use super::model::Places;
use super::names;
use super::price::read_multiplier;
use super::reader::{Fields, Item};
use farebox_domain::catalog::{Adapter, Model, Task};
use farebox_domain::price::Multiplier;

const ADAPTERS_AT_MOST: usize = 10_000;

/// The adapters of a model that stands in these fields.
pub(super) fn read(
    fields: &Fields<'_>,
    base: (&Model, &Places),
    faults: &mut Collector,
) -> Vec<(Model, Places)> {
    let Some(list) = fields.optional("adapters") else {
        return Vec::new();
    };
    if base.0.task == Task::Embedding {
        list.refuse("a model that embeds has no adapters here; leave them out", faults);
        return Vec::new();
    }
    let items = list.list(ADAPTERS_AT_MOST, faults).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| read_one(item, base, faults))
        .collect()
}

fn read_one(
    item: &Item<'_>,
    (base, places): (&Model, &Places),
    faults: &mut Collector,
) -> Option<(Model, Places)> {
    const KEYS: [&str; 4] = ["id", "name", "path", "price_multiplier"];
    let fields = item.mapping(&KEYS, faults)?;
    let id_item = fields.required("id", "the name that clients ask for", faults);
    let place = id_item.map_or(&fields.place, |id| &id.place).clone();
    let id = id_item
        .and_then(|id| known_even_if_wrong(id, names::model, faults))
        .unwrap_or_else(|| unread_name(&place));
    let name = match fields.optional("name") {
        Some(name) => name.checked(names::served, faults),
        None => Some(id.clone()),
    };
    let path = fields
        .optional("path")
        .and_then(|path| path.checked(names::path, faults));
    let multiplier = read_multiplier(&fields, "price_multiplier", faults).flatten();
    let model = Model {
        id: id.into(),
        aliases: Vec::new(),
        price: base.price.multiplied(multiplier.unwrap_or(Multiplier::ONE)),
        fallback: Vec::new(),
        adapter: Some(Adapter {
            base: base.id.clone(),
            name: name.unwrap_or_else(|| unread_name(&place)),
            path,
        }),
        ..base.clone()
    };
    let places = Places {
        names: vec![place],
        fallbacks: Vec::new(),
        ..places.clone()
    };
    Some((model, places))
}
