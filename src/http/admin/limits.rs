//! Limits: how many requests an account, or an account on one model, may have in flight.

use crate::admin_api::{DefaultsView, LimitChange, LimitsView, ModelLimitView};
use crate::admission::concurrency::{GateReading, ModelReading};
use crate::admission::directory::Account;
use crate::app::App;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::read::{Body, Params};
use crate::http::admin::{accounts, rates};
use axum::Json;
use axum::extract::{Path, State};
use farebox_domain::ids::ModelId;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /admin/v1/accounts/{account}/limits`
pub async fn show(
    State(admin): State<Admin>,
    Path(account): Path<String>,
    params: Params,
) -> Result<Json<LimitsView>, AdminError> {
    params.only(&[])?;
    let account = accounts::find(&admin, &account, None)?;
    Ok(Json(view(&admin, &account).await))
}

/// `GET /admin/v1/defaults`
pub async fn defaults(State(admin): State<Admin>, params: Params) -> Result<Json<DefaultsView>, AdminError> {
    params.only(&[])?;
    let limits = admin.app.registry().limits();
    Ok(Json(DefaultsView {
        concurrent_requests: limits.concurrent_requests,
        requests_per_minute: limits.rates.requests,
        tokens_per_minute: limits.rates.tokens,
    }))
}

/// `PUT /admin/v1/accounts/{account}/limits`. It holds for the very next request, and cuts none in flight.
pub async fn set(
    State(admin): State<Admin>,
    who: Who,
    Path(account): Path<String>,
    Body(wanted): Body<LimitChange>,
) -> Result<Json<LimitsView>, AdminError> {
    let account = accounts::find(&admin, &account, None)?;
    let model = wanted
        .model
        .as_deref()
        .map(|name| find_model(&admin, &account, name))
        .transpose()?;
    let limit = wanted.concurrent_requests;
    let (app, changed) = (Arc::clone(&admin.app), Arc::clone(&account));
    admin
        .change(&who, "limits.set", async move {
            let before = audited(&app, &changed);
            let stored = app.store.set_concurrency(&changed.id, model.as_ref(), limit);
            stored.await.map_err(AdminError::internal)?;
            changed.gate.set_limit(model.as_ref(), limit);
            let after = audited(&app, &changed);
            Changed::of(changed.id.as_str(), ())
                .before(&before)?
                .after(&after)
        })
        .await?;
    Ok(Json(view(&admin, &account).await))
}

/// The model's id, whether its id or an alias was given. One that is sold no more is found by the number that the
/// account still has for it, so that the number can be taken back.
fn find_model(admin: &Admin, account: &Account, name: &str) -> Result<ModelId, AdminError> {
    if let Some(served) = admin.app.registry().find(name) {
        return Ok(served.model.id.clone());
    }
    let limited = account.gate.read(admin.default_limit()).models;
    let sold_once = limited
        .into_iter()
        .find(|of_model| of_model.model.as_str() == name);
    sold_once
        .map(|of_model| of_model.model)
        .ok_or_else(|| AdminError::NotFound {
            what: Noun::Model,
            name: name.into(),
            param: Some("model"),
            hint: " in models.yaml; give an id or an alias",
        })
}

/// What the audit log has of an account's limits: the numbers, and not what is in flight.
pub fn audited(app: &App, account: &Account) -> Value {
    let reading = account.gate.read(app.registry().limits().concurrent_requests);
    let own = reading
        .models
        .into_iter()
        .filter_map(|of_model| Some((of_model.model.to_string(), of_model.limit?.into())));
    let models: serde_json::Map<String, Value> = own.collect();
    json!({
        "concurrent_requests": reading.limit,
        "is_default": !reading.limit_is_own,
        "models": models,
    })
}

async fn view(admin: &Admin, account: &Arc<Account>) -> LimitsView {
    let counted = admin.app.over_replicas(std::slice::from_ref(account)).await;
    let reading = counted.read(account, admin.default_limit());
    let note = note(&reading);
    let models = reading.models.into_iter().map(|of_model| ModelLimitView {
        model: of_model.model,
        in_flight: of_model.in_flight,
        concurrent_requests: of_model.limit,
    });
    LimitsView {
        account: account.id.clone(),
        account_name: account.name.clone(),
        in_flight: reading.in_flight,
        concurrent_requests: reading.limit,
        is_default: !reading.limit_is_own,
        models: models.collect(),
        note,
        rates: rates::of_account(&admin.app, account),
    }
}

/// A model's number above the account's looks like more than it is.
fn note(reading: &GateReading) -> Option<String> {
    let exceeds = |of_model: &ModelReading| of_model.limit.is_some_and(|limit| limit > reading.limit);
    let exceeding = reading.models.iter().filter(|of_model| exceeds(of_model));
    let models: Vec<_> = exceeding.map(|of_model| of_model.model.as_str()).collect();
    if models.is_empty() {
        return None;
    }
    Some(format!(
        "the account's own number still holds: {} requests in flight over all models, though {} may have more. \
         Raise the account's number too for the model's to be reached.",
        reading.limit,
        models.join(", ")
    ))
}
