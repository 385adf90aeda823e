//! Request -> Caller: whose key it is, from memory.

use crate::admission::directory::{ApiKey, Directory};
use crate::admission::jwt::{JWT_PREFIX, ScopedToken};
use farebox_domain::catalog::Model;
use farebox_domain::key::{Scope, allow};
use farebox_domain::refusal::{KeyFault, Refusal};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::net::IpAddr;
use std::sync::Arc;

/// Headers in which keys are sent by mistake, or to other services.
const WRONG_HEADERS: [&str; 3] = ["x-api-key", "api-key", "openai-api-key"];

/// Someone whose key holds.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key, and by it the account.
    pub key: Arc<ApiKey>,
    /// The token that it came with in place of the key.
    pub token: Option<Arc<ScopedToken>>,
    /// Whether it is signed in to the dashboard with the key.
    pub is_signed_in: bool,
}

impl Caller {
    /// Whoever is signed in to the dashboard with this key, from this address.
    pub fn signed_in(key: Arc<ApiKey>, from: Option<IpAddr>) -> Result<Self, Refusal> {
        Self {
            key,
            token: None,
            is_signed_in: true,
        }
        .from(from)
    }

    /// The same, if its key may be used from there.
    fn from(self, address: Option<IpAddr>) -> Result<Self, Refusal> {
        if self.key.rights.allow_ip(address) {
            Ok(self)
        } else {
            Err(Refusal::IpNotAllowed(address))
        }
    }

    /// Refuses a caller whose key has not this scope.
    pub fn needs(self, scope: Scope) -> Result<Self, Refusal> {
        // Who has a token is somebody else than the owner: the account's money and keys are not shown.
        let by_token = self.token.is_none() || scope == Scope::Inference;
        // The dashboard shows the account's usage to whoever may sign in to it.
        let by_session = self.is_signed_in && scope == Scope::Usage;
        if by_token && (by_session || self.key.rights.scopes.has(scope)) {
            Ok(self)
        } else {
            Err(Refusal::ScopeNotAllowed(scope))
        }
    }

    /// Whether the caller may use this model.
    pub fn may_use(&self, model: &Model) -> bool {
        let by_token = |token: &ScopedToken| allow(&token.models, model);
        self.key.rights.allow_model(model) && self.token.as_deref().is_none_or(by_token)
    }
}

/// Finds the caller, who asks from this address. What it may do is for whoever serves it to ask.
pub fn authenticate(
    directory: &Directory,
    headers: &HeaderMap,
    from: Option<IpAddr>,
    now_ms: u64,
) -> Result<Caller, Refusal> {
    let secret = bearer(headers).map_err(Refusal::InvalidApiKey)?;
    let found = if secret.starts_with(JWT_PREFIX) {
        let found = directory.find_token(secret, now_ms);
        found.map(|(key, token)| (key, Some(Arc::new(token))))
    } else {
        directory.find_key(secret, now_ms).map(|key| (key, None))
    };
    let (key, token) = found.map_err(Refusal::InvalidApiKey)?;
    Caller {
        key,
        token,
        is_signed_in: false,
    }
    .from(from)
}

/// The token of `Authorization: Bearer <token>`. The scheme's case does not matter (RFC 9110).
pub fn bearer(headers: &HeaderMap) -> Result<&str, KeyFault> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        let misplaced = WRONG_HEADERS.iter().any(|name| headers.contains_key(*name));
        return Err(if misplaced {
            KeyFault::WrongHeader
        } else {
            KeyFault::Missing
        });
    };
    let text = value.to_str().map_err(|_| KeyFault::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(KeyFault::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
        return Err(KeyFault::Malformed);
    }
    Ok(token)
}
