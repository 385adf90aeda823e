//! Every metric. Labels come from closed sets: the catalog's models and engines, states, codes, sources.

mod define;
mod gauges;

use self::define::Definitions;
pub use self::gauges::Gauges;
use crate::telemetry::tally::Tally;
use farebox_domain::attempt::AttemptFault;
use farebox_domain::ejection::Why;
use farebox_domain::ids::ModelId;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::units::ServiceTier;
use parking_lot::Mutex;
use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder,
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
        let define = Definitions(&registry);
        Ok(Self {
            requests: define.counters(
                "farebox_requests_total",
                "Requests that were admitted, by how they ended.",
                &["model", "outcome"],
            )?,
            refusals: define.counters(
                "farebox_refusals_total",
                "Requests answered with an error, by status and reason.",
                &["status", "code"],
            )?,
            ttft: define.histograms(
                "farebox_ttft_seconds",
                "From admission to the first event of the answer.",
                &["model"],
                LATENCY_SECONDS,
            )?,
            inter_token: define.histograms(
                "farebox_inter_token_seconds",
                "Between the segments of a stream.",
                &["model"],
                INTER_TOKEN_SECONDS,
            )?,
            total: define.histograms(
                "farebox_request_seconds",
                "From admission to settlement.",
                &["model"],
                LATENCY_SECONDS,
            )?,
            tokens: define.counters(
                "farebox_tokens_total",
                "Tokens in the ledger: prompt (cached among them), cached and completion.",
                &["model", "kind"],
            )?,
            cost: define.counters(
                "farebox_cost_picodollars_total",
                "What the ledger's entries come to; 1e12 picodollars are a dollar.",
                &["model"],
            )?,
            cache_tokens: define.counters(
                "farebox_prefix_cached_tokens_total",
                "Cached tokens of prompts: `predicted` by the prefix index, `reported` by the engine",
                &["engine", "said"],
            )?,
            predictions: define.counters(
                "farebox_prefix_predictions_total",
                "Answers by whether the engine had cached as many tokens as predicted (exact), fewer or more; predicted from the \
                 engine's own events or from what was sent there.",
                &["engine", "source", "cached"],
            )?,
            attempt_faults: define.counters(
                "farebox_attempt_faults_total",
                "Tries at an engine that failed before a first event.",
                &["engine", "fault"],
            )?,
            ejections: define.counters(
                "farebox_engine_ejections_total",
                "Times that the engine was left out for a while, by why: failures_in_a_row, failure_rate or slow.",
                &["engine", "why"],
            )?,
            adapter_loads: define.counters(
                "farebox_adapter_loads_total",
                "Times that the engine was asked to load a LoRA adapter: `loaded` or `failed`.",
                &["engine", "outcome"],
            )?,
            retries: define.counters(
                "farebox_retries_total",
                "Requests that were to be tried again: `made`, or `refused` as the budget of all requests was spent.",
                &["model", "outcome"],
            )?,
            split_requests: define.counters(
                "farebox_split_requests_total",
                "Embeddings requests that had more inputs than an engine is sent at once.",
                &["model"],
            )?,
            split_parts: define.counters(
                "farebox_split_parts_total",
                "Parts that such requests were split into.",
                &["model"],
            )?,
            fallbacks: define.counters(
                "farebox_fallbacks_total",
                "Requests for a model that went to another, as none of its engines could serve them.",
                &["model", "fallback"],
            )?,
            sse_faults: define.counters(
                "farebox_sse_faults_total",
                "Streams that broke after their first event, by how.",
                &["fault"],
            )?,
            queue_wait: define.histograms(
                "farebox_queue_wait_seconds",
                "How long requests waited for a place at an engine, by their tier and how the wait ended.",
                &["tier", "outcome"],
                LATENCY_SECONDS,
            )?,
            abandoned: define.counter(
                "farebox_abandoned_total",
                "Requests that were admitted and dropped before they were settled: clients that left.",
            )?,
            hold_exceeded: define.counter(
                "farebox_hold_exceeded_total",
                "Requests that cost more than was held for them under a ceiling; it should stay at zero.",
            )?,
            capped: define.counter(
                "farebox_capped_streams_total",
                "Streams that were ended here because the balance paid for no more.",
            )?,
            commit_seconds: define.histogram(
                "farebox_ledger_commit_seconds",
                "One durable commit.",
                COMMIT_SECONDS,
            )?,
            commit_entries: define.histogram(
                "farebox_ledger_commit_entries",
                "Entries in a commit.",
                BATCH_ENTRIES,
            )?,
            commit_failures: define.counter("farebox_ledger_commit_failures_total", "Commits that failed.")?,
            exported: define.counter(
                "farebox_export_delivered_events_total",
                "Entries and adjustments that the receiver of the export took.",
            )?,
            export_failures: define.counter(
                "farebox_export_failures_total",
                "Deliveries that have to be made again.",
            )?,
            export_refused: define.counter(
                "farebox_export_refused_events_total",
                "Entries and adjustments that the receiver refused; they are set aside.",
            )?,
            export_lag: define.gauge(
                "farebox_export_lag_seconds",
                "The age of the oldest entry or adjustment that was not delivered when it was last looked.",
            )?,
            valkey_up: define.gauge(
                "farebox_valkey_up",
                "1 while Valkey counts places and rates for all replicas; 0 without it.",
            )?,
            valkey_fallback: define.counter(
                "farebox_valkey_fallback_total",
                "Requests that were let in or refused by this replica's share of limits and rates, without Valkey.",
            )?,
            valkey_seconds: define.histogram(
                "farebox_valkey_seconds",
                "A round of calls to Valkey, many requests' at once.",
                CALL_SECONDS,
            )?,
            gauges: Gauges::define(&define)?,
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
