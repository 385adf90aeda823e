//! Request -> Caller: whose key it is, from memory.

use crate::admission::directory::{ApiKey, Directory};
use farebox_domain::catalog::Model;
use farebox_domain::key::Scope;
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
}

impl Caller {
    /// Refuses a caller whose key has not this scope.
    pub fn needs(self, scope: Scope) -> Result<Self, Refusal> {
        if self.key.rights.scopes.has(scope) {
            Ok(self)
        } else {
            Err(Refusal::ScopeNotAllowed(scope))
        }
    }

    /// Whether the caller may use this model.
    pub fn may_use(&self, model: &Model) -> bool {
        self.key.rights.allow_model(model)
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
    let key = directory
        .find_key(secret, now_ms)
        .map_err(Refusal::InvalidApiKey)?;
    if !key.rights.allow_ip(from) {
        return Err(Refusal::IpNotAllowed(from));
    }
    Ok(Caller { key })
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
