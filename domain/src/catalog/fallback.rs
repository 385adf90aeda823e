//! Which model may stand in for which.

use super::{CatalogFault, FallbackFault, Model};
use crate::ids::ModelId;
use alloc::vec;
use alloc::vec::Vec;

/// What is wrong with a model's fallbacks.
pub(super) fn faults(index: usize, models: &[Model]) -> Vec<CatalogFault> {
    let Some(model) = models.get(index) else {
        return Vec::new();
    };
    let fallbacks = model.fallback.iter().enumerate();
    fallbacks
        .filter_map(|(fallback, id)| {
            let why = fault(model, &model.fallback[..fallback], id, models)?;
            Some(CatalogFault::Fallback {
                model: index,
                fallback,
                why,
            })
        })
        .collect()
}

fn fault(model: &Model, earlier: &[ModelId], id: &ModelId, models: &[Model]) -> Option<FallbackFault> {
    if *id == model.id {
        return Some(FallbackFault::Itself);
    }
    if earlier.contains(id) {
        return Some(FallbackFault::Twice(id.clone()));
    }
    let Some(other) = find(models, id) else {
        return Some(FallbackFault::Unknown(id.clone()));
    };
    if other.task != model.task {
        return Some(FallbackFault::OtherTask(id.clone()));
    }
    leads_to(other, &model.id, models).then(|| FallbackFault::Cycle(id.clone()))
}

/// Whether a model's fallbacks, and theirs, come to this one.
fn leads_to(from: &Model, to: &ModelId, models: &[Model]) -> bool {
    let mut seen = vec![&from.id];
    let mut open = vec![from];
    while let Some(model) = open.pop() {
        for id in &model.fallback {
            if id == to {
                return true;
            }
            if !seen.contains(&id) {
                seen.push(id);
                open.extend(find(models, id));
            }
        }
    }
    false
}

fn find<'a>(models: &'a [Model], id: &ModelId) -> Option<&'a Model> {
    models.iter().find(|model| model.id == *id)
}
