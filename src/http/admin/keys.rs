//! API keys: making one, whose secret is told this once, listing them, changing one, giving it a new secret, and ending
//! one at once.

use crate::admin_api::{CreatedKey, KeyChange, KeyRotation, KeyStatus, KeyView, NewKey, Page};
use crate::app::App;
use crate::http::admin::accounts;
use crate::http::admin::auth::Who;
use crate::http::admin::change::Admin;
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::key_making::{self, Made, Said, make, read_expiry, status_of, view};
use crate::http::admin::page::{PageOf, no_such_place};
use crate::http::admin::read::{Body, Params};
use crate::secrets::KEY_PREFIX;
use crate::store::KeyRow;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use farebox_domain::ids::{AccountId, KeyId};
use std::future::ready;

/// An answer with a secret is kept by nobody on its way.
pub const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// `POST /admin/v1/keys`
pub async fn create(
    State(admin): State<Admin>,
    who: Who,
    Body(new): Body<NewKey>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<CreatedKey>), AdminError> {
    accounts::check_name(&new.name)?;
    let now_ms = admin.app.clock.unix_ms();
    let expires_at_ms = read_expiry(new.expires_in_seconds, new.expires_at.as_deref(), "key", now_ms)?;
    let said = Said::read(
        new.scopes,
        new.allowed_models,
        new.allowed_ips.as_deref(),
        new.concurrent_requests.map(Some),
    )?;
    let account = accounts::find(&admin, &new.account, Some("account"))?;
    let mut row = KeyRow::new(KeyId::from(""), account.id.clone(), new.name, [0; 32], now_ms);
    row.expires_at_ms = expires_at_ms;
    said.put_into(&mut row.rights);
    let made = make(&admin, &who, row, new.jwt).await?;
    Ok((StatusCode::CREATED, NO_STORE, Json(shown(made, now_ms))))
}

/// The parameters of [`list`].
pub const LIST_PARAMS: &[&str] = &["account", "status", "search", "limit", "after"];

/// `GET /admin/v1/keys?account=&status=&search=&limit=&after=`
pub async fn list(State(admin): State<Admin>, params: Params) -> Result<Json<Page<KeyView>>, AdminError> {
    let params = params.only(LIST_PARAMS)?;
    let account = match params.get("account") {
        Some(name) => Some(accounts::find(&admin, name, Some("account"))?),
        None => None,
    };
    let of = account.as_ref().map(|account| &account.id);
    page_of(&admin.app, of, &params).await.map(Json)
}

/// A page of an account's keys, or of all: those of one status, if `status` is said, that a search finds by their own or
/// their account's name or id.
pub async fn page_of(
    app: &App,
    account: Option<&AccountId>,
    params: &Params,
) -> Result<Page<KeyView>, AdminError> {
    let asked = PageOf::read(params)?;
    let status = params.get("status").map(|name| {
        let status = KeyStatus::named(name);
        status.ok_or_else(|| AdminError::invalid("status", "write active, expired or revoked"))
    });
    let status = status.transpose()?;
    let (directory, now_ms) = (&app.directory, app.clock.unix_ms());
    let listed = |id| {
        let key = directory.key(&KeyId::from(id));
        key.filter(|key| account.is_none_or(|account| key.account.id == *account))
    };
    let after = match asked.after {
        Some(id) => Some(listed(id).ok_or_else(no_such_place)?.age()),
        None => None,
    };
    let (keys, has_more) = asked
        .of(
            after,
            |after, most| ready(Ok(directory.newest_keys(account, after.as_ref(), most))),
            |key| key.age(),
            |key| {
                let of = &key.account;
                let texts = [&key.name, key.id.as_str(), &of.name, of.id.as_str()];
                status.is_none_or(|status| status_of(key, now_ms) == status) && asked.finds(&texts)
            },
        )
        .await?;
    let data = keys.iter().map(|key| view(key, now_ms)).collect();
    Ok(Page::new(data, has_more, |last: &KeyView| last.id.to_string()))
}

/// `POST /admin/v1/keys/{key}/revoke`, `DELETE /admin/v1/keys/{key}`
pub async fn revoke(
    State(admin): State<Admin>,
    who: Who,
    Path(key): Path<String>,
) -> Result<Json<KeyView>, AdminError> {
    let key = key_making::revoke(&admin, &who, KeyId::from(key)).await?;
    Ok(Json(view(&key, admin.app.clock.unix_ms())))
}

/// `PATCH /admin/v1/keys/{key}`
pub async fn change(
    State(admin): State<Admin>,
    who: Who,
    Path(key): Path<String>,
    Body(wanted): Body<KeyChange>,
) -> Result<Json<KeyView>, AdminError> {
    if let Some(name) = &wanted.name {
        accounts::check_name(name)?;
    }
    let now_ms = admin.app.clock.unix_ms();
    let (in_seconds, at) = (wanted.expires_in_seconds, wanted.expires_at);
    let ends = in_seconds.is_some() || at.is_some();
    let at_text = at.as_ref().and_then(Option::as_deref);
    let expires_at_ms = read_expiry(in_seconds, at_text, "key", now_ms)?;
    let said = Said::read(
        wanted.scopes,
        wanted.allowed_models,
        wanted.allowed_ips.as_deref(),
        wanted.concurrent_requests,
    )?;
    let change = move |row: &mut KeyRow| {
        if let Some(name) = wanted.name {
            row.name = name;
        }
        if ends {
            row.expires_at_ms = expires_at_ms;
        }
        said.put_into(&mut row.rights);
        Ok(())
    };
    let key = key_making::change(&admin, (&who, "key.change"), KeyId::from(key), change).await?;
    Ok(Json(view(&key, now_ms)))
}

/// `POST /admin/v1/keys/{key}/rotate`
pub async fn rotate(
    State(admin): State<Admin>,
    who: Who,
    Path(key): Path<String>,
    Body(wanted): Body<KeyRotation>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<CreatedKey>), AdminError> {
    let made = key_making::rotate(&admin, &who, KeyId::from(key), wanted.overlap_seconds, |_| Ok(())).await?;
    Ok((NO_STORE, Json(shown(made, admin.app.clock.unix_ms()))))
}

fn shown(made: Made, now_ms: u64) -> CreatedKey {
    CreatedKey {
        key: view(&made.key, now_ms),
        secret: made.secret,
    }
}

/// The refusal where there is no such key. A secret given by mistake is not said back: it would end up in a terminal's
/// history or a log.
pub fn not_found(id: &KeyId) -> AdminError {
    let is_secret = id.as_str().starts_with(KEY_PREFIX);
    AdminError::NotFound {
        what: Noun::Key,
        name: if is_secret { "fb_..." } else { id.as_str() }.into(),
        param: None,
        hint: "; give its id (`key_...`), which `farebox key list` shows",
    }
}
