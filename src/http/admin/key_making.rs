//! What becomes of keys, whoever asks for it: the administrator, or an account's owner with a key that may.

use crate::admin_api::when::{self, When};
use crate::admin_api::{KeyStatus, KeyView};
use crate::admission::directory::{ApiKey, hash_secret};
use crate::admission::hmac::verifier_of;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::AdminError;
use crate::http::admin::keys::not_found;
use crate::store::{KeyRow, PreviousSecret};
use farebox_domain::ids::KeyId;
use farebox_domain::key::{KeyRights, LIST_AT_MOST, ModelGlob, Scopes, parse_net, show_net};
use ipnet::IpNet;
use std::sync::Arc;

/// A replaced secret holds for thirty days at most.
const OVERLAP_SECONDS_AT_MOST: u64 = 30 * 86_400;

/// A key, and the secret that it has just got.
pub struct Made {
    /// The key.
    pub key: Arc<ApiKey>,
    /// Its secret, which is told this once.
    pub secret: String,
}

/// Makes a key of `row`, whose id and hash are given here; `signs` says whether tokens can be signed with it.
pub async fn make(admin: &Admin, who: &Who, mut row: KeyRow, signs: bool) -> Result<Made, AdminError> {
    let app = Arc::clone(&admin.app);
    let secret = app.secrets.api_key();
    row.id = app.secrets.key_id();
    row.hash = hash_secret(&secret);
    row.jwt_verifier = signs.then(|| verifier_of(&secret));
    let key = admin
        .change(who, "key.create", async move {
            app.store.create_key(&row).await.map_err(AdminError::internal)?;
            let id = row.id.clone();
            let key = app
                .directory
                .add_key(row)
                .ok_or_else(|| AdminError::internal(format!("{id} has no account")))?;
            let after = view(&key, app.clock.unix_ms());
            Changed::of(id.as_str(), key).after(&after)
        })
        .await?;
    Ok(Made { key, secret })
}

/// Changes a key, of what the store has of it; what `change` refuses changes nothing. `by` is who does it, and what the
/// audit log calls it.
pub async fn change<F>(
    admin: &Admin,
    by: (&Who, &'static str),
    id: KeyId,
    change: F,
) -> Result<Arc<ApiKey>, AdminError>
where
    F: FnOnce(&mut KeyRow) -> Result<(), AdminError> + Send + 'static,
{
    let app = Arc::clone(&admin.app);
    admin
        .change(by.0, by.1, async move {
            let now_ms = app.clock.unix_ms();
            let before = app.directory.key(&id).map(|key| view(&key, now_ms));
            let changed = app
                .store
                .change_key(&id, change)
                .await
                .map_err(AdminError::internal)?;
            let row = changed.ok_or_else(|| not_found(&id))??;
            let key = app
                .directory
                .add_key(row)
                .ok_or_else(|| AdminError::internal(format!("{id} has no account")))?;
            let after = view(&key, now_ms);
            Changed::of(id.as_str(), key).before(&before)?.after(&after)
        })
        .await
}

/// Gives a key a new secret. The old one holds for so many seconds more, and what was before that ends at once.
pub async fn rotate<F>(
    admin: &Admin,
    who: &Who,
    id: KeyId,
    overlap_seconds: u64,
    allowed: F,
) -> Result<Made, AdminError>
where
    F: FnOnce(&KeyRow) -> Result<(), AdminError> + Send + 'static,
{
    if overlap_seconds > OVERLAP_SECONDS_AT_MOST {
        let message = format!("at most {OVERLAP_SECONDS_AT_MOST} seconds, which are thirty days");
        return Err(AdminError::invalid("overlap_seconds", message));
    }
    let now_ms = admin.app.clock.unix_ms();
    let secret = admin.app.secrets.api_key();
    let (hash, verifier) = (hash_secret(&secret), verifier_of(&secret));
    let key = change(admin, (who, "key.rotate"), id, move |row| {
        allowed(row)?;
        check_holds(row, now_ms)?;
        let until_ms = now_ms.saturating_add(overlap_seconds.saturating_mul(1000));
        row.previous = (overlap_seconds > 0).then_some(PreviousSecret {
            hash: row.hash,
            until_ms,
            jwt_verifier: row.jwt_verifier,
        });
        row.hash = hash;
        row.jwt_verifier = row.jwt_verifier.map(|_| verifier);
        Ok(())
    })
    .await?;
    Ok(Made { key, secret })
}

/// Ends a key at once. Again is no fault: it stays as revoked as it was.
pub async fn revoke(admin: &Admin, who: &Who, id: KeyId) -> Result<Arc<ApiKey>, AdminError> {
    let app = Arc::clone(&admin.app);
    let now_ms = app.clock.unix_ms();
    admin
        .change(who, "key.revoke", async move {
            let key = app.directory.key(&id).ok_or_else(|| not_found(&id))?;
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
        .await
}

/// Refuses a key that opens nothing any more.
fn check_holds(row: &KeyRow, now_ms: u64) -> Result<(), AdminError> {
    let over = row.revoked_at_ms.is_some() || row.expires_at_ms.is_some_and(|end| end <= now_ms);
    if !over {
        return Ok(());
    }
    Err(AdminError::Invalid {
        message: format!("the key `{}` is revoked or expired; make a new one", row.id),
        param: None,
    })
}

/// What was said of a key's rights; what was not said is not there.
#[derive(Debug, Default)]
pub struct Said {
    /// What it is for.
    pub scopes: Option<Scopes>,
    /// The models that it is for.
    pub allowed_models: Option<Vec<ModelGlob>>,
    /// From where it is used.
    pub allowed_ips: Option<Vec<IpNet>>,
    /// Requests at once.
    pub concurrent_requests: Option<Option<u32>>,
}

impl Said {
    /// Reads what was said.
    pub fn read(
        scopes: Option<Scopes>,
        allowed_models: Option<Vec<ModelGlob>>,
        allowed_ips: Option<&[String]>,
        concurrent_requests: Option<Option<u32>>,
    ) -> Result<Self, AdminError> {
        if scopes.is_some_and(Scopes::is_empty) {
            let message = "a key has at least one of inference, usage, dashboard, admin";
            return Err(AdminError::invalid("scopes", message));
        }
        let of_list = |field: &str, length: usize| {
            let message = format!("at most {LIST_AT_MOST}, and here are {length}");
            let too_many = length > LIST_AT_MOST;
            too_many
                .then(|| AdminError::invalid(field, message))
                .map_or(Ok(()), Err)
        };
        of_list("allowed_models", allowed_models.as_ref().map_or(0, Vec::len))?;
        of_list("allowed_ips", allowed_ips.map_or(0, <[_]>::len))?;
        let nets = allowed_ips.map(|texts| texts.iter().enumerate().map(read_net).collect());
        Ok(Self {
            scopes,
            allowed_models,
            allowed_ips: nets.transpose()?,
            concurrent_requests,
        })
    }

    /// Puts what was said in the place of what was there.
    pub fn put_into(self, rights: &mut KeyRights) {
        let was = std::mem::take(rights);
        *rights = KeyRights {
            scopes: self.scopes.unwrap_or(was.scopes),
            allowed_models: self.allowed_models.unwrap_or(was.allowed_models),
            allowed_ips: self.allowed_ips.unwrap_or(was.allowed_ips),
            concurrent_requests: self.concurrent_requests.unwrap_or(was.concurrent_requests),
        };
    }
}

fn read_net((number, text): (usize, &String)) -> Result<IpNet, AdminError> {
    parse_net(text.trim()).ok_or_else(|| {
        let message = "this is no address such as 192.0.2.7 and no network such as 10.0.0.0/8";
        AdminError::invalid(format!("allowed_ips[{number}]"), message)
    })
}

/// When a key or a token (`what`) is to end: in so many seconds, at that time, or not by itself.
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

/// Whether a key opens anything.
pub fn status_of(key: &ApiKey, now_ms: u64) -> KeyStatus {
    KeyStatus::of(key.revoked_at_ms(), key.expires_at_ms, now_ms)
}

/// A key as it is shown.
pub fn view(key: &ApiKey, now_ms: u64) -> KeyView {
    let rights = &key.rights;
    let overlap_until_ms = key.overlap_until_ms().filter(|&until| now_ms < until);
    KeyView {
        id: key.id.clone(),
        account: key.account.id.clone(),
        account_name: key.account.name.clone(),
        name: key.name.clone(),
        status: status_of(key, now_ms),
        created_at: when::show(key.created_at_ms),
        expires_at: key.expires_at_ms.map(when::show),
        revoked_at: key.revoked_at_ms().map(when::show),
        scopes: rights.scopes,
        allowed_models: rights.allowed_models.clone(),
        allowed_ips: rights.allowed_ips.iter().map(show_net).collect(),
        concurrent_requests: rights.concurrent_requests,
        overlap_until: overlap_until_ms.map(when::show),
        jwt: key.signs_tokens(),
    }
}
