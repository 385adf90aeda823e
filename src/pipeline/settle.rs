//! (bytes, Usage) -> Receipt: what a request comes to, once, durably.

use crate::admission::concurrency::ConcurrencyPermit;
use crate::ledger::SettleFault;
use crate::pipeline::Pipeline;
use crate::pipeline::admit::Admitted;
use crate::pipeline::in_flight::{Live, Progress};
use crate::pipeline::units;
use crate::pipeline::usage::{reported_cached_tokens, usage_of};
use crate::telemetry::log;
use farebox_domain::ids::EngineName;
use farebox_domain::ledger::{Entry, EntryState, Leased, Settlement, Timings, cost_of, is_answered};
use farebox_domain::money::Picodollars;
use farebox_domain::tokens::{Usage, UsageSource};
use farebox_domain::units::Units;
use farebox_routing::{Answered, Dispatched};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a request came to. It holds the request's place among its account's until the last byte has gone.
#[derive(Debug)]
pub struct Receipt {
    /// What was used.
    pub usage: Usage,
    /// How that is known.
    pub usage_source: UsageSource,
    /// What it costs.
    pub cost: Picodollars,
    /// Which engine served it.
    pub engine: Option<EngineName>,
    _permit: ConcurrencyPermit,
}

/// A settlement on its way to the disk.
#[derive(Debug)]
pub struct Settling {
    /// What it will have come to.
    pub receipt: Receipt,
    /// Resolves when it is durable.
    pub done: oneshot::Receiver<Result<(), SettleFault>>,
}

impl Settling {
    /// Waits until it is durable.
    pub async fn durable(self) -> Result<Receipt, SettleFault> {
        match self.done.await {
            Ok(Ok(())) => Ok(self.receipt),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(SettleFault::Closed),
        }
    }
}

impl Admitted {
    /// Ends the request in this state: the one place where a request that has a client is charged.
    pub fn settle(self, state: EntryState) -> Settling {
        let pipeline = Arc::clone(&self.ticket.pipeline);
        let live = self.ticket.redeem();
        let settled = settlement_of(&pipeline, &live, state);
        let entry = &settled.entry;
        let receipt = Receipt {
            usage: entry.usage,
            usage_source: entry.usage_source,
            cost: entry.cost,
            engine: entry.engine.clone(),
            _permit: self.permit,
        };
        let done = pipeline.settler.settle(settled);
        Settling { receipt, done }
    }

    /// Ends a request that no engine answered: nothing is charged, and nobody waits for the entry.
    pub fn fail(self) {
        let pipeline = Arc::clone(&self.ticket.pipeline);
        settle_failed(&pipeline, &self.ticket.redeem());
    }
}

/// Books that no engine answered.
pub(in crate::pipeline) fn settle_failed(pipeline: &Pipeline, live: &Live) {
    let settlement = settlement_of(pipeline, live, EntryState::Failed);
    pipeline.settler.settle_unwaited(settlement);
}

/// Settles what was dropped unsettled: clients that left, and streams that the shutdown cut.
pub(in crate::pipeline) fn settle_abandoned(pipeline: &Pipeline, live: &Live) {
    let state = if live.is_cut() {
        EntryState::Interrupted
    } else {
        EntryState::Cancelled
    };
    pipeline.metrics.abandoned.inc();
    pipeline
        .settler
        .settle_unwaited(settlement_of(pipeline, live, state));
}

/// Makes the entry, with the leases that it uses up, and puts what it costs in the place of what was held for it.
fn settlement_of(pipeline: &Pipeline, live: &Live, state: EntryState) -> Settlement {
    let mut progress = live.progress.lock();
    let entry = entry_now(pipeline, live, &progress, state);
    let mut leased = Leased::default();
    if let Some(hold) = progress.hold.take() {
        if hold.has_ceiling() && entry.cost > hold.amount() {
            pipeline.metrics.hold_exceeded.inc();
            log::hold_exceeded(live.id, hold.amount(), entry.cost);
        }
        leased = hold.leased();
        hold.settle(entry.cost);
    }
    if let Some(rates) = progress.rates.take()
        && entry.state != EntryState::Failed
    {
        let usage = entry.usage;
        rates.settle(usage.prompt_tokens.saturating_add(usage.completion_tokens));
    }
    if let Some(dispatched) = progress.dispatched.take() {
        learn(pipeline, live, &progress, &dispatched, &entry);
    }
    let parts = progress.parts;
    drop(progress);
    live.model.metrics.settled(&entry);
    pipeline.metrics.tally.settled(&entry);
    pipeline
        .request_log
        .settled(pipeline.clock.unix_ms(), &entry, parts);
    Settlement { entry, leased }
}

/// Tells routing what the engine said of its cache, and how long its answer took.
fn learn(pipeline: &Pipeline, live: &Live, progress: &Progress, dispatched: &Dispatched, entry: &Entry) {
    // Without a prompt's tokens an engine has said nothing, or not yet.
    let (Some(prefix), Some(text)) = (&live.model.prefix, progress.usage.as_deref()) else {
        return;
    };
    if entry.usage.prompt_tokens == 0 || !(progress.usage_is_final || progress.whole) {
        return;
    }
    let answered = Answered {
        prompt_tokens: entry.usage.prompt_tokens,
        cached_tokens: reported_cached_tokens(text),
        output_tokens: entry.usage.completion_tokens,
    };
    let foretold = dispatched.ended(answered, prefix.now_us());
    if let (Some(cached), Some((engine, _))) = (foretold.cached_tokens, &progress.engine) {
        pipeline.metrics.cache_foretold(
            engine.as_str(),
            foretold.source.as_str(),
            foretold.predicted_tokens,
            cached,
        );
    }
}

/// What the request would be booked as if it ended now. Changes nothing.
pub(in crate::pipeline) fn entry_now(
    pipeline: &Pipeline,
    live: &Live,
    progress: &Progress,
    state: EntryState,
) -> Entry {
    let (usage, usage_source) = match state {
        EntryState::Failed => (Usage::default(), UsageSource::None),
        _ => usage_of(progress, live, state == EntryState::Completed),
    };
    let state = match (state, live.capped_at) {
        (EntryState::Completed, Some(tokens)) if usage.completion_tokens >= tokens => EntryState::Capped,
        _ => state,
    };
    let units = if is_answered(state, &usage) {
        units::used(live, progress, pipeline.clock.now())
    } else {
        Units::default()
    };
    let cost = cost_of(state, &usage, &units, live.service_tier, &live.price.price);
    let (usage, units, usage_source, cost) = match cost {
        Ok(cost) if cost.to_i64().is_ok() && usage.is_credible() && units.is_credible() => {
            (usage, units, usage_source, cost)
        }
        // Nobody is charged for a number that no model can have produced.
        _ => {
            log::absurd_usage(live.id, &usage);
            let (usage, units) = (Usage::default(), Units::default());
            let cost = cost_of(state, &usage, &units, live.service_tier, &live.price.price);
            (usage, units, UsageSource::None, cost.unwrap_or(Picodollars::ZERO))
        }
    };
    Entry {
        id: live.id,
        client_request_id: live.client_request_id.clone(),
        account: live.account.clone(),
        key: live.key.clone(),
        model: live.model.model.id.clone(),
        engine: progress.engine.as_ref().map(|(name, _)| name.clone()),
        endpoint: live.endpoint,
        state,
        usage,
        units,
        service_tier: live.service_tier,
        usage_source,
        price_version: live.price.version,
        cost,
        admitted_at_ms: live.admitted_at_ms,
        timings: timings(pipeline, live, progress),
    }
}

fn timings(pipeline: &Pipeline, live: &Live, progress: &Progress) -> Timings {
    let now = pipeline.clock.now();
    let since = |at: tokio::time::Instant| microseconds(at.saturating_duration_since(live.admitted_at));
    Timings {
        queue_us: progress.called_at.map_or_else(|| since(now), since),
        ttft_us: progress.first_event_at.map(since),
        total_us: since(now),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
