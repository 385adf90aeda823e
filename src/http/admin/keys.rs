//! API keys: making one, whose secret is told this once, listing them, and ending one at once.

use crate::admin_api::when::{self, When};
use crate::admin_api::{CreatedKey, KeyStatus, KeyView, List, NewKey};
use crate::admission::directory::{ApiKey, hash_secret};
use crate::http::admin::accounts;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::read::{Body, Params};
use crate::secrets::KEY_PREFIX;
use crate::store::KeyRow;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use farebox_domain::ids::KeyId;
use std::sync::Arc;

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
    let app = Arc::clone(&admin.app);
    let now_ms = app.clock.unix_ms();
    let expires_at_ms = read_expiry(new.expires_in_seconds, new.expires_at.as_deref(), "key", now_ms)?;
    let account = accounts::find(&admin, &new.account, Some("account"))?;
    let secret = app.secrets.api_key();
    let row = KeyRow {
        id: app.secrets.key_id(),
        account: account.id.clone(),
        name: new.name,
        hash: hash_secret(&secret),
        created_at_ms: now_ms,
        expires_at_ms,
        revoked_at_ms: None,
        monthly_limit: None,
    };
    let key = admin
        .change(&who, "key.create", async move {
            app.store.create_key(&row).await.map_err(AdminError::internal)?;
            let id = row.id.clone();
            let key = app
                .directory
                .add_key(row)
                .ok_or_else(|| AdminError::internal(format!("{id} has no account")))?;
            let after = view(&key, now_ms);
            Changed::of(id.as_str(), key).after(&after)
        })
        .await?;
    let created = CreatedKey {
        key: view(&key, now_ms),
        secret,
    };
    Ok((StatusCode::CREATED, NO_STORE, Json(created)))
}

/// `GET /admin/v1/keys?account=`
pub async fn list(State(admin): State<Admin>, params: Params) -> Result<Json<List<KeyView>>, AdminError> {
    let params = params.only(&["account"])?;
    let account = match params.get("account") {
        Some(name) => Some(accounts::find(&admin, name, Some("account"))?.id.clone()),
        None => None,
    };
    let now_ms = admin.app.clock.unix_ms();
    let keys = admin.app.directory.keys();
    let wanted = keys
        .iter()
        .filter(|key| account.as_ref().is_none_or(|id| key.account.id == *id));
    Ok(Json(List {
        data: wanted.map(|key| view(key, now_ms)).collect(),
    }))
}

/// `POST /admin/v1/keys/{key}/revoke`, `DELETE /admin/v1/keys/{key}`. Again is no fault: it stays as revoked as it
/// was.
pub async fn revoke(
    State(admin): State<Admin>,
    who: Who,
    Path(key): Path<String>,
) -> Result<Json<KeyView>, AdminError> {
    let app = Arc::clone(&admin.app);
    let id = KeyId::from(key);
    let now_ms = app.clock.unix_ms();
    let key = admin
        .change(&who, "key.revoke", async move {
            let key = find(&app.directory.keys(), &id)?;
            if key.revoked_at_ms().is_some() {
                return Ok(Changed::nothing(key));
            }
            let before = view(&key, now_ms);
            app.store
                .revoke_key(&id, now_ms)
                .await
                .map_err(AdminError::internal)?;
            app.directory.revoke_key(&id, now_ms);
            let after = view(&key, now_ms);
            Changed::of(id.as_str(), key).before(&before)?.after(&after)
        })
        .await?;
    Ok(Json(view(&key, now_ms)))
}

/// The key with this id.
pub fn find(keys: &[Arc<ApiKey>], id: &KeyId) -> Result<Arc<ApiKey>, AdminError> {
    keys.iter()
        .find(|key| key.id == *id)
        .cloned()
        .ok_or_else(|| AdminError::NotFound {
            what: Noun::Key,
            // A secret given by mistake is not said back: it would end up in a terminal's history or a log.
            name: if id.as_str().starts_with(KEY_PREFIX) {
                "fb_..."
            } else {
                id.as_str()
            }
            .into(),
            param: None,
            hint: "; give its id (`key_...`), which `farebox key list` shows",
        })
}

/// When a key or a token ends.
pub fn read_expiry(
    in_seconds: Option<u64>,
    at: Option<&str>,
    what: &str,
    now_ms: u64,
) -> Result<Option<u64>, AdminError> {
    let (field, ends_at_ms) = match (in_seconds, at) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let message = "give `expires_in_seconds` or `expires_at`, not both";
            return Err(AdminError::invalid("expires_at", message));
        }
        (Some(seconds), None) => ("expires_in_seconds", When::Away(seconds).ahead(now_ms)),
        (None, Some(text)) => {
            let end = When::parse(text).map_err(|fault| AdminError::invalid("expires_at", fault))?;
            ("expires_at", end.ahead(now_ms))
        }
    };
    if ends_at_ms <= now_ms {
        return Err(AdminError::invalid(
            field,
            format!("the {what} would be over already; give a time ahead"),
        ));
    }
    if ends_at_ms > when::latest_ms() {
        return Err(AdminError::invalid(
            field,
            format!("this is beyond the year 9999; leave it out for a {what} without end"),
        ));
    }
    Ok(Some(ends_at_ms))
}

fn view(key: &ApiKey, now_ms: u64) -> KeyView {
    let status = match (key.revoked_at_ms(), key.expires_at_ms) {
        (Some(_), _) => KeyStatus::Revoked,
        (None, Some(end)) if end <= now_ms => KeyStatus::Expired,
        (None, _) => KeyStatus::Active,
    };
    KeyView {
        id: key.id.clone(),
        account: key.account.id.clone(),
        account_name: key.account.name.clone(),
        name: key.name.clone(),
        status,
        created_at: when::show(key.created_at_ms),
        expires_at: key.expires_at_ms.map(when::show),
        revoked_at: key.revoked_at_ms().map(when::show),
    }
}
