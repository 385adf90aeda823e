//! Request -> Caller: whose key it is, from memory.

use crate::admission::directory::{ApiKey, Directory};
use farebox_domain::refusal::{KeyFault, Refusal};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::Arc;

/// Headers in which keys are sent by mistake, or to other services.
const WRONG_HEADERS: [&str; 3] = ["x-api-key", "api-key", "openai-api-key"];

/// Someone whose key holds.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key, and by it the account.
    pub key: Arc<ApiKey>,
}

/// Finds the caller.
pub fn authenticate(directory: &Directory, headers: &HeaderMap, now_ms: u64) -> Result<Caller, Refusal> {
    let secret = bearer(headers).map_err(Refusal::InvalidApiKey)?;
    let key = directory
        .find_key(secret, now_ms)
        .map_err(Refusal::InvalidApiKey)?;
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
