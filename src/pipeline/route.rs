//! Admitted -> Route: an engine with a place in it.

use crate::engines::client::EngineGuard;
use crate::engines::registry::ServedModel;
use farebox_domain::refusal::Refusal;
use farebox_domain::route::Choice;
use std::time::Duration;

/// When a client that found every engine full may come back.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a client that found no engine up may come back.
const DOWN_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A place at an engine.
#[derive(Debug)]
pub struct Route {
    /// The index among the model's deployments.
    pub deployment: usize,
    /// The place; given back when it is dropped.
    pub guard: EngineGuard,
}

/// Chooses among the deployments for which `may_use` holds.
pub fn route(served: &ServedModel, may_use: impl Fn(usize) -> bool + Clone) -> Result<Route, Refusal> {
    loop {
        match served.choose(may_use.clone()) {
            Choice::Engine(deployment) => {
                // Another request may have taken the last place since it was seen; then the choice is made anew.
                if let Some(guard) = served.deployments[deployment].engine.try_enter() {
                    return Ok(Route { deployment, guard });
                }
            }
            Choice::AllFull => {
                return Err(Refusal::EngineOverloaded {
                    retry_after: FULL_RETRY_AFTER,
                });
            }
            Choice::NoneUsable => {
                let model = served.model.id.clone();
                return Err(Refusal::NoEngineAvailable {
                    model,
                    retry_after: DOWN_RETRY_AFTER,
                });
            }
        }
    }
}
