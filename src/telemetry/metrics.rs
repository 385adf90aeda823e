//! Every metric. Labels come from closed sets: the catalog's models and engines, states, codes, sources.

use crate::telemetry::tally::Tally;
use farebox_domain::attempt::AttemptFault;
use farebox_domain::ejection::Why;
use farebox_domain::ids::ModelId;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::units::ServiceTier;
use parking_lot::Mutex;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::cmp::Ordering;
use std::time::Duration;

const LATENCY_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
const INTER_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0,
];
const COMMIT_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];
const CALL_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
];
const BATCH_ENTRIES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// A metric was defined twice, or not as Prometheus wants it: a fault of the code's, found at start.
pub type MetricFault = prometheus::Error;

/// All of them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rendering: Mutex<()>,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    ttft: HistogramVec,
    inter_token: HistogramVec,
    total: HistogramVec,
    tokens: IntCounterVec,
    cost: IntCounterVec,
    attempt_faults: IntCounterVec,
    ejections: IntCounterVec,
    adapter_loads: IntCounterVec,
    retries: IntCounterVec,
    fallbacks: IntCounterVec,
    split_requests: IntCounterVec,
    split_parts: IntCounterVec,
    cache_tokens: IntCounterVec,
    predictions: IntCounterVec,
    sse_faults: IntCounterVec,
    queue_wait: HistogramVec,
    /// Requests that were admitted and ended without a settlement of their own: clients that left, mostly.
    pub abandoned: IntCounter,
    /// Requests that cost more than was held for them.
    pub hold_exceeded: IntCounter,
    /// Streams that were ended here at their ceiling.
    pub capped: IntCounter,
    commit_seconds: Histogram,
    commit_entries: Histogram,
    commit_failures: IntCounter,
    exported: IntCounter,
    export_failures: IntCounter,
    export_refused: IntCounter,
    export_lag: IntGauge,
    /// 1 while Valkey counts for all replicas.
    pub valkey_up: IntGauge,
    /// Requests that were judged by this replica's shares, as Valkey did not answer.
    pub valkey_fallback: IntCounter,
    /// A round of calls to Valkey.
    pub valkey_seconds: Histogram,
    gauges: Gauges,
    /// What is counted for charts and live figures.
    pub tally: Tally,
}

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
}

/// How a wait for a place ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// With a place.
    Served,
    /// With its time.
    TimedOut,
    /// The client left, or farebox shut down.
    Gone,
    /// It did not begin: as many waited as may.
    TurnedAway,
}

impl Waited {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
            Self::TurnedAway => "turned_away",
        }
    }
}

/// One model's metrics, looked up once.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    completed: IntCounter,
    cancelled: IntCounter,
    failed: IntCounter,
    interrupted: IntCounter,
    capped: IntCounter,
    ttft: Histogram,
    inter_token: Histogram,
    total: Histogram,
    prompt_tokens: IntCounter,
    cached_tokens: IntCounter,
    completion_tokens: IntCounter,
    cost: IntCounter,
    retries_made: IntCounter,
    retries_refused: IntCounter,
    split_requests: IntCounter,
    split_parts: IntCounter,
}

impl Metrics {
    /// Defines every metric.
    pub fn new() -> Result<Self, MetricFault> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, MetricFault>(metric)
        };
        let histograms = |name: &str, help: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let metric = HistogramVec::new(opts, &["model"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, MetricFault>(metric)
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, MetricFault>(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, MetricFault>(metric)
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, MetricFault>(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, MetricFault>(metric)
        };
        Ok(Self {
            requests: counters(
                "farebox_requests_total",
                "Requests that were admitted, by how they ended.",
                &["model", "outcome"],
            )?,
            refusals: counters(
                "farebox_refusals_total",
                "Requests answered with an error, by status and reason.",
                &["status", "code"],
            )?,
            ttft: histograms(
                "farebox_ttft_seconds",
                "From admission to the first event of the answer.",
                LATENCY_SECONDS,
            )?,
            inter_token: histograms(
                "farebox_inter_token_seconds",
                "Between the segments of a stream.",
                INTER_TOKEN_SECONDS,
            )?,
            total: histograms(
                "farebox_request_seconds",
                "From admission to settlement.",
                LATENCY_SECONDS,
            )?,
            tokens: counters(
                "farebox_tokens_total",
                "Tokens in the ledger: prompt (cached among them), cached and completion.",
                &["model", "kind"],
            )?,
            cost: counters(
                "farebox_cost_picodollars_total",
                "What the ledger's entries come to; 1e12 picodollars are a dollar.",
                &["model"],
            )?,
            cache_tokens: counters(
                "farebox_prefix_cached_tokens_total",
                "Cached tokens of prompts: `predicted` by the prefix index, `reported` by the engine",
                &["engine", "said"],
            )?,
            predictions: counters(
                "farebox_prefix_predictions_total",
                "Answers by whether the engine had cached as many tokens as predicted (exact), fewer or more; predicted from the \
                 engine's own events or from what was sent there.",
                &["engine", "source", "cached"],
            )?,
            attempt_faults: counters(
                "farebox_attempt_faults_total",
                "Tries at an engine that failed before a first event.",
                &["engine", "fault"],
            )?,
            ejections: counters(
                "farebox_engine_ejections_total",
                "Times that the engine was left out for a while, by why: failures_in_a_row, failure_rate or slow.",
                &["engine", "why"],
            )?,
            adapter_loads: counters(
                "farebox_adapter_loads_total",
                "Times that the engine was asked to load a LoRA adapter: `loaded` or `failed`.",
                &["engine", "outcome"],
            )?,
            retries: counters(
                "farebox_retries_total",
                "Requests that were to be tried again: `made`, or `refused` as the budget of all requests was spent.",
                &["model", "outcome"],
            )?,
            split_requests: counters(
                "farebox_split_requests_total",
                "Embeddings requests that had more inputs than an engine is sent at once.",
                &["model"],
            )?,
            split_parts: counters(
                "farebox_split_parts_total",
                "Parts that such requests were split into.",
                &["model"],
            )?,
            fallbacks: counters(
                "farebox_fallbacks_total",
                "Requests for a model that went to another, as none of its engines could serve them.",
                &["model", "fallback"],
            )?,
            sse_faults: counters(
                "farebox_sse_faults_total",
                "Streams that broke after their first event, by how.",
                &["fault"],
            )?,
            queue_wait: {
                let opts = HistogramOpts::new(
                    "farebox_queue_wait_seconds",
                    "How long requests waited for a place at an engine, by their tier and how the wait ended.",
                );
                let metric = HistogramVec::new(opts.buckets(LATENCY_SECONDS.to_vec()), &["tier", "outcome"])?;
                registry.register(Box::new(metric.clone()))?;
                metric
            },
            abandoned: counter(
                "farebox_abandoned_total",
                "Requests that were admitted and dropped before they were settled: clients that left.",
            )?,
            hold_exceeded: counter(
                "farebox_hold_exceeded_total",
                "Requests that cost more than was held for them under a ceiling; it should stay at zero.",
            )?,
            capped: counter(
                "farebox_capped_streams_total",
                "Streams that were ended here because the balance paid for no more.",
            )?,
            commit_seconds: histogram(
                "farebox_ledger_commit_seconds",
                "One durable commit.",
                COMMIT_SECONDS,
            )?,
            commit_entries: histogram(
                "farebox_ledger_commit_entries",
                "Entries in a commit.",
                BATCH_ENTRIES,
            )?,
            commit_failures: counter("farebox_ledger_commit_failures_total", "Commits that failed.")?,
            exported: counter(
                "farebox_export_delivered_events_total",
                "Entries and adjustments that the receiver of the export took.",
            )?,
            export_failures: counter(
                "farebox_export_failures_total",
                "Deliveries that have to be made again.",
            )?,
            export_refused: counter(
                "farebox_export_refused_events_total",
                "Entries and adjustments that the receiver refused; they are set aside.",
            )?,
            export_lag: gauge(
                "farebox_export_lag_seconds",
                "The age of the oldest entry or adjustment that was not delivered when it was last looked.",
            )?,
            valkey_up: gauge(
                "farebox_valkey_up",
                "1 while Valkey counts places and rates for all replicas; 0 without it.",
            )?,
            valkey_fallback: counter(
                "farebox_valkey_fallback_total",
                "Requests that were let in or refused by this replica's share of limits and rates, without Valkey.",
            )?,
            valkey_seconds: histogram(
                "farebox_valkey_seconds",
                "A round of calls to Valkey, many requests' at once.",
                CALL_SECONDS,
            )?,
            gauges: Gauges {
                in_flight: gauges(
                    "farebox_in_flight_requests",
                    "Requests in flight, of accounts with the default limit or with their own.",
                    &["account_class"],
                )?,
                engine_in_flight: gauges(
                    "farebox_engine_in_flight_requests",
                    "Requests in flight at the engine from here.",
                    &["engine"],
                )?,
                engine_usable: gauges(
                    "farebox_engine_usable",
                    "1 where requests may go to the engine, 0 where it is down or ejected.",
                    &["engine"],
                )?,
                engine_reported: gauges(
                    "farebox_engine_reported_requests",
                    "Requests that run and wait at the engine, whoever's they are, as it says itself.",
                    &["engine", "state"],
                )?,
                engine_kv_cache: gauges(
                    "farebox_engine_kv_cache_permille",
                    "Thousandths of the engine's KV cache that are in use, as it says itself.",
                    &["engine"],
                )?,
                kv_events_heard: gauges(
                    "farebox_kv_events_heard",
                    "1 while the engine's KV events are heard and routing believes them, 0 while its cache is guessed at.",
                    &["engine"],
                )?,
                kv_events: counters(
                    "farebox_kv_events_total",
                    "What came of an engine's KV events: events applied, blocks stored, removed, orphans and misfits, gaps in \
                     the sequence, replays asked for, resets, and what could not be read (undecodable).",
                    &["engine", "what"],
                )?,
                prefix_blocks: gauges(
                    "farebox_prefix_index_blocks",
                    "Blocks of prompts that engines are thought to hold, each once for each engine",
                    &["model"],
                )?,
                queue_waiting: gauges(
                    "farebox_queue_waiting_requests",
                    "Requests that wait, as every engine of the model is full.",
                    &["model"],
                )?,
                ledger_queued: gauges(
                    "farebox_ledger_queued_entries",
                    "Entries that wait to be committed.",
                    &["ledger"],
                )?,
                outbox_entries: gauges(
                    "farebox_outbox_entries",
                    "Settlements that the shared ledger does not have: waiting for it, or refused by it.",
                    &["state"],
                )?,
                outbox_oldest_seconds: gauges(
                    "farebox_outbox_oldest_seconds",
                    "Since the oldest settlement that waits in the outbox was made; 0 where none waits.",
                    &[],
                )?,
            },
            registry,
            rendering: Mutex::new(()),
            tally: Tally::default(),
        })
    }

    /// One model's metrics.
    pub fn of_model(&self, model: &ModelId) -> ModelMetrics {
        let name = model.as_str();
        let outcome = |state: EntryState| self.requests.with_label_values(&[name, state.as_str()]);
        let tokens = |kind| self.tokens.with_label_values(&[name, kind]);
        ModelMetrics {
            completed: outcome(EntryState::Completed),
            cancelled: outcome(EntryState::Cancelled),
            failed: outcome(EntryState::Failed),
            interrupted: outcome(EntryState::Interrupted),
            capped: outcome(EntryState::Capped),
            ttft: self.ttft.with_label_values(&[name]),
            inter_token: self.inter_token.with_label_values(&[name]),
            total: self.total.with_label_values(&[name]),
            prompt_tokens: tokens("prompt"),
            cached_tokens: tokens("cached"),
            completion_tokens: tokens("completion"),
            cost: self.cost.with_label_values(&[name]),
            retries_made: self.retries.with_label_values(&[name, "made"]),
            retries_refused: self.retries.with_label_values(&[name, "refused"]),
            split_requests: self.split_requests.with_label_values(&[name]),
            split_parts: self.split_parts.with_label_values(&[name]),
        }
    }

    /// A request was answered with an error.
    pub fn refused(&self, status: u16, code: &str) {
        self.refusals
            .with_label_values(&[status.to_string().as_str(), code])
            .inc();
    }

    /// A try at an engine failed.
    pub fn attempt_failed(&self, engine: &str, fault: AttemptFault) {
        self.attempt_faults
            .with_label_values(&[engine, fault.as_str()])
            .inc();
    }

    /// A request for one model goes to another.
    pub fn fell_back(&self, asked: &ModelId, serves: &ModelId) {
        let labels = [asked.as_str(), serves.as_str()];
        self.fallbacks.with_label_values(&labels).inc();
    }

    /// An engine was asked to load an adapter.
    pub fn adapter_loaded(&self, engine: &str, loaded: bool) {
        let outcome = if loaded { "loaded" } else { "failed" };
        self.adapter_loads.with_label_values(&[engine, outcome]).inc();
    }

    /// An engine is left out for a while.
    pub fn engine_ejected(&self, engine: &str, why: Why) {
        self.ejections.with_label_values(&[engine, why.as_str()]).inc();
    }

    /// An engine reported what it had cached of a prompt, and this is what had been predicted from this source.
    pub fn cache_foretold(&self, engine: &str, source: &str, predicted: u64, reported: u64) {
        let outcome = match reported.cmp(&predicted) {
            Ordering::Less => "fewer",
            Ordering::Equal => "exact",
            Ordering::Greater => "more",
        };
        self.predictions
            .with_label_values(&[engine, source, outcome])
            .inc();
        for (said, tokens) in [("predicted", predicted), ("reported", reported)] {
            self.cache_tokens
                .with_label_values(&[engine, said])
                .inc_by(tokens);
        }
    }

    /// A request has waited so long for a place.
    pub fn waited(&self, how: Waited, tier: ServiceTier, so_long: Duration) {
        let labels = [tier.as_str(), how.as_str()];
        let of_both = self.queue_wait.with_label_values(&labels);
        of_both.observe(so_long.as_secs_f64());
    }

    /// A stream broke after its first event.
    pub fn stream_broke(&self, fault: &'static str) {
        self.sse_faults.with_label_values(&[fault]).inc();
    }

    /// A commit ended.
    pub fn committed(&self, entries: u32, took: Duration, ok: bool) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_entries.observe(f64::from(entries));
        if !ok {
            self.commit_failures.inc();
        }
    }

    /// The receiver of the export took so many events.
    pub fn exported(&self, events: u64) {
        self.exported.inc_by(events);
    }

    /// A delivery failed.
    pub fn export_failed(&self) {
        self.export_failures.inc();
    }

    /// The receiver of the export refused an event.
    pub fn export_refused(&self) {
        self.export_refused.inc();
    }

    /// The oldest event that was not delivered is so old.
    pub fn export_lags(&self, age: Duration) {
        self.export_lag
            .set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// The text that Prometheus scrapes, after `read` has set the gauges from their sources.
    pub fn render(&self, read: impl FnOnce(&Gauges)) -> String {
        // One at a time: gauges are set anew for each, and a counter that is read from its source is moved by what it lacks.
        let _one = self.rendering.lock();
        read(&self.gauges);
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(fault) => format!("# {fault}\n"),
        }
    }
}

impl Gauges {
    /// What came of an engine's KV events since it was first heard, in [`render`](Metrics::render) alone.
    pub fn kv_events(&self, engine: &str, what: &str, count: u64) {
        let counter = self.kv_events.with_label_values(&[engine, what]);
        counter.inc_by(count.saturating_sub(counter.get()));
    }
}

impl ModelMetrics {
    /// Prompt tokens since this process started, and those of them that were cached.
    pub fn prompt_tokens(&self) -> (u64, u64) {
        (self.prompt_tokens.get(), self.cached_tokens.get())
    }

    /// A request was to be tried again, and was or was not.
    pub fn retried(&self, is_made: bool) {
        if is_made {
            self.retries_made.inc();
        } else {
            self.retries_refused.inc();
        }
    }

    /// A request was split into so many parts.
    pub fn split(&self, parts: u64) {
        self.split_requests.inc();
        self.split_parts.inc_by(parts);
    }

    /// Between two segments of a stream.
    pub fn inter_token(&self, gap: Duration) {
        self.inter_token.observe(gap.as_secs_f64());
    }

    /// A request was settled.
    pub fn settled(&self, entry: &Entry) {
        match entry.state {
            EntryState::Completed => &self.completed,
            EntryState::Cancelled => &self.cancelled,
            EntryState::Failed => &self.failed,
            EntryState::Interrupted => &self.interrupted,
            EntryState::Capped => &self.capped,
        }
        .inc();
        if let Some(ttft_us) = entry.timings.ttft_us {
            self.ttft.observe(Duration::from_micros(ttft_us).as_secs_f64());
        }
        self.total
            .observe(Duration::from_micros(entry.timings.total_us).as_secs_f64());
        self.prompt_tokens.inc_by(entry.usage.prompt_tokens);
        self.cached_tokens.inc_by(entry.usage.cached_tokens);
        self.completion_tokens.inc_by(entry.usage.completion_tokens);
        self.cost.inc_by(u64::try_from(entry.cost.get()).unwrap_or(0));
    }
}
