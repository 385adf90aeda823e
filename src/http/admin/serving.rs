//! What is served: models, engines and metrics. An engine's URL and key are not told, not even here.

use crate::admin_api::{DeploymentView, EngineView, List, ModelView, PriceView, TtftView};
use crate::app::watch::Moment;
use crate::engines::client::Engine;
use crate::engines::registry::ServedModel;
use crate::http::admin::change::Admin;
use crate::telemetry::tally::Ttft;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use std::sync::Arc;

/// Prometheus: text exposition format, version 0.0.4.
const METRICS_TYPE: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// `GET /metrics`
pub async fn metrics(State(admin): State<Admin>) -> ([(HeaderName, &'static str); 1], String) {
    (METRICS_TYPE, admin.app.render_metrics())
}

/// `GET /admin/v1/engines`
pub async fn engines(State(admin): State<Admin>) -> Json<List<EngineView>> {
    let last = admin.app.seen.last();
    let registry = admin.app.registry();
    let engines = registry.engines().iter().chain(registry.leaving());
    let data = engines.map(|engine| engine_view(engine, &last)).collect();
    Json(List { data })
}

/// `GET /admin/v1/models`
pub async fn models(State(admin): State<Admin>) -> Json<List<ModelView>> {
    let now_ms = admin.app.clock.unix_ms();
    let last = admin.app.seen.last();
    let registry = admin.app.registry();
    let models = registry.models().iter();
    let data = models.map(|served| model_view(served, now_ms, &last)).collect();
    Json(List { data })
}

/// An engine as it is shown.
pub fn engine_view(engine: &Arc<Engine>, last: &Moment) -> EngineView {
    let status = match engine.is_removed() {
        true => "removed",
        false => engine.health.standing().as_str(),
    };
    let said = engine.said();
    let ejected = engine.health.ejected();
    EngineView {
        name: engine.name.clone(),
        kind: engine.kind.as_str().into(),
        status: status.into(),
        ejected_for: ejected.map(|ejected| ejected.why.as_str().into()),
        in_flight: engine.in_flight(),
        max_concurrent: engine.max_concurrent,
        reported_running: said.map(|said| said.running),
        reported_waiting: said.map(|said| said.waiting),
        kv_cache_permille: said.and_then(|said| said.kv_cache_permille),
        drained: engine.is_drained(),
        errors: engine.errors(),
        ttft_ms: ttft_view(last.all.ttft.engines.get(&engine.name)),
    }
}

fn model_view(served: &Arc<ServedModel>, now_ms: u64, last: &Moment) -> ModelView {
    let model = &served.model;
    let deployments = model.deployments.iter().map(|deployment| DeploymentView {
        engine: deployment.engine.clone(),
        serves: deployment.serves.clone(),
    });
    let joined = served.deployments.iter();
    let usable = joined.filter(|joined| joined.engine.as_candidate().usable);
    let (prompt_tokens, cached_tokens) = served.metrics.prompt_tokens();
    ModelView {
        id: model.id.clone(),
        aliases: model.aliases.clone(),
        task: model.task.as_str().into(),
        context_length: model.context_length,
        max_output_tokens: model.max_output_tokens,
        price: PriceView::from(&served.prices.at(now_ms).price),
        routing: model.routing.as_str().into(),
        requests_per_minute: model.limits.requests,
        tokens_per_minute: model.limits.tokens,
        engines: deployments.collect(),
        usable_engines: u32::try_from(usable.count()).unwrap_or(u32::MAX),
        prompt_tokens,
        cached_tokens,
        ttft_ms: ttft_view(last.all.ttft.models.get(&model.id)),
    }
}

/// Times to the first token, where there are any.
pub fn ttft_view(ttft: Option<&Ttft>) -> TtftView {
    let percentile = |percent| ttft.and_then(|ttft| ttft.percentile(percent));
    TtftView {
        p50: percentile(50),
        p90: percentile(90),
        p99: percentile(99),
    }
}
