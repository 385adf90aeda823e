//! Admitted -> Route: an engine with a place in it, or a turn to wait for one.

use crate::config::QueueSettings;
use crate::engines::adapters::Outcome;
use crate::engines::registry::ServedModel;
use crate::engines::waiting::{Asks, Entered, NoPlace, Place};
use crate::pipeline::call::Call;
use crate::telemetry::log;
use crate::telemetry::metrics::Waited;
use farebox_domain::refusal::Refusal;
use farebox_domain::units::ServiceTier;
use std::sync::Arc;
use std::time::Duration;

/// A place at an engine.
pub type Route = Place;

/// When a client that found every engine full may come back.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a client that found no engine up may come back.
const DOWN_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Has an engine load the model where it is an adapter that no engine with a place has; those that fail are not asked again soon,
/// so that this ends.
pub async fn warm_up(call: Call<'_>, served: &ServedModel) {
    if served.model.adapter.is_none() {
        return;
    }
    let pipeline = call.admitted.pipeline();
    let prompt = call.prompt.map(|prompt| &**prompt);
    while let Some(tried) = served.load_where_it_lacks(prompt, &pipeline.clock).await {
        let engine = &tried.engine.name;
        match tried.how {
            Ok(Outcome::WasThere) => return,
            Ok(Outcome::Loaded) => {
                pipeline.metrics.adapter_loaded(engine.as_str(), true);
                log::adapter_loaded(engine, &served.model.id);
                return;
            }
            Err(why) => {
                pipeline.metrics.adapter_loaded(engine.as_str(), false);
                log::adapter_not_loaded(engine, &served.model.id, &why);
            }
        }
    }
}

/// Chooses an engine; where all are full, it waits for its turn as long as its tier may. The model is the one that is served
/// when it ends: models.yaml may have been read again meanwhile, and then `served` is changed to it.
pub async fn route(call: Call<'_>, served: &mut Arc<ServedModel>) -> Result<Route, Refusal> {
    let (pipeline, live) = (call.admitted.pipeline(), call.admitted.live());
    let mut asks = Asks {
        account: &live.account,
        tier: live.service_tier,
        may_wait: call.follows() || !call.admitted.request.fail_fast,
        since: pipeline.clock.now(),
        prompt: call.prompt,
        waited: call.follows(),
    };
    let mut left = None;
    loop {
        warm_up(call, served).await;
        let waits = match served.enter(asks) {
            Ok(Entered::Place(place)) => return Ok(ended(left, Waited::Served, place)),
            Ok(Entered::Waits(waits)) => Some(waits),
            Ok(Entered::Closed) => None,
            Err(none) => {
                if none == NoPlace::Full && asks.may_wait && !asks.waited {
                    pipeline
                        .metrics
                        .waited(Waited::TurnedAway, asks.tier, Duration::ZERO);
                }
                return Err(ended(left, Waited::TimedOut, refusal(none, served)));
            }
        };
        if let Some(waits) = waits {
            left.get_or_insert(Left { call, asks });
            let waited = pipeline.clock.now().saturating_duration_since(asks.since);
            let patience = patience(served.settings.queue, asks.tier).saturating_sub(waited);
            match tokio::time::timeout(patience, waits.place()).await {
                Ok(Some(place)) => return Ok(ended(left, Waited::Served, place)),
                Ok(None) => {}
                Err(_) => {
                    let none = if served.has_usable_engine() {
                        NoPlace::Full
                    } else {
                        NoPlace::NoneUsable
                    };
                    return Err(ended(left, Waited::TimedOut, refusal(none, served)));
                }
            }
        }
        asks.waited = true;
        let name = served.model.id.as_str();
        let anew = pipeline.registry().find(name).cloned();
        *served = anew.ok_or_else(|| Refusal::no_such_model(name))?;
    }
}

/// `outcome`, and a wait that is over, if there was one.
fn ended<T>(left: Option<Left<'_>>, how: Waited, outcome: T) -> T {
    if let Some(left) = left {
        left.ended(how);
    }
    outcome
}

/// Chooses among the deployments for which `may_use` holds, for a request that has been at an engine: it does not wait again.
pub fn route_again(
    call: Call<'_>,
    served: &ServedModel,
    may_use: impl Fn(usize) -> bool + Clone,
) -> Result<Route, NoPlace> {
    served.try_place(call.prompt.map(|prompt| &**prompt), may_use)
}

const fn patience(queue: QueueSettings, tier: ServiceTier) -> Duration {
    match tier {
        ServiceTier::Priority => queue.priority,
        ServiceTier::Default => queue.default,
        ServiceTier::Flex => queue.flex,
    }
}

fn refusal(none: NoPlace, served: &ServedModel) -> Refusal {
    match none {
        NoPlace::Full => Refusal::EngineOverloaded {
            retry_after: FULL_RETRY_AFTER,
        },
        NoPlace::OnTrial | NoPlace::NoneUsable => Refusal::NoEngineAvailable {
            model: served.model.id.clone(),
            retry_after: DOWN_RETRY_AFTER,
        },
    }
}

/// Counts a wait, however it ends: a client that leaves drops it.
struct Left<'a> {
    call: Call<'a>,
    asks: Asks<'a>,
}

impl Left<'_> {
    fn ended(self, how: Waited) {
        self.count(how);
        std::mem::forget(self);
    }

    fn count(&self, how: Waited) {
        let pipeline = self.call.admitted.pipeline();
        let waited = pipeline.clock.now().saturating_duration_since(self.asks.since);
        pipeline.metrics.waited(how, self.asks.tier, waited);
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.count(Waited::Gone);
    }
}
