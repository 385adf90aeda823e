//! What happens now: requests in flight and refusals of this replica, a request's receipt, and engines that are drained.

use crate::admin_api::bill::InFlightView;
use crate::admin_api::{EngineView, List, LiveView, Money, RefusedView, StaffReceiptView, when};
use crate::bill::receipt::receipt;
use crate::engines::client::Engine;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::read::Params;
use crate::http::admin::serving::engine_view;
use crate::pipeline::in_flight::Live;
use crate::pipeline::watch::{Watched, watch, watch_one};
use crate::telemetry::refusals::Refused;
use axum::Json;
use axum::extract::{Path, State};
use farebox_domain::ids::{AccountId, EngineName, RequestId};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /admin/v1/in-flight`: the oldest first.
pub async fn in_flight(
    State(admin): State<Admin>,
    params: Params,
) -> Result<Json<List<LiveView>>, AdminError> {
    params.only(&[])?;
    let live = watch(&admin.app.pipeline).into_iter();
    let data = live.map(|watched| live_view(&admin, watched)).collect();
    Ok(Json(List { data }))
}

/// `GET /admin/v1/refusals`: the last five hundred, the newest first.
pub async fn refusals(
    State(admin): State<Admin>,
    params: Params,
) -> Result<Json<List<RefusedView>>, AdminError> {
    params.only(&[])?;
    let kept = admin.app.refusals.newest_first();
    let refused = kept.into_iter();
    let data = refused.map(|refused| refused_view(&admin, refused)).collect();
    Ok(Json(List { data }))
}

/// `GET /admin/v1/receipts/{request_id}`: of any account.
pub async fn show_receipt(
    State(admin): State<Admin>,
    Path(request_id): Path<String>,
    params: Params,
) -> Result<Json<StaffReceiptView>, AdminError> {
    params.only(&[])?;
    let no_such = || AdminError::NotFound {
        what: Noun::Request,
        name: request_id.clone(),
        param: None,
        hint: " in flight or in the ledger; what was refused has no receipt",
    };
    let id = RequestId::parse(&request_id).map_err(|_| no_such())?;
    // Before the ledger: a request that ends between the two is then found there.
    let live = watch_one(&admin.app.pipeline, id);
    let app = &admin.app;
    let booked = app.ledger.entry(id).await.map_err(AdminError::internal)?;
    if let Some(entry) = booked {
        let shown = receipt(app.ledger.as_ref(), &app.store, &entry).await;
        let shown = shown.map_err(AdminError::internal)?;
        return with_owner(&admin, entry.account, entry.engine, &shown);
    }
    let Watched { live, so_far, .. } = live.ok_or_else(no_such)?;
    with_owner(&admin, live.account.clone(), so_far.engine, &unfinished(&live))
}

/// The receipt of a request that has not ended: that it has not.
pub fn unfinished(live: &Live) -> InFlightView {
    InFlightView {
        object: "receipt".into(),
        status: "in_flight".into(),
        request_id: live.id,
        client_request_id: live.client_request_id.clone(),
        admitted_at: when::show(live.admitted_at_ms),
        key: live.key.clone(),
        model: live.model.model.id.clone(),
        endpoint: live.endpoint.as_str().into(),
        price_version: live.price.version.0,
    }
}

fn name_of(admin: &Admin, account: &AccountId) -> Option<String> {
    let known = admin.app.directory.account(account)?;
    Some(known.name.clone())
}

fn with_owner(
    admin: &Admin,
    account: AccountId,
    engine: Option<EngineName>,
    receipt: &impl Serialize,
) -> Result<Json<StaffReceiptView>, AdminError> {
    Ok(Json(StaffReceiptView {
        account_name: name_of(admin, &account),
        account,
        engine,
        receipt: serde_json::to_value(receipt).map_err(AdminError::internal)?,
    }))
}

/// `POST /admin/v1/engines/{engine}/drain`: no new request goes there, from any replica, until it is restored. What is
/// there goes on to its end. Again is no fault.
pub async fn drain(
    State(admin): State<Admin>,
    who: Who,
    Path(engine): Path<String>,
) -> Result<Json<EngineView>, AdminError> {
    set_drained(&admin, &who, &engine, true).await
}

/// `POST /admin/v1/engines/{engine}/restore`
pub async fn restore(
    State(admin): State<Admin>,
    who: Who,
    Path(engine): Path<String>,
) -> Result<Json<EngineView>, AdminError> {
    set_drained(&admin, &who, &engine, false).await
}

async fn set_drained(
    admin: &Admin,
    who: &Who,
    name: &str,
    drained: bool,
) -> Result<Json<EngineView>, AdminError> {
    let found = admin.app.registry().engine(name).cloned();
    let engine: Arc<Engine> = found.ok_or_else(|| AdminError::NotFound {
        what: Noun::Engine,
        name: name.into(),
        param: None,
        hint: " in models.yaml; `farebox engine list` shows them",
    })?;
    let (app, by) = (Arc::clone(&admin.app), who.staff.id.clone());
    let action = if drained { "engine.drain" } else { "engine.restore" };
    let shown = admin
        .change(who, action, async move {
            let was = engine.is_drained();
            // Even where it is so here: the store is what all replicas go by.
            let stored = if drained {
                app.store
                    .drain_engine(&engine.name, app.clock.unix_ms(), &by)
                    .await
            } else {
                app.store.restore_engine(&engine.name).await
            };
            stored.map_err(AdminError::internal)?;
            engine.set_drained(drained);
            engine.offer_places();
            let shown = engine_view(&engine, &app.seen.last());
            if was == drained {
                return Ok(Changed::nothing(shown));
            }
            let state = |drained: bool| -> Value { json!({ "drained": drained }) };
            Changed::of(engine.name.as_str(), shown)
                .before(&state(was))?
                .after(&state(drained))
        })
        .await?;
    Ok(Json(shown))
}

fn live_view(admin: &Admin, watched: Watched) -> LiveView {
    let Watched {
        live,
        so_far,
        age,
        answering,
    } = watched;
    LiveView {
        id: live.id,
        account_name: name_of(admin, &live.account),
        account: live.account.clone(),
        key: live.key.clone(),
        model: live.model.model.id.clone(),
        engine: so_far.engine,
        endpoint: live.endpoint.as_str().into(),
        service_tier: live.service_tier.as_str().into(),
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        stream: live.stream,
        answering,
        prompt_tokens: so_far.usage.prompt_tokens.max(live.prompt_tokens.unwrap_or(0)),
        completion_tokens: so_far.usage.completion_tokens,
        cost: Money(so_far.cost),
    }
}

fn refused_view(admin: &Admin, refused: Refused) -> RefusedView {
    RefusedView {
        at: when::show(refused.at_ms),
        id: refused.id,
        account_name: refused.asked.account.as_ref().and_then(|id| name_of(admin, id)),
        account: refused.asked.account,
        key: refused.asked.key,
        model: refused.asked.model,
        status: refused.status,
        code: refused.code.into(),
        message: refused.message,
    }
}
