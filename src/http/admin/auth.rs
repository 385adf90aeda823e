//! The admin token stands before every route of the admin listener.

use crate::admission::directory::hash_secret;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

/// Lets a request through that carries the admin token.
pub async fn require_token(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    if is_admin(request.headers(), &admin.app.admin_token_hash) {
        Ok(next.run(request).await)
    } else {
        Err(AdminError::WrongToken)
    }
}

/// Compares hashes, in a time that does not tell how much of them is equal.
fn is_admin(headers: &HeaderMap, expected: &[u8; 32]) -> bool {
    let Some(token) = bearer(headers) else {
        return false;
    };
    hash_secret(token).ct_eq(expected).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        // Two headers are two stories; which one counts is not for us to guess.
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn allowed(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for &value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        is_admin(&headers, &hash_secret("secret"))
    }

    #[test]
    fn only_the_token_opens() {
        assert!(allowed(&["Bearer secret"]));
        assert!(allowed(&["bearer  secret"]));
        for refused in [
            &[][..],
            &["secret"],
            &["Bearer"],
            &["Bearer "],
            &["Basic secret"],
            &["Bearer secre"],
            &["Bearer secrets"],
            &["Bearer secret", "Bearer secret"],
        ] {
            assert!(!allowed(refused), "{refused:?}");
        }
    }
}
