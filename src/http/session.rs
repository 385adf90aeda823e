//! Sessions of the dashboard: a cookie that stands for the key or token it was opened with, and ends with it.

use crate::admission::directory::{ApiKey, KeyHash, hash_secret};
use crate::app::App;
use crate::http::admin::auth::{Staff, staff_with};
use crate::store::{SessionRow, StoreFault};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use farebox_domain::key::Scope;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

const COOKIE: &str = "farebox_session";
/// What every change asks for besides the cookie: no other site can send it.
pub static CSRF: HeaderName = HeaderName::from_static("x-farebox-csrf");
/// How long a session lasts, whatever is done in it.
const LASTS: Duration = Duration::from_secs(12 * 3600);
/// Random bytes of a cookie.
const SECRET_BYTES: usize = 32;

/// A session that is open.
pub struct Session {
    secret: String,
    row: SessionRow,
}

/// Whose session it is.
pub enum SignedIn {
    /// Somebody who administers.
    Staff(Staff),
    /// Whoever has this key of an account.
    Owner(Arc<ApiKey>),
}

/// The key of a session, where a request came with one in place of an `Authorization` header. Only the dashboard's own
/// routes put it on a request.
#[derive(Clone)]
pub struct OwnersKey(pub Arc<ApiKey>);

impl Session {
    /// Opens one for whoever has the secret with this hash.
    pub async fn open(app: &App, credential: KeyHash) -> Result<Self, StoreFault> {
        let secret = app.secrets.random_hex(SECRET_BYTES);
        let now_ms = app.clock.unix_ms();
        let lasts_ms = u64::try_from(LASTS.as_millis()).unwrap_or(u64::MAX);
        let row = SessionRow {
            hash: hash_secret(&secret),
            credential,
            created_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(lasts_ms),
        };
        app.store.create_session(&row).await?;
        Ok(Self { secret, row })
    }

    /// The one whose cookie came with a request, over or not.
    pub async fn of(app: &App, headers: &HeaderMap) -> Result<Option<Self>, StoreFault> {
        let Some(secret) = cookie(headers) else {
            return Ok(None);
        };
        let row = app.store.session(&hash_secret(secret)).await?;
        Ok(row.map(|row| Self {
            secret: secret.into(),
            row,
        }))
    }

    /// Whose it is now: nobody's once it is over, or what opened it is.
    pub fn who(&self, app: &App) -> Option<SignedIn> {
        let now_ms = app.clock.unix_ms();
        if self.row.expires_at_ms <= now_ms {
            return None;
        }
        who_has(app, &self.row.credential, now_ms)
    }

    /// Ends it.
    pub async fn end(&self, app: &App) -> Result<(), StoreFault> {
        app.store.end_session(&self.row.hash).await
    }

    /// When it ends by itself, in milliseconds since 1970.
    pub const fn expires_at_ms(&self) -> u64 {
        self.row.expires_at_ms
    }

    /// What its pages send with every change.
    pub fn csrf(&self) -> String {
        hex::encode(Sha256::digest(format!("csrf:{}", self.secret)))
    }

    /// Whether a request with this cookie was sent by one of its pages: what only reads may come from anywhere, and is
    /// shown to nobody else.
    pub fn is_asked_by_its_page(&self, method: &Method, headers: &HeaderMap) -> bool {
        if method.is_safe() {
            return true;
        }
        let sent = headers.get(&CSRF).map_or(&b""[..], HeaderValue::as_bytes);
        self.csrf().as_bytes().ct_eq(sent).into()
    }

    /// The header that gives a browser the cookie. `Secure` where the browser came by HTTPS: it would not send it else.
    pub fn cookie(&self, is_https: bool) -> String {
        set_cookie(&self.secret, LASTS.as_secs(), is_https)
    }
}

/// The header that takes the cookie away again.
pub fn no_cookie(is_https: bool) -> String {
    set_cookie("", 0, is_https)
}

fn set_cookie(value: &str, max_age_seconds: u64, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_seconds}{secure}")
}

/// Who has the secret with this hash, and may sign in with it.
pub fn who_has(app: &App, credential: &KeyHash, now_ms: u64) -> Option<SignedIn> {
    if let Some(staff) = staff_with(app, credential) {
        return Some(SignedIn::Staff(staff));
    }
    let key = app.directory.key_with(credential, now_ms)?;
    key.rights
        .scopes
        .has(Scope::Dashboard)
        .then_some(SignedIn::Owner(key))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter();
    let mut values = pairs
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value);
    let value = values.next()?;
    // Two are two stories: another site on this host may have set one of them.
    values.next().is_none().then_some(value)
}
