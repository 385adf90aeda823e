//! What Prometheus is shown: the gauges, read from their sources.

use super::App;
use crate::engines::client::Engine;
use crate::engines::registry::ServedModel;
use crate::telemetry::metrics::Gauges;

impl App {
    /// The text that Prometheus scrapes. Gauges are read from their sources now.
    pub fn render_metrics(&self) -> String {
        self.metrics.render(|gauges| {
            gauges.forget_names();
            self.read_accounts(gauges);
            let registry = self.registry();
            for engine in registry.engines().iter().chain(registry.leaving()) {
                let in_flight = i64::from(engine.in_flight());
                // Two of one name may be there, while one leaves.
                let of_name = gauges.engine_in_flight.with_label_values(&[engine.name.as_str()]);
                of_name.add(in_flight);
            }
            for engine in registry.engines() {
                read_engine(engine, gauges);
            }
            for served in registry.models() {
                read_model(served, gauges);
            }
            let queued = i64::try_from(self.pipeline.settler.queued()).unwrap_or(i64::MAX);
            gauges.ledger_queued.with_label_values(&["sqlite"]).set(queued);
            if let Some(replica) = &self.replica {
                replica.read_gauges(gauges);
            }
        })
    }

    fn read_accounts(&self, gauges: &Gauges) {
        let default = self.registry().limits().concurrent_requests;
        let (mut own, mut defaults) = (0i64, 0i64);
        for account in self.directory.accounts() {
            let reading = account.gate.read(default);
            let class = if reading.limit_is_own {
                &mut own
            } else {
                &mut defaults
            };
            *class += i64::from(reading.in_flight);
        }
        for (class, in_flight) in [("own_limit", own), ("default_limit", defaults)] {
            gauges.in_flight.with_label_values(&[class]).set(in_flight);
        }
    }
}

fn read_engine(engine: &Engine, gauges: &Gauges) {
    let usable = i64::from(engine.is_usable());
    let name = engine.name.as_str();
    gauges.engine_usable.with_label_values(&[name]).set(usable);
    let said = engine.said();
    let of_engine = [
        said.map(|said| said.running),
        said.map(|said| said.waiting),
        said.and_then(|said| said.kv_cache_permille),
    ];
    gauges.engine_said(name, of_engine);
    if let Some(events) = &engine.events {
        events.read_gauges(&engine.name, gauges);
    }
}

fn read_model(served: &ServedModel, gauges: &Gauges) {
    let name = [served.model.id.as_str()];
    let waiting = i64::try_from(served.room.waiting()).unwrap_or(i64::MAX);
    gauges.queue_waiting.with_label_values(&name).set(waiting);
    if let Some(prefix) = &served.prefix {
        let blocks = i64::try_from(prefix.blocks()).unwrap_or(i64::MAX);
        gauges.prefix_blocks.with_label_values(&name).set(blocks);
    }
}
