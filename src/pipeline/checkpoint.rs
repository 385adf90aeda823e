//! The crash bound: once a second, what each stream that is open would be booked as if farebox ended now.
//!
//! What a killed process leaves behind is booked as `interrupted` when the next one starts, so a crash loses the
//! operator at most a second of tokens a stream, and never charges a client for more than it was given.

use crate::pipeline::Pipeline;
use crate::pipeline::in_flight::Live;
use crate::pipeline::settle::entry_now;
use farebox_domain::ledger::{EntryState, Settlement};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How much of a stream a crash may lose.
const EVERY: Duration = Duration::from_secs(1);

/// Checkpoints what is open, until `stop`.
pub async fn checkpoint_open(pipeline: Arc<Pipeline>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let answering = pipeline.in_flight.answering();
        let open: Vec<Settlement> = answering
            .iter()
            .filter_map(|live| settlement_so_far(&pipeline, live))
            .collect();
        if !open.is_empty() {
            pipeline.settler.checkpoint(open);
        }
    }
}

/// `None` for what is younger than a second, or settled by now.
fn settlement_so_far(pipeline: &Pipeline, live: &Live) -> Option<Settlement> {
    let progress = live.progress.lock();
    let begun = progress.first_event_at?;
    let leased = progress.hold.as_ref()?.leased();
    let age = pipeline.clock.now().saturating_duration_since(begun);
    (age >= EVERY).then(|| Settlement {
        entry: entry_now(pipeline, live, &progress, EntryState::Interrupted),
        leased,
    })
}
