//! Where engines and ledger meet to be held against each other: samples of the engines' counters, each minute, and the
//! report of `farebox ledger reconcile`. The comparison itself is `ledger::reconcile`.

use crate::clock::Clock;
use crate::engines::client::Engine;
use crate::engines::counters::prompt_counter_excludes_cached;
use crate::engines::registry::Registry;
use crate::ledger::counters::{CounterSample, EngineCounters};
use crate::ledger::reconcile::{CountingRule, ModelBounds, Reconciled, Reconciler};
use crate::ledger::{EntryPage, Ledger, LedgerFault, MAX_PAGE};
use crate::telemetry::log;
use arc_swap::ArcSwap;
use farebox_domain::catalog::{EngineKind, Model};
use farebox_domain::ids::EngineName;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// How long the database may take to keep one.
const KEEP_TIMEOUT: Duration = Duration::from_secs(10);
/// An entry's id is older than its admission by this at most (`ledger::sql::pages`).
const ADMISSION_MS: u64 = 3_600_000;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// From then on, in milliseconds since 1970.
    pub since_ms: u64,
    /// Until then.
    pub until_ms: u64,
    /// This engine alone.
    pub engine: Option<EngineName>,
    /// No request takes longer.
    pub longest_request: Duration,
    /// Settlements that the ledger does not have yet.
    pub in_outbox: u64,
}

/// What came of it for one engine.
#[derive(Debug, Clone)]
pub struct EngineReport {
    /// Which.
    pub engine: EngineName,
    /// What it is.
    pub kind: EngineKind,
    /// `None` where there are not two samples: it counts nothing that is known, or was not there.
    pub reconciled: Option<Reconciled>,
}

/// Asks the engines what they have counted, and keeps it.
pub struct Sampler {
    registry: Arc<ArcSwap<Registry>>,
    counters: Arc<dyn EngineCounters>,
    clock: Clock,
    /// This replica's id; empty where there is one farebox alone.
    replica: String,
}

impl Sampler {
    /// For these engines.
    pub fn new(
        registry: Arc<ArcSwap<Registry>>,
        counters: Arc<dyn EngineCounters>,
        clock: Clock,
        replica: String,
    ) -> Self {
        Self {
            registry,
            counters,
            clock,
            replica,
        }
    }

    /// Samples each minute until it is told to stop, beginning now.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            self.sample().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SAMPLE_EVERY) => {}
            }
        }
    }

    /// Samples every engine once. One that does not answer has none. Tries that failed are told by the next sample if this
    /// one cannot be kept.
    pub async fn sample(&self) {
        let registry = self.registry.load_full();
        let engines = registry.engines();
        let asked = engines.iter().map(|engine| self.sample_of(engine));
        let samples: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let keeping = tokio::time::timeout(KEEP_TIMEOUT, self.counters.keep_counters(&samples));
        let Err(fault) = keeping
            .await
            .unwrap_or_else(|elapsed| Err(LedgerFault::Database(elapsed.into())))
        else {
            return;
        };
        log::counters_not_kept(&fault);
        for sample in &samples {
            if let Some(engine) = engines.iter().find(|engine| engine.name == sample.engine) {
                engine.attempts_failed(sample.failed_attempts);
            }
        }
    }

    async fn sample_of(&self, engine: &Engine) -> Option<CounterSample> {
        let read = engine.read_counters().await?;
        Some(CounterSample {
            engine: engine.name.clone(),
            at_ms: self.clock.unix_ms(),
            replica: self.replica.clone(),
            prompt_tokens: read.prompt_tokens,
            generation_tokens: read.generation_tokens,
            cached_tokens: read.cached_tokens,
            started_at_s: read.started_at_s,
            in_flight: u64::from(engine.in_flight()),
            failed_attempts: engine.take_failed_attempts(),
        })
    }
}

/// Holds the ledger against the samples.
pub async fn reconcile(
    registry: &Registry,
    ledger: &dyn Ledger,
    counters: &dyn EngineCounters,
    wanted: &Wanted,
) -> Result<Vec<EngineReport>, LedgerFault> {
    let mut samples: BTreeMap<EngineName, Vec<CounterSample>> = BTreeMap::new();
    for sample in counters.counters(wanted.since_ms, wanted.until_ms).await? {
        samples.entry(sample.engine.clone()).or_default().push(sample);
    }
    let is_wanted = |engine: &&Arc<Engine>| wanted.engine.as_ref().is_none_or(|name| *name == engine.name);
    let engines: Vec<_> = registry.engines().iter().filter(is_wanted).collect();
    let mut reconcilers = BTreeMap::new();
    for engine in &engines {
        let of_engine = samples.remove(&engine.name).unwrap_or_default();
        if let Some(reconciler) = Reconciler::new(of_engine, rule(engine.kind), widest(registry, engine)) {
            reconcilers.insert(engine.name.clone(), reconciler);
        }
    }
    read_entries(registry, ledger, wanted.longest_request, &mut reconcilers).await?;
    let report = |engine: &&Arc<Engine>| EngineReport {
        engine: engine.name.clone(),
        kind: engine.kind,
        reconciled: reconcilers
            .remove(&engine.name)
            .map(|one| one.finish(wanted.in_outbox)),
    };
    Ok(engines.iter().map(report).collect())
}

/// Gives each reconciler its engine's entries, a page at a time.
async fn read_entries(
    registry: &Registry,
    ledger: &dyn Ledger,
    longest_request: Duration,
    reconcilers: &mut BTreeMap<EngineName, Reconciler>,
) -> Result<(), LedgerFault> {
    let from = reconcilers.values().map(|one| one.span_ms().0).min();
    let until = reconcilers.values().map(|one| one.span_ms().1).max();
    let (Some(from), Some(until)) = (from, until) else {
        return Ok(());
    };
    let longest_ms = u64::try_from(longest_request.as_millis()).unwrap_or(u64::MAX);
    let mut page = EntryPage {
        since_ms: Some(from.saturating_sub(longest_ms).saturating_sub(ADMISSION_MS)),
        until_ms: Some(until.saturating_add(1)),
        limit: MAX_PAGE,
        ..EntryPage::default()
    };
    let bounds = |model: &_| {
        let served = registry.models().iter().find(|served| served.model.id == *model);
        served.map(|served| bounds_of(&served.model))
    };
    loop {
        let entries = ledger.entries(&page).await?;
        for entry in &entries {
            let reconciler = entry.engine.as_ref().and_then(|name| reconcilers.get_mut(name));
            if let Some(reconciler) = reconciler {
                reconciler.entry(entry, bounds);
            }
        }
        let Some(last) = entries.last() else {
            return Ok(());
        };
        page.after = Some(last.id);
    }
}

fn rule(kind: EngineKind) -> CountingRule {
    CountingRule {
        prompt_excludes_cached: prompt_counter_excludes_cached(kind),
        // vLLM and llama.cpp count what they make as they make it; others may count at the end, and then not at all.
        may_skip_aborted: !matches!(kind, EngineKind::Vllm | EngineKind::LlamaCpp),
    }
}

fn bounds_of(model: &Model) -> ModelBounds {
    ModelBounds {
        prompt: model.context_length.into(),
        completion: model.max_output_tokens.into(),
    }
}

/// The most of any model that it serves.
fn widest(registry: &Registry, engine: &Engine) -> ModelBounds {
    let served = registry
        .models()
        .iter()
        .filter(|served| {
            served
                .model
                .deployments
                .iter()
                .any(|one| one.engine == engine.name)
        })
        .map(|served| bounds_of(&served.model));
    let none = ModelBounds {
        prompt: 0,
        completion: 0,
    };
    served.fold(none, |a, b| ModelBounds {
        prompt: a.prompt.max(b.prompt),
        completion: a.completion.max(b.completion),
    })
}
