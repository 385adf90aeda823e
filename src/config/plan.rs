//! What changes when one models.yaml takes another's place.

use super::Settings;
use farebox_domain::catalog::{EngineSpec, Model};
use std::fmt;

/// What changes; nothing that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// By id, in the new file's order; those that go come last.
    pub models: Vec<Change>,
    /// By name, likewise.
    pub engines: Vec<Change>,
    /// Sections and keys that hold for everything.
    pub settings: Vec<&'static str>,
    /// Sections that are read at a start alone: what they say now holds from the next one.
    pub needs_restart: Vec<&'static str>,
}

/// What becomes of a model or an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub how: How,
}

/// What becomes of something that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It stays, and these of its keys say something else.
    Changed(Vec<&'static str>),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
            Self::Changed(keys) => write!(f, "changed ({})", keys.join(", ")),
        }
    }
}

/// In a line: `model a added; engine b changed (url); limits changed`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |what: &'static str, changes: &[Change]| -> Vec<String> {
            let each = changes.iter();
            each.map(|change| format!("{what} {} {}", change.name, change.how))
                .collect()
        };
        let settings = self.settings.iter().map(|name| format!("{name} changed"));
        let told: Vec<String> = named("model", &self.models)
            .into_iter()
            .chain(named("engine", &self.engines))
            .chain(settings)
            .collect();
        if told.is_empty() {
            return f.write_str("nothing changed");
        }
        f.write_str(&told.join("; "))
    }
}

impl Plan {
    /// What it takes to come from `before` to `after`. `at_start` is what the process was started with.
    pub fn between(before: &Settings, after: &Settings, at_start: &Settings) -> Self {
        let models = changes(
            before.catalog.models().iter().map(|model| &**model),
            after.catalog.models().iter().map(|model| &**model),
            |model| model.id.as_str(),
            changed_in_model,
        );
        let engines = changes(
            before.catalog.engines().iter(),
            after.catalog.engines().iter(),
            |engine| engine.name.as_str(),
            changed_in_engine,
        );
        Self {
            models,
            engines,
            settings: differing([
                ("limits", before.catalog.limits() != after.catalog.limits()),
                ("queue", before.queue != after.queue),
                ("timeouts", before.timeouts != after.timeouts),
                ("retries", before.retry != after.retry),
            ]),
            needs_restart: differing([
                (
                    "server",
                    at_start.server != after.server || at_start.trusted_proxies != after.trusted_proxies,
                ),
                ("export", at_start.export != after.export),
            ]),
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn changes<'a, T: 'a>(
    before: impl Iterator<Item = &'a T> + Clone,
    after: impl Iterator<Item = &'a T> + Clone,
    name: impl Fn(&T) -> &str,
    changed: impl Fn(&T, &T) -> Vec<&'static str>,
) -> Vec<Change> {
    let change = |of: &T, how| Change {
        name: name(of).to_owned(),
        how,
    };
    let new_or_changed = after.clone().filter_map(|new| {
        let Some(old) = before.clone().find(|old| name(old) == name(new)) else {
            return Some(change(new, How::Added));
        };
        let keys = changed(old, new);
        (!keys.is_empty()).then(|| change(new, How::Changed(keys)))
    });
    let gone = before.clone().filter_map(|old| {
        let stays = after.clone().any(|new| name(new) == name(old));
        (!stays).then(|| change(old, How::Removed))
    });
    new_or_changed.chain(gone).collect()
}

/// Taken apart in full, so that a key that is added to a model is not forgotten here.
fn changed_in_model(old: &Model, new: &Model) -> Vec<&'static str> {
    let Model {
        id: _,
        aliases,
        task,
        context_length,
        max_output_tokens,
        price,
        deployments,
        max_batch_inputs,
        routing,
        cache_sharing,
        limits,
        prompt,
        fallback,
        adapter,
    } = old;
    differing([
        ("aliases", *aliases != new.aliases),
        ("task", *task != new.task),
        ("context_length", *context_length != new.context_length),
        ("max_output_tokens", *max_output_tokens != new.max_output_tokens),
        ("price", *price != new.price),
        ("engines", *deployments != new.deployments),
        ("max_batch_inputs", *max_batch_inputs != new.max_batch_inputs),
        ("routing", *routing != new.routing),
        ("isolate_cache", *cache_sharing != new.cache_sharing),
        ("limits", *limits != new.limits),
        ("tokenizer", *prompt != new.prompt),
        ("fallback", *fallback != new.fallback),
        ("adapters", *adapter != new.adapter),
    ])
}

fn changed_in_engine(old: &EngineSpec, new: &EngineSpec) -> Vec<&'static str> {
    let EngineSpec {
        name: _,
        kind,
        url,
        api_key_env,
        max_concurrent,
        cache_tokens,
        kv_events,
    } = old;
    differing([
        ("kind", *kind != new.kind),
        ("url", *url != new.url),
        ("api_key_env", *api_key_env != new.api_key_env),
        ("max_concurrent", *max_concurrent != new.max_concurrent),
        ("cache_tokens", *cache_tokens != new.cache_tokens),
        ("kv_events", *kv_events != new.kv_events),
    ])
}

fn differing<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    let differing = keys.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(key, _)| key).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::config::parse;

    const BEFORE: &str = "
models:
  - { id: stays, task: chat, context_length: 10, price: { input: '1', output: '1' }, engines: [{ engine: one }] }
  - { id: goes, task: chat, context_length: 10, price: { input: '1', output: '1' }, engines: [{ engine: two }] }
engines:
  - { name: one, kind: vllm, url: 'http://127.0.0.1:1' }
  - { name: two, kind: vllm, url: 'http://127.0.0.1:2' }
";
    const AFTER: &str = "
models:
  - { id: new, task: chat, context_length: 10, price: { input: '1', output: '1' }, engines: [{ engine: three }] }
  - { id: stays, task: chat, context_length: 10, price: { input: '2', output: '1' }, engines: [{ engine: one }, { engine: three }] }
engines:
  - { name: one, kind: vllm, url: 'http://127.0.0.1:9', max_concurrent: 3 }
  - { name: three, kind: vllm, url: 'http://127.0.0.1:3' }
limits: { concurrent_requests: 7 }
timeouts: { first_event: 9s }
server: { drain_deadline: 1s }
";

    #[test]
    fn what_stays_is_not_told_and_what_changes_is_told_by_its_key() {
        let before = parse(BEFORE, "models.yaml").unwrap();
        let after = parse(AFTER, "models.yaml").unwrap();
        assert!(Plan::between(&before, &before, &before).is_empty());
        let plan = Plan::between(&before, &after, &before);
        let told = |changes: &[Change]| -> Vec<String> {
            changes
                .iter()
                .map(|change| format!("{} {:?}", change.name, change.how))
                .collect()
        };
        assert_eq!(
            told(&plan.models),
            [
                "new Added",
                "stays Changed([\"price\", \"engines\"])",
                "goes Removed"
            ]
        );
        assert_eq!(
            told(&plan.engines),
            [
                "one Changed([\"url\", \"max_concurrent\"])",
                "three Added",
                "two Removed"
            ]
        );
        assert_eq!(plan.settings, ["limits", "timeouts"]);
        assert_eq!(plan.needs_restart, ["server"]);
        let again = Plan::between(&after, &after, &before);
        assert_eq!(again.needs_restart, ["server"], "it still waits for a start");
        assert!(again.models.is_empty() && again.engines.is_empty() && again.settings.is_empty());
    }
}
