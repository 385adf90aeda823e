//! Where a request has been, and where and when it is tried again.

use crate::clock::Clock;
use crate::engines::client::Engine;
use crate::engines::registry::ServedModel;
use crate::engines::waiting::NoPlace;
use crate::pipeline::Pipeline;
use crate::pipeline::call::Call;
use crate::pipeline::route::{Route, route_again, warm_up};
use farebox_domain::attempt::{AttemptFault, RetryBudget};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The tries of one call, and what they may come to.
#[derive(Debug)]
pub struct Tries {
    retry: RetryBudget,
    clock: Clock,
    started: Instant,
    /// How each deployment of the model failed last, up to the last that did: mostly none.
    tried: Vec<Option<AttemptFault>>,
    failures: u32,
}

impl Tries {
    /// The first try begins now. Its budget is that of the models.yaml of this moment.
    pub fn begin(pipeline: &Pipeline, served: &ServedModel) -> Self {
        pipeline.retries.begins(served);
        Self {
            retry: served.settings.retry,
            clock: pipeline.clock.clone(),
            started: pipeline.clock.now(),
            tried: Vec::new(),
            failures: 0,
        }
    }

    /// A try failed.
    pub fn failed(&mut self, deployment: usize, fault: AttemptFault) {
        if self.tried.len() <= deployment {
            self.tried.resize(deployment + 1, None);
        }
        self.tried[deployment] = Some(fault);
        self.failures += 1;
    }

    /// How this deployment failed last, if it did.
    fn fault_of(&self, deployment: usize) -> Option<AttemptFault> {
        self.tried.get(deployment).copied().flatten()
    }

    /// A place for another try, waited for where an engine that was not tried has none now, or is being tried by another request;
    /// `None` when the budget is spent, or there is nothing to wait for. `served` is changed to the model as it is served at last.
    pub async fn next(&mut self, call: Call<'_>, served: &mut Arc<ServedModel>) -> Option<Route> {
        let pipeline = call.admitted.pipeline();
        if !self.retry.allows(self.failures, self.elapsed()) {
            return None;
        }
        let mut waits = 0;
        loop {
            self.follow(pipeline, served);
            warm_up(call, served).await;
            let found = self.find(call, served, waits > 0);
            let wait = match &found {
                Ok(_) => Duration::ZERO,
                Err(NoPlace::Full | NoPlace::OnTrial) => {
                    self.retry
                        .wait_for_another(self.failures, waits, self.elapsed())?
                }
                Err(NoPlace::NoneUsable) if waits == 0 => self.wait_to_repeat()?,
                Err(NoPlace::NoneUsable) => return None,
            };
            if waits == 0 && !pipeline.retries.try_again(served) {
                return None;
            }
            if let Ok(place) = found {
                return Some(place);
            }
            tokio::time::sleep(wait).await;
            waits += 1;
        }
    }

    /// A place now: at an engine that was not tried before all others; after a wait, where one failed in a way that may pass, too.
    fn find(&self, call: Call<'_>, served: &ServedModel, after_a_wait: bool) -> Result<Route, NoPlace> {
        let none = match route_again(call, served, |index| self.fault_of(index).is_none()) {
            Ok(place) => return Ok(place),
            Err(none) => none,
        };
        let comes = none != NoPlace::NoneUsable;
        // The last try is kept for one that was not tried, if there will be one.
        if !after_a_wait || (comes && self.failures + 1 >= self.retry.attempts) {
            return Err(none);
        }
        let again = |index: usize| self.fault_of(index).is_none_or(AttemptFault::may_repeat);
        route_again(call, served, again).map_err(|other| if comes { none } else { other })
    }

    /// How long to wait before one that failed in a way that may pass: as long as each of them asks that is worth waiting for.
    fn wait_to_repeat(&self) -> Option<Duration> {
        let faults = self.tried.iter().flatten();
        let waits = faults.filter_map(|fault| self.retry.wait(*fault, self.failures, self.elapsed()));
        waits.max()
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.started)
    }

    /// Where models.yaml was read again meanwhile: what was tried, by the deployments that there are now.
    fn follow(&mut self, pipeline: &Pipeline, served: &mut Arc<ServedModel>) {
        if !served.is_superseded() {
            return;
        }
        let registry = pipeline.registry();
        let Some(anew) = registry.find(served.model.id.as_str()) else {
            return;
        };
        let fault_at = |engine: &Engine| {
            let mut each = served.deployments.iter().zip(&self.tried);
            let (_, fault) =
                each.find(|(known, fault)| fault.is_some() && known.engine.is_same_server(engine))?;
            *fault
        };
        let deployments = anew.deployments.iter();
        self.tried = deployments
            .map(|deployment| fault_at(&deployment.engine))
            .collect();
        *served = Arc::clone(anew);
    }
}
