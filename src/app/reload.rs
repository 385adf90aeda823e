//! models.yaml is read again: validated whole, and put in force as one snapshot, or not at all.
//!
//! What was admitted goes on under what it was admitted with: at its price, in its time, at its engine. Who waits for a place
//! waits on, for the engines that there are now. An engine that is gone gets nothing new, and what is there goes on to its end; one
//! that is at another address is another engine, and nothing is thought to be in its cache.

use super::App;
use super::serving::{join_registry, probe, set_up_engines};
use crate::config::{self, Faults, Plan, Settings};
use crate::engines::client::{Engine, EngineFault};
use crate::engines::events::hear;
use crate::engines::prompt::{self, PromptCounters};
use crate::engines::registry::Registry;
use crate::store::StoreFault;
use futures_util::future::join_all;
use std::sync::Arc;

/// Why the old one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFault {
    /// There is no file.
    #[error("this farebox was started without a models.yaml, so there is none to read again")]
    NoFile,
    /// The file, or one that it names, does not hold.
    #[error(transparent)]
    DoesNotHold(#[from] Faults),
    /// Engines that could not be set up: all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Engines(Vec<EngineFault>),
    /// The store did not take or give the prices.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The files were not read to their end.
    #[error("the file was not read to its end: {0}")]
    NotRead(#[from] tokio::task::JoinError),
}

/// What was read, and holds.
struct Reading {
    settings: Settings,
    counters: PromptCounters,
    engines: Vec<Arc<Engine>>,
    plan: Plan,
}

impl App {
    /// What [`reload`](Self::reload) would do now.
    pub async fn plan_reload(&self) -> Result<Plan, ReloadFault> {
        Ok(self.read_again(&self.registry()).await?.plan)
    }

    /// Reads models.yaml again and puts it in force. Whoever calls it holds [`changing`](Self::changing): prices that are set
    /// meanwhile would be lost.
    pub async fn reload(&self) -> Result<Plan, ReloadFault> {
        let before = self.registry();
        let Reading {
            settings,
            counters,
            engines,
            plan,
        } = self.read_again(&before).await?;
        let is_new = |engine: &&Arc<Engine>| !before.engines().iter().any(|old| Arc::ptr_eq(old, engine));
        let new: Vec<_> = engines.iter().filter(is_new).cloned().collect();
        // What is known to be down is not tried by the first requests.
        join_all(new.iter().map(|engine| engine.probe())).await;
        let registry = join_registry(
            Arc::new(settings),
            (engines, &counters),
            &self.store,
            (&self.metrics, &self.clock),
            Some(&before),
        )
        .await?;
        let registry = Arc::new(registry.after(&before));
        // First: an engine that was gone and comes again is there for whoever finds it named in the new reading.
        registry.take_over();
        self.pipeline.registry.store(Arc::clone(&registry));
        before.give_way(&registry);
        for events in registry
            .engines()
            .iter()
            .filter_map(|engine| engine.events.as_ref())
        {
            events.models_changed();
        }
        for engine in new {
            self.look_after(engine);
        }
        Ok(plan)
    }

    async fn read_again(&self, before: &Registry) -> Result<Reading, ReloadFault> {
        let path = self.models_yaml.clone().ok_or(ReloadFault::NoFile)?;
        let clock = self.clock.clone();
        // Tokenizers are megabytes.
        let read = self.tasks.spawn_blocking(move || {
            let settings = config::load(&path)?;
            let counters = prompt::load_all(&settings, &clock)?;
            Ok::<_, Faults>((settings, counters))
        });
        let (settings, counters) = read.await??;
        let engines = set_up_engines(&settings, &self.clock, &self.read_env, Some(before))
            .map_err(ReloadFault::Engines)?;
        Ok(Reading {
            plan: Plan::between(before.settings(), &settings, &self.settings),
            settings,
            counters,
            engines,
        })
    }

    /// Probes an engine as long as it is called as it is now, and hears what it tells.
    pub(super) fn look_after(&self, engine: Arc<Engine>) {
        self.background.spawn(|stop| hear(Arc::clone(&engine), stop));
        self.background.spawn(|stop| probe(engine, stop));
    }
}
