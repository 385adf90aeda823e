//! What is in flight, for whoever watches: what each request has come to so far. Nothing of its prompt or its answer.

use crate::pipeline::Pipeline;
use crate::pipeline::in_flight::Live;
use crate::pipeline::settle::entry_now;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Entry, EntryState};
use std::sync::Arc;
use std::time::Duration;

/// A request in flight.
#[derive(Debug)]
pub struct Watched {
    /// The request.
    pub live: Arc<Live>,
    /// What it would be booked as if it were interrupted now.
    pub so_far: Entry,
    /// How long ago it was admitted.
    pub age: Duration,
    /// Whether the engine has begun to answer.
    pub answering: bool,
}

/// Every request that is not settled, the oldest first.
pub fn watch(pipeline: &Pipeline) -> Vec<Watched> {
    let all = pipeline.in_flight.all().into_iter();
    all.filter_map(|live| look(pipeline, live)).collect()
}

/// The request with this id, if it is not settled.
pub fn watch_one(pipeline: &Pipeline, id: RequestId) -> Option<Watched> {
    look(pipeline, pipeline.in_flight.get(id)?)
}

fn look(pipeline: &Pipeline, live: Arc<Live>) -> Option<Watched> {
    let progress = live.progress.lock();
    let is_open = progress.hold.is_some();
    let answering = progress.first_event_at.is_some();
    let so_far = entry_now(pipeline, &live, &progress, EntryState::Interrupted);
    drop(progress);
    let age = pipeline.clock.now().saturating_duration_since(live.admitted_at);
    is_open.then_some(Watched {
        live,
        so_far,
        age,
        answering,
    })
}
