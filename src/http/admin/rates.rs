//! Rates: how many requests and tokens an account, or a key of it, may use in a minute.

use crate::admin_api::{ModelRatesView, RateView, RatesChange, RatesView};
use crate::admission::directory::Account;
use crate::app::App;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::AdminError;
use crate::http::admin::read::{Body, Params};
use crate::http::admin::{accounts, keys};
use crate::store::RateRow;
use axum::Json;
use axum::extract::{Path, State};
use farebox_domain::ids::KeyId;
use farebox_domain::limits::{RATE_AT_MOST, RateLimits};
use farebox_domain::rate::Standing;
use serde_json::{Value, json};
use std::sync::Arc;

/// Whose rates.
#[derive(Clone)]
struct Of {
    account: Arc<Account>,
    key: Option<KeyId>,
}

/// `GET /admin/v1/accounts/{account}/rates`
pub async fn show(
    State(admin): State<Admin>,
    Path(account): Path<String>,
    params: Params,
) -> Result<Json<RatesView>, AdminError> {
    params.only(&[])?;
    let of = account_named(&admin, &account)?;
    Ok(Json(view(&admin.app, of)))
}

/// `PUT /admin/v1/accounts/{account}/rates`. It holds for the very next request, and what was used stays used.
pub async fn set(
    State(admin): State<Admin>,
    who: Who,
    Path(account): Path<String>,
    Body(wanted): Body<RatesChange>,
) -> Result<Json<RatesView>, AdminError> {
    let of = account_named(&admin, &account)?;
    change(&admin, &who, of, wanted).await
}

/// `GET /admin/v1/keys/{key}/rates`
pub async fn show_key(
    State(admin): State<Admin>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Json<RatesView>, AdminError> {
    params.only(&[])?;
    let of = key_with_id(&admin, key)?;
    Ok(Json(view(&admin.app, of)))
}

/// `PUT /admin/v1/keys/{key}/rates`. They hold besides the account's.
pub async fn set_key(
    State(admin): State<Admin>,
    who: Who,
    Path(key): Path<String>,
    Body(wanted): Body<RatesChange>,
) -> Result<Json<RatesView>, AdminError> {
    let of = key_with_id(&admin, key)?;
    change(&admin, &who, of, wanted).await
}

/// How an account's rates stand.
pub fn of_account(app: &App, account: &Arc<Account>) -> RatesView {
    let of = Of {
        account: Arc::clone(account),
        key: None,
    };
    view(app, of)
}

fn account_named(admin: &Admin, account: &str) -> Result<Of, AdminError> {
    let account = accounts::find(admin, account, None)?;
    Ok(Of { account, key: None })
}

fn key_with_id(admin: &Admin, key: String) -> Result<Of, AdminError> {
    let id = KeyId::from(key);
    let key = admin.app.directory.key(&id).ok_or_else(|| keys::not_found(&id))?;
    Ok(Of {
        account: Arc::clone(&key.account),
        key: Some(id),
    })
}

async fn change(
    admin: &Admin,
    who: &Who,
    of: Of,
    wanted: RatesChange,
) -> Result<Json<RatesView>, AdminError> {
    check("requests_per_minute", wanted.requests_per_minute)?;
    check("tokens_per_minute", wanted.tokens_per_minute)?;
    if wanted.requests_per_minute.is_none() && wanted.tokens_per_minute.is_none() {
        let message = "say `requests_per_minute`, `tokens_per_minute` or both";
        return Err(AdminError::invalid("requests_per_minute", message));
    }
    let action = if of.key.is_some() {
        "key.rates"
    } else {
        "rates.set"
    };
    let (app, changed) = (Arc::clone(&admin.app), of.clone());
    admin
        .change(who, action, async move {
            let before = own(&changed);
            let after = RateLimits {
                requests: wanted.requests_per_minute.unwrap_or(before.requests),
                tokens: wanted.tokens_per_minute.unwrap_or(before.tokens),
            };
            let row = RateRow {
                account: changed.account.id.clone(),
                key: changed.key.clone(),
                requests_per_minute: after.requests,
                tokens_per_minute: after.tokens,
            };
            app.store.set_rates(&row).await.map_err(AdminError::internal)?;
            changed.account.set_rates(changed.key.as_ref(), after);
            let target = changed
                .key
                .as_ref()
                .map_or(changed.account.id.as_str(), KeyId::as_str);
            Changed::of(target, ())
                .before(&audited(before))?
                .after(&audited(after))
        })
        .await?;
    Ok(Json(view(&admin.app, of)))
}

fn check(field: &'static str, wanted: Option<Option<u64>>) -> Result<(), AdminError> {
    match wanted.flatten() {
        Some(rate) if !(1..=u64::from(RATE_AT_MOST)).contains(&rate) => {
            let message = format!("write a whole number from 1 to {RATE_AT_MOST}, or null");
            Err(AdminError::invalid(field, message))
        }
        _ => Ok(()),
    }
}

/// What it has of its own.
fn own(of: &Of) -> RateLimits {
    match &of.key {
        None => of.account.rates.own(),
        Some(key) => of
            .account
            .key_rates(key)
            .map(|gate| gate.own())
            .unwrap_or_default(),
    }
}

fn audited(rates: RateLimits) -> Value {
    json!({ "requests_per_minute": rates.requests, "tokens_per_minute": rates.tokens })
}

fn view(app: &App, of: Of) -> RatesView {
    let (default, own) = match of.key {
        None => (app.registry().limits().rates, own(&of)),
        Some(_) => (RateLimits::default(), own(&of)),
    };
    let gate = match &of.key {
        None => Some(Arc::clone(&of.account.rates)),
        Some(key) => of.account.key_rates(key),
    };
    let standings = gate
        .map(|gate| gate.standings(own.or(default), app.clock.now()))
        .unwrap_or_default();
    let models = match of.key {
        None => of_models(app, &of.account),
        Some(_) => Vec::new(),
    };
    RatesView {
        account: of.account.id.clone(),
        key: of.key,
        requests: standings.requests.map(|standing| rate(standing, own.requests)),
        tokens: standings.tokens.map(|standing| rate(standing, own.tokens)),
        models,
    }
}

/// How an account's rates on models stand: what models.yaml says of each model that has any.
fn of_models(app: &App, account: &Account) -> Vec<ModelRatesView> {
    let now = app.clock.now();
    let registry = app.registry();
    let models = registry.models().iter().map(|served| &served.model);
    models
        .filter(|model| model.adapter.is_none())
        .filter_map(|model| {
            let gate = account.model_rates(model, now)?;
            let standings = gate.standings(model.limits, now);
            Some(ModelRatesView {
                model: model.id.clone(),
                requests: standings.requests.map(|standing| rate(standing, None)),
                tokens: standings.tokens.map(|standing| rate(standing, None)),
            })
        })
        .collect()
}

fn rate(standing: Standing, own: Option<u64>) -> RateView {
    RateView {
        per_minute: standing.limit,
        remaining: standing.remaining,
        reset_ms: u64::try_from(standing.reset.as_millis()).unwrap_or(u64::MAX),
        is_default: own.is_none(),
    }
}
