//! Defining a metric: it is made and registered in one.

use super::MetricFault;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Where metrics are registered. Those in the plural have labels.
pub(super) struct Definitions<'r>(pub(super) &'r Registry);

impl Definitions<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricFault> {
        self.register(IntCounter::new(name, help)?)
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricFault> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricFault> {
        self.register(IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricFault> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Of what is at most each of `buckets`, which rise.
    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricFault> {
        self.register(Histogram::with_opts(options(name, help, buckets))?)
    }

    /// As [`histogram`](Self::histogram).
    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricFault> {
        self.register(HistogramVec::new(options(name, help, buckets), labels)?)
    }

    fn register<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, MetricFault> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn options(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(buckets.to_vec())
}
