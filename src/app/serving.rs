//! What models.yaml says, made to serve: engines that can be called, models that are joined to them, and who looks after both.

use crate::clock::Clock;
use crate::config::Settings;
use crate::engines::adapters;
use crate::engines::client::{Engine, EngineFault};
use crate::engines::clients::Clients;
use crate::engines::health::Standing;
use crate::engines::prefix::PrefixRouting;
use crate::engines::prompt::PromptCounters;
use crate::engines::registry::{Prices, Registry, ServedDeployment, ServedModel, ServingSettings};
use crate::store::{Store, StoreFault};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;
use farebox_domain::catalog::{Adapter, Model, Routing};
use farebox_domain::price::PriceSchedule;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two probes of an engine.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Looks up an environment variable, for engines' keys.
pub type ReadEnv = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Sets up every engine, or says what is wrong with all that could not be. One that is called just as `before` stays that very
/// engine, with its connections; one at the same address keeps what is counted there.
pub(super) fn set_up_engines(
    settings: &Settings,
    clock: &Clock,
    read_env: &ReadEnv,
    before: Option<&Registry>,
) -> Result<Vec<Arc<Engine>>, Vec<EngineFault>> {
    let connect = settings.timeouts.connect;
    let clients = Clients::new(connect).map_err(|fault| vec![EngineFault::from(fault)])?;
    let (mut engines, mut faults) = (Vec::new(), Vec::new());
    for spec in settings.catalog.engines() {
        let current = before.and_then(|before| before.engine(spec.name.as_str()));
        if let Some(same) = current.filter(|current| current.is_as(spec, connect)) {
            engines.push(Arc::clone(same));
            continue;
        }
        let left = || before.and_then(|before| before.leaving().find(|engine| engine.is_at(spec)));
        let same_server = current.filter(|current| current.is_at(spec)).or_else(left);
        match Engine::new(
            spec,
            &clients,
            clock.clone(),
            &**read_env,
            same_server.map(|engine| &**engine),
        ) {
            Ok(engine) => engines.push(Arc::new(engine)),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(engines)
    } else {
        Err(faults)
    }
}

/// Joins the models to their engines, at the prices that the store has. What engines hold of a model's prompts stays known where
/// `before` knew it of the same server.
pub(super) async fn join_registry(
    settings: Arc<Settings>,
    (engines, counters): (Vec<Arc<Engine>>, &PromptCounters),
    store: &Store,
    (metrics, clock): (&Metrics, &Clock),
    before: Option<&Registry>,
) -> Result<Registry, StoreFault> {
    let mut models = Vec::new();
    for model in settings.catalog.models() {
        store
            .note_catalog_price(&model.id, &model.price, clock.unix_ms())
            .await?;
        let schedule = PriceSchedule::new(store.prices(&model.id).await?)
            .ok_or(StoreFault::Unreadable("a model's prices"))?;
        let before = before.and_then(|before| before.find(model.id.as_str()));
        let (deployments, prefix) = match &model.adapter {
            Some(adapter) => adapted(adapter, &models),
            None => {
                let prefix = (model.routing == Routing::Prefix).then(|| {
                    let known = before.and_then(|before| before.prefix.clone());
                    known.unwrap_or_else(|| Arc::new(PrefixRouting::new(clock.clone())))
                });
                let before = before.map(|before| &**before);
                (deployments_of(model, &engines, prefix.as_deref(), before), prefix)
            }
        };
        models.push(Arc::new(ServedModel::new(
            Arc::clone(model),
            Prices::new(schedule),
            deployments,
            (counters.get(&model.id).cloned(), prefix),
            metrics.of_model(&model.id),
            ServingSettings {
                retry: settings.retry,
                timeouts: settings.timeouts,
                queue: settings.queue,
            },
        )));
    }
    let registry = Registry::new(models, engines, settings);
    registry.set_drained(&store.drained_engines().await?);
    Ok(registry)
}

/// An adapter is where its base is, and what it leaves in an engine's cache takes the place of what its base leaves there.
fn adapted(
    adapter: &Adapter,
    models: &[Arc<ServedModel>],
) -> (Vec<ServedDeployment>, Option<Arc<PrefixRouting>>) {
    // It stands in the catalog behind its base.
    let base = models.iter().rev().find(|served| served.model.id == adapter.base);
    let deployments = base.into_iter().flat_map(|base| &base.deployments);
    let adapted = deployments.map(|of_base| ServedDeployment {
        engine: Arc::clone(&of_base.engine),
        serves: adapters::served_as(of_base.engine.kind, &of_base.serves, adapter),
        seat: of_base.seat.clone(),
    });
    (adapted.collect(), base.and_then(|base| base.prefix.clone()))
}

fn deployments_of(
    model: &Model,
    engines: &[Arc<Engine>],
    prefix: Option<&PrefixRouting>,
    before: Option<&ServedModel>,
) -> Vec<ServedDeployment> {
    let joined = model.deployments.iter().filter_map(|deployment| {
        let engine = engines.iter().find(|engine| engine.name == deployment.engine)?;
        let seat = prefix.and_then(|prefix| {
            let known = before.and_then(|before| before.seat_at(engine, &deployment.serves));
            known
                .filter(|seat| seat.is_told_by(engine.hearing()))
                .or_else(|| prefix.seat(engine).ok())
        });
        Some(ServedDeployment {
            engine: Arc::clone(engine),
            serves: deployment.serves.clone(),
            seat,
        })
    });
    joined.collect()
}

/// Asks an engine now and then whether it can serve, until `stop` or until it is called otherwise.
pub(super) async fn probe(engine: Arc<Engine>, stop: CancellationToken) {
    loop {
        let (changed, (), ()) = tokio::join!(engine.probe(), engine.look(), engine.list_adapters());
        // It may be usable again, for those that wait for it.
        engine.offer_places();
        if changed {
            log::engine_probed(&engine.name, engine.health.standing() != Standing::Down);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.retired.cancelled() => return,
            () = tokio::time::sleep(PROBE_EVERY) => {}
        }
    }
}
