//! `GET` and `POST /v1/me/keys`, `POST /v1/me/keys/{key}/rotate`, `DELETE /v1/me/keys/{key}`: an account's keys, for
//! whoever has one with the scope `dashboard`.
//!
//! Invariant: a key gives nobody more than it has itself. It makes keys with its own rights or fewer, and gives a new
//! secret, which whoever asks gets to see, to keys of no more rights than its own. It may end any key of its account.

use crate::admin_api::{CreatedKey, KeyRotation, NewOwnKey};
use crate::admission::directory::ApiKey;
use crate::app::App;
use crate::http::admin::accounts::check_name;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::admin::key_making::{self, Made, Said, make, read_expiry, view};
use crate::http::admin::keys::page_of;
use crate::http::admin::read::{Params, read_json};
use crate::http::owner::asking::{Asking, json, read_body};
use crate::store::KeyRow;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response, StatusCode};
use farebox_domain::ids::KeyId;
use farebox_domain::key::{KeyRights, Scope, Scopes};
use farebox_domain::month::Month;
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

/// The largest body that is read. None that holds comes near it.
const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// The account's keys, without their secrets.
pub async fn list(
    State(app): State<Arc<App>>,
    params: Result<Params, AdminError>,
    request: Request<Body>,
) -> Response<Body> {
    asked(&app, request, async |asking, _| {
        listed(&app, asking, params?).await
    })
    .await
}

/// Makes a key.
pub async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    asked(&app, request, async |asking, bytes| {
        created(&app, asking, bytes).await
    })
    .await
}

/// Gives a key a new secret.
pub async fn rotate(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    asked(&app, request, async |asking, bytes| {
        rotated(&app, asking, key, bytes).await
    })
    .await
}

/// Ends a key.
pub async fn revoke(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    asked(&app, request, async |asking, _| revoked(&app, asking, key).await).await
}

/// Lets a caller in whose key has the scope, reads the body, and answers.
async fn asked<F>(app: &App, request: Request<Body>, answer: F) -> Response<Body>
where
    F: AsyncFnOnce(&Asking, &[u8]) -> Result<Response<Body>, AdminError>,
{
    let (head, mut body) = request.into_parts();
    let asking = match Asking::let_in(app, &head, &mut body, Scope::Dashboard).await {
        Ok(asking) => asking,
        Err(refused) => return refused,
    };
    let read = if http_body::Body::is_end_stream(&body) {
        Ok(Default::default())
    } else {
        read_body(app, &head, &mut body, BODY_LIMIT_BYTES).await
    };
    let answered = match read {
        Ok(bytes) => answer(&asking, &bytes)
            .await
            .map_err(|fault| refusal_of(&asking, fault)),
        Err(refusal) => Err(refusal),
    };
    asking.answer(app, answered)
}

/// A page of the account's keys as they are shown to it: `status`, `search`, `limit` and `after` are those of the admin API.
async fn listed(app: &App, asking: &Asking, params: Params) -> Result<Response<Body>, AdminError> {
    let params = params.only(&["status", "search", "limit", "after"])?;
    let page = page_of(app, Some(asking.account()), &params).await?;
    Ok(json(&page))
}

/// Makes a key of the account, with no more rights than those of the key that asks.
pub async fn created(app: &Arc<App>, asking: &Asking, bytes: &[u8]) -> Result<Response<Body>, AdminError> {
    let new: NewOwnKey = read_json(bytes)?;
    check_name(&new.name)?;
    let own = &asking.key;
    let now_ms = app.clock.unix_ms();
    check_counts_apart(own, now_ms)?;
    let expires_at_ms =
        read_expiry(new.expires_in_seconds, new.expires_at.as_deref(), "key", now_ms)?.or(own.expires_at_ms);
    check_ends(own, expires_at_ms)?;
    let of_default = Scopes::default().iter();
    let said = Said::read(
        new.scopes,
        new.allowed_models,
        new.allowed_ips.as_deref(),
        new.concurrent_requests.map(Some),
    )?;
    let mut rights = KeyRights {
        scopes: of_default.filter(|scope| own.rights.scopes.has(*scope)).collect(),
        ..own.rights.clone()
    };
    said.put_into(&mut rights);
    if rights.scopes.is_empty() {
        return Err(AdminError::invalid("scopes", "say what the new key is for"));
    }
    check_rights(own, &rights)?;
    let account = asking.account().clone();
    let row = KeyRow {
        expires_at_ms,
        rights,
        ..KeyRow::new(KeyId::from(""), account, new.name, [0; 32], now_ms)
    };
    let made = make(&Admin::new(Arc::clone(app)), &asking.who(), row, new.jwt).await?;
    Ok(shown(made, now_ms, StatusCode::CREATED))
}

/// Gives a key of the account a new secret.
pub async fn rotated(
    app: &Arc<App>,
    asking: &Asking,
    key: String,
    bytes: &[u8],
) -> Result<Response<Body>, AdminError> {
    let wanted: KeyRotation = match bytes {
        [] => KeyRotation::default(),
        bytes => read_json(bytes)?,
    };
    let now_ms = app.clock.unix_ms();
    let key = of_account(app, asking, key)?;
    let own = Arc::clone(&asking.key);
    let allowed = move |row: &KeyRow| {
        if row.id == own.id {
            return Ok(());
        }
        check_counts_apart(&own, now_ms)?;
        check_ends(&own, row.expires_at_ms)?;
        check_rights(&own, &row.rights)
    };
    let admin = Admin::new(Arc::clone(app));
    let made = key_making::rotate(
        &admin,
        &asking.who(),
        key.id.clone(),
        wanted.overlap_seconds,
        allowed,
    )
    .await?;
    Ok(shown(made, now_ms, StatusCode::OK))
}

/// Ends a key of the account.
pub async fn revoked(app: &Arc<App>, asking: &Asking, key: String) -> Result<Response<Body>, AdminError> {
    let key = of_account(app, asking, key)?;
    let key = key_making::revoke(&Admin::new(Arc::clone(app)), &asking.who(), key.id.clone()).await?;
    Ok(json(&view(&key, app.clock.unix_ms())))
}

/// The key with this id, if it is the account's: another's is not there.
fn of_account(app: &App, asking: &Asking, key: String) -> Result<Arc<ApiKey>, AdminError> {
    let id = KeyId::from(key);
    let found = app.directory.key(&id);
    found
        .filter(|key| key.account.id == *asking.account())
        .ok_or_else(|| crate::http::admin::keys::not_found(&id))
}

/// What is spent with another key does not count against this one's month, so with another it could spend more.
fn check_counts_apart(own: &ApiKey, now_ms: u64) -> Result<(), AdminError> {
    let month = own.account.wallet.read_key(&own.id, Month::of_ms(now_ms));
    if month.limit.is_none() {
        return Ok(());
    }
    let message = "this API key has a monthly limit of its own, so it makes no other keys and gives none a new secret: \
                   what they spend would not count against it";
    Err(AdminError::KeyNotAllowed(message.into()))
}

fn check_ends(own: &ApiKey, ends_at_ms: Option<u64>) -> Result<(), AdminError> {
    let Some(own_end) = own.expires_at_ms else {
        return Ok(());
    };
    if ends_at_ms.is_some_and(|end| end <= own_end) {
        return Ok(());
    }
    let message = "the key would hold longer than the one that asks";
    Err(AdminError::KeyNotAllowed(message.into()))
}

fn check_rights(own: &ApiKey, rights: &KeyRights) -> Result<(), AdminError> {
    match own.rights.lack_of(rights) {
        None => Ok(()),
        Some(lack) => {
            let message = format!("this would give {lack}, which the key that asks has not itself");
            Err(AdminError::KeyNotAllowed(message))
        }
    }
}

fn shown(made: Made, now_ms: u64, status: StatusCode) -> Response<Body> {
    let mut response = json(&CreatedKey {
        key: view(&made.key, now_ms),
        secret: made.secret,
    });
    *response.status_mut() = status;
    response
}

/// The same refusal as the developer's routes say it.
fn refusal_of(asking: &Asking, fault: AdminError) -> Refusal {
    match fault {
        AdminError::Internal(cause) => asking.failed_by(cause.as_ref()),
        AdminError::KeyNotAllowed(message) => Refusal::KeyNotAllowed(message),
        AdminError::Invalid { message, param } => Refusal::invalid(message, param.map(Into::into)),
        AdminError::NotFound { .. } => {
            let message = "there is no such key in this account; GET /v1/me/keys lists its keys";
            Refusal::NotFound(message.into())
        }
        other => Refusal::invalid(other.to_string(), None),
    }
}
