//! Which engines of a model are left out for being slow among its engines, and what is left where all are left out.
//!
//! Failures may leave out every engine of a model: then each is tried by one request at a time, the one first that was left out
//! longest ago, and the others wait for what comes of it, as where all are full. (Envoy's panic threshold sends everything everywhere
//! then. Here one request finds out as much, and an engine that struggles is not buried.) Being slow leaves out no more than half of a model's
//! engines, and never the last one that serves: slow is better than nothing.

use super::client::{Engine, EngineGuard};
use super::registry::ServedModel;
use super::waiting::{NoPlace, Place};
use farebox_domain::ejection::{Ejected, Why};
use farebox_routing::FirstToken;
use std::sync::Arc;
use tokio::time::Instant;

/// What there was to do for a stream's first token, and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Tokens or bytes, the same for all of the model's requests.
    pub size: u64,
    /// Microseconds.
    pub took_us: u64,
    /// The time, in microseconds of a clock that every answer of the model is told by.
    pub now_us: u64,
}

impl ServedModel {
    /// An engine began to answer; `stream` has how long a stream's first token took. Returns the ejection that it led to.
    pub fn answered(&self, deployment: usize, place: &EngineGuard, stream: Option<Took>) -> Option<Ejected> {
        let (engine, pass) = (place.engine(), place.pass());
        let is_slow = stream.is_some_and(|took| {
            let token = FirstToken {
                size: took.size,
                took_us: took.took_us,
                now_us: took.now_us,
                is_trial: pass.is_trial(),
            };
            self.latencies.answered(deployment, token)
        });
        if is_slow && may_be_left_out(engine) {
            let ejected = engine.health.was_slow(pass);
            self.latencies.forget(deployment);
            return ejected;
        }
        if engine.health.succeeded(pass) {
            // Whoever waited while it was tried may go there now.
            engine.offer_places();
        }
        None
    }

    /// A place at an engine that is left out, where every one is for which `may_use` holds: for a request that failed at the others, too.
    pub(super) fn last_resort(&self, may_use: impl Fn(usize) -> bool) -> Result<Place, NoPlace> {
        let mut indexes = 0..self.deployments.len();
        if indexes.any(|index| may_use(index) && self.deployments[index].engine.is_usable()) {
            return Err(NoPlace::NoneUsable);
        }
        let mut out: Vec<(Instant, usize)> =
            self.to_be_tried().filter(|(_, index)| may_use(*index)).collect();
        if out.is_empty() {
            return Err(NoPlace::NoneUsable);
        }
        out.sort_unstable();
        let place = out.into_iter().find_map(|(_, deployment)| {
            let guard = self.deployments[deployment].engine.try_enter_early()?;
            Some(Place { deployment, guard })
        });
        place.ok_or(NoPlace::OnTrial)
    }

    /// Whether an engine is left out that may be tried, now or when whoever tries it has done so.
    pub fn may_try_one(&self) -> bool {
        self.to_be_tried().next().is_some()
    }

    /// Those left out that may be tried, with when they were left out.
    fn to_be_tried(&self) -> impl Iterator<Item = (Instant, usize)> {
        let deployments = self.deployments.iter().enumerate();
        deployments.filter_map(|(index, deployment)| {
            let engine = &deployment.engine;
            let may = self.may_have(index)
                && !engine.is_drained()
                && !engine.is_removed()
                && engine.health.may_be_tried();
            may.then(|| Some((engine.health.ejected_at()?, index)))?
        })
    }

    /// Its engines, each once.
    fn engines(&self) -> Vec<&Arc<Engine>> {
        let mut engines: Vec<&Arc<Engine>> = Vec::with_capacity(self.deployments.len());
        for deployment in &self.deployments {
            if !engines.iter().any(|known| Arc::ptr_eq(known, &deployment.engine)) {
                engines.push(&deployment.engine);
            }
        }
        engines
    }
}

/// Whether each of the models that it serves can do without it: another engine is there, and no more than half are slow.
fn may_be_left_out(engine: &Arc<Engine>) -> bool {
    engine.models().all(|model| {
        let engines = model.engines();
        let others = || engines.iter().filter(|other| !Arc::ptr_eq(other, engine));
        let is_slow = |other: &&&Arc<Engine>| {
            let ejected = other.health.ejected();
            ejected.is_some_and(|ejected| ejected.why == Why::Slow)
        };
        let slow = others().filter(is_slow).count() + 1;
        others().any(|other| other.as_candidate().usable) && slow <= engines.len() / 2
    })
}
