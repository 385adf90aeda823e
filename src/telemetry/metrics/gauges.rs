//! What is read from its source at each scrape.

use super::MetricFault;
use super::define::Definitions;
use prometheus::{IntCounterVec, IntGaugeVec};

/// Read from their source at each scrape.
#[derive(Debug)]
pub struct Gauges {
    /// Requests in flight of accounts with the default limit, and of those with one of their own.
    pub in_flight: IntGaugeVec,
    /// Requests in flight at each engine from here.
    pub engine_in_flight: IntGaugeVec,
    /// 1 for an engine that requests may go to.
    pub engine_usable: IntGaugeVec,
    /// Requests that run and wait at each engine, as it says itself.
    engine_reported: IntGaugeVec,
    /// How full its KV cache is, as it says itself.
    engine_kv_cache: IntGaugeVec,
    /// Requests that wait for a place at an engine, by model.
    pub queue_waiting: IntGaugeVec,
    /// Blocks of prompts in a model's prefix index.
    pub prefix_blocks: IntGaugeVec,
    /// Whether an engine's KV events are heard.
    pub kv_events_heard: IntGaugeVec,
    kv_events: IntCounterVec,
    /// Entries that wait to be committed.
    pub ledger_queued: IntGaugeVec,
    /// Settlements in a replica's outbox: those that wait, and those that the ledger refused.
    pub outbox_entries: IntGaugeVec,
    /// How long the oldest of those that wait has waited.
    pub outbox_oldest_seconds: IntGaugeVec,
}

impl Gauges {
    pub(super) fn define(define: &Definitions<'_>) -> Result<Self, MetricFault> {
        Ok(Self {
            in_flight: define.gauges(
                "farebox_in_flight_requests",
                "Requests in flight, of accounts with the default limit or with their own.",
                &["account_class"],
            )?,
            engine_in_flight: define.gauges(
                "farebox_engine_in_flight_requests",
                "Requests in flight at the engine from here.",
                &["engine"],
            )?,
            engine_usable: define.gauges(
                "farebox_engine_usable",
                "1 where requests may go to the engine, 0 where it is down or ejected.",
                &["engine"],
            )?,
            engine_reported: define.gauges(
                "farebox_engine_reported_requests",
                "Requests that run and wait at the engine, whoever's they are, as it says itself.",
                &["engine", "state"],
            )?,
            engine_kv_cache: define.gauges(
                "farebox_engine_kv_cache_permille",
                "Thousandths of the engine's KV cache that are in use, as it says itself.",
                &["engine"],
            )?,
            kv_events_heard: define.gauges(
                "farebox_kv_events_heard",
                "1 while the engine's KV events are heard and routing believes them, 0 while its cache is guessed at.",
                &["engine"],
            )?,
            kv_events: define.counters(
                "farebox_kv_events_total",
                "What came of an engine's KV events: events applied, blocks stored, removed, orphans and misfits, gaps in \
                 the sequence, replays asked for, resets, and what could not be read (undecodable).",
                &["engine", "what"],
            )?,
            prefix_blocks: define.gauges(
                "farebox_prefix_index_blocks",
                "Blocks of prompts that engines are thought to hold, each once for each engine",
                &["model"],
            )?,
            queue_waiting: define.gauges(
                "farebox_queue_waiting_requests",
                "Requests that wait, as every engine of the model is full.",
                &["model"],
            )?,
            ledger_queued: define.gauges(
                "farebox_ledger_queued_entries",
                "Entries that wait to be committed.",
                &["ledger"],
            )?,
            outbox_entries: define.gauges(
                "farebox_outbox_entries",
                "Settlements that the shared ledger does not have: waiting for it, or refused by it.",
                &["state"],
            )?,
            outbox_oldest_seconds: define.gauges(
                "farebox_outbox_oldest_seconds",
                "Since the oldest settlement that waits in the outbox was made; 0 where none waits.",
                &[],
            )?,
        })
    }

    /// What engines and models are called may have changed since they were set.
    pub fn forget_names(&self) {
        for of_names in [
            &self.engine_in_flight,
            &self.engine_usable,
            &self.queue_waiting,
            &self.prefix_blocks,
            &self.engine_reported,
            &self.engine_kv_cache,
            &self.kv_events_heard,
        ] {
            of_names.reset();
        }
    }

    /// What an engine says of itself: requests that run and that wait, and thousandths of its KV cache. What it does not say is
    /// not shown.
    pub fn engine_said(&self, engine: &str, [running, waiting, kv_cache]: [Option<u64>; 3]) {
        let set = |gauge: &IntGaugeVec, labels: &[&str], value: Option<u64>| match value {
            Some(value) => gauge
                .with_label_values(labels)
                .set(i64::try_from(value).unwrap_or(i64::MAX)),
            // It is not there where it was not set.
            None => drop(gauge.remove_label_values(labels)),
        };
        set(&self.engine_reported, &[engine, "running"], running);
        set(&self.engine_reported, &[engine, "waiting"], waiting);
        set(&self.engine_kv_cache, &[engine], kv_cache);
    }

    /// What came of an engine's KV events since it was first heard, in [`render`](super::Metrics::render) alone.
    pub fn kv_events(&self, engine: &str, what: &str, count: u64) {
        let counter = self.kv_events.with_label_values(&[engine, what]);
        counter.inc_by(count.saturating_sub(counter.get()));
    }
}
