//! Prices: every version that a model's price has, and a new one, which holds at once or from a time to come.

use crate::admin_api::{List, NewPrice, PriceSet, PriceStatus, PriceVersionView, PriceView, when};
use crate::app::App;
use crate::config;
use crate::engines::registry::ServedModel;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::read::{Body, Params};
use crate::store::{PriceSource, StoreFault};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use farebox_domain::catalog::Task;
use farebox_domain::ids::ModelId;
use farebox_domain::price::{Price, PriceSchedule, VersionedPrice};
use serde_json::Value;
use std::sync::Arc;

/// `GET /admin/v1/prices`: of one model, or of all that are sold, the oldest version first.
pub async fn list(
    State(admin): State<Admin>,
    params: Params,
) -> Result<Json<List<PriceVersionView>>, AdminError> {
    let params = params.only(&["model"])?;
    let models = match params.get("model") {
        Some(name) => vec![find(&admin.app, name)?],
        None => admin.app.registry().models().to_vec(),
    };
    let now_ms = admin.app.clock.unix_ms();
    let mut data = Vec::new();
    for served in models {
        let current = served.prices.at(now_ms);
        let versions = admin.app.store.prices(&served.model.id).await;
        let versions = versions.map_err(AdminError::internal)?;
        data.extend(
            versions
                .into_iter()
                .map(|version| view(&served.model.id, &version, &current, now_ms)),
        );
    }
    Ok(Json(List { data }))
}

/// `POST /admin/v1/prices`. It holds for the very next request, or from its time on by itself; requests that were admitted
/// before keep their price.
pub async fn set(
    State(admin): State<Admin>,
    who: Who,
    Body(new): Body<NewPrice>,
) -> Result<(StatusCode, Json<PriceSet>), AdminError> {
    let served = find(&admin.app, &new.model)?;
    let model = &served.model;
    let price = read_price(&new.price, model.task, Some(model.context_length))?;
    let app = Arc::clone(&admin.app);
    let answer = admin
        .change(&who, "price.set", async move {
            // Read when nobody else changes anything, so that two which hold at once are in their order.
            let now_ms = app.clock.unix_ms();
            let from_ms = read_from(new.from.as_deref(), now_ms)?;
            let before = served.prices.at(from_ms);
            let id = &served.model.id;
            let added = app
                .store
                .add_price(id, &price, Some(from_ms), PriceSource::Admin, now_ms);
            let version = added.await.map_err(AdminError::internal)?;
            let versions = app.store.prices(id).await.map_err(AdminError::internal)?;
            let schedule = PriceSchedule::new(versions)
                .ok_or_else(|| AdminError::internal(StoreFault::Unreadable("a model's prices")))?;
            served.prices.replace(schedule);
            let current = served.prices.at(now_ms);
            let set = VersionedPrice {
                version,
                effective_at_ms: Some(from_ms),
                price,
            };
            let answer = PriceSet {
                set: view(id, &set, &current, now_ms),
                before: view(id, &before, &current, now_ms),
            };
            let (before, after) = (json(&answer.before)?, json(&answer.set)?);
            Changed::of(id.as_str(), answer).before(&before)?.after(&after)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(answer)))
}

fn json(shown: &PriceVersionView) -> Result<Value, AdminError> {
    serde_json::to_value(shown).map_err(AdminError::internal)
}

/// The model with this id or alias.
pub fn find(app: &App, name: &str) -> Result<Arc<ServedModel>, AdminError> {
    app.registry()
        .find(name)
        .map(Arc::clone)
        .ok_or_else(|| no_model(name))
}

/// That there is no such model.
pub fn no_model(name: &str) -> AdminError {
    AdminError::NotFound {
        what: Noun::Model,
        name: name.into(),
        param: Some("model"),
        hint: " in models.yaml; give an id or an alias",
    }
}

/// A price as models.yaml has it, with every fault that it has.
pub fn read_price(given: &Value, task: Task, context_length: Option<u32>) -> Result<Price, AdminError> {
    config::parse_price(&given.to_string(), task, context_length).map_err(|faults| {
        let path = |fault: &config::Fault| match fault.path.as_str() {
            "" => "price".to_owned(),
            path => format!("price.{path}"),
        };
        let told: Vec<String> = faults
            .as_slice()
            .iter()
            .map(|fault| format!("`{}`: {}", path(fault), fault.message))
            .collect();
        AdminError::Invalid {
            message: told.join("; "),
            param: faults.as_slice().first().map(path),
        }
    })
}

fn read_from(from: Option<&str>, now_ms: u64) -> Result<u64, AdminError> {
    let Some(from) = from else { return Ok(now_ms) };
    let when = when::When::parse(from).map_err(|fault| AdminError::invalid("from", fault))?;
    let from_ms = when.ahead(now_ms);
    if from_ms < now_ms {
        let message = "a price cannot begin in the past, as requests were billed by another: leave it out to have it hold \
                       at once, and correct what was billed with `farebox ledger rerate`";
        return Err(AdminError::invalid("from", message));
    }
    if from_ms > when::latest_ms() {
        return Err(AdminError::invalid("from", "it is after the year 9999"));
    }
    Ok(from_ms)
}

fn view(
    model: &ModelId,
    version: &VersionedPrice,
    current: &VersionedPrice,
    now_ms: u64,
) -> PriceVersionView {
    let status = match version.effective_at_ms {
        None => PriceStatus::Rerate,
        Some(_) if version.version == current.version => PriceStatus::Current,
        Some(from_ms) if from_ms > now_ms => PriceStatus::Scheduled,
        Some(_) => PriceStatus::Past,
    };
    PriceVersionView {
        model: model.clone(),
        version: version.version,
        status,
        from: version.effective_at_ms.map(when::show),
        price: PriceView::from(&version.price),
    }
}
