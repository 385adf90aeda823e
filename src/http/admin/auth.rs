//! Who asks the admin listener: known before every route of it, and held to the role that the route asks for.

use crate::admission::directory::{KeyHash, hash_secret};
use crate::app::App;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::openai::edge::X_REQUEST_ID;
use crate::http::session::{Session, SignedIn};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use farebox_domain::role::Role;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The id and the name of whoever has the token that the operator gives at start.
pub const ROOT: &str = "root";

/// Somebody who administers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staff {
    /// The token's id, `tok_...`, or [`ROOT`].
    pub id: String,
    /// Whose it is.
    pub name: Arc<str>,
    /// What may be done with it.
    pub role: Role,
}

/// Whoever asks, and the id of the request: what the audit log has of both.
#[derive(Debug, Clone)]
pub struct Who {
    /// Who asks.
    pub staff: Staff,
    /// The request's id, `req_...`: the answer has it in `x-request-id`.
    pub request_id: String,
}

/// Lets a request through whose sender is known, and says to those behind who it is.
pub async fn require_staff(
    State(admin): State<Admin>,
    mut request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    let staff = staff_of(&admin.app, request.method(), request.headers()).await?;
    let id = admin.app.secrets.admin_request_id(admin.app.clock.unix_ms());
    let request_id = id.to_string();
    let header = HeaderValue::from_str(&request_id);
    request.extensions_mut().insert(Who { staff, request_id });
    let mut response = next.run(request).await;
    if let Ok(id) = header {
        response.headers_mut().insert(X_REQUEST_ID.clone(), id);
    }
    Ok(response)
}

/// Lets a request through whose sender has this role or more.
pub async fn require_role(State(least): State<Role>, who: Who, request: Request, next: Next) -> Response {
    if who.staff.role.may(least) {
        next.run(request).await
    } else {
        let has = who.staff.role;
        AdminError::RoleTooLow { least, has }.into_response()
    }
}

/// Who asks, by a token or signed in to the dashboard: the one place that decides it.
pub async fn staff_of(app: &App, method: &Method, headers: &HeaderMap) -> Result<Staff, AdminError> {
    if headers.contains_key(header::AUTHORIZATION) {
        let secret = bearer(headers).ok_or(AdminError::WrongToken)?;
        return staff_with(app, &hash_secret(secret)).ok_or(AdminError::WrongToken);
    }
    let session = Session::of(app, headers).await.map_err(AdminError::internal)?;
    let session = session.ok_or(AdminError::WrongToken)?;
    match session.who(app) {
        Some(SignedIn::Staff(_)) if !session.is_asked_by_its_page(method, headers) => {
            Err(AdminError::NotByAPage)
        }
        Some(SignedIn::Staff(staff)) => Ok(staff),
        Some(SignedIn::Owner(_)) | None => Err(AdminError::WrongToken),
    }
}

/// Whose admin token has this hash, if it holds now.
pub fn staff_with(app: &App, hash: &KeyHash) -> Option<Staff> {
    if is_root(hash, &app.admin_token_hash) {
        return Some(Staff {
            id: ROOT.into(),
            name: ROOT.into(),
            role: Role::Admin,
        });
    }
    let token = app.admin_tokens.find(hash, app.clock.unix_ms())?;
    Some(Staff {
        id: token.id.clone(),
        name: Arc::clone(&token.name),
        role: token.role,
    })
}

/// Compares hashes, in a time that does not tell how much of them is equal.
fn is_root(hash: &KeyHash, expected: &KeyHash) -> bool {
    hash.ct_eq(expected).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        // Two headers are two stories; which one counts is not for us to guess.
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    // An empty token opens nothing, not even where an empty one was set.
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        parts.extensions.get().cloned().ok_or(AdminError::WrongToken)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Staff {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminError> {
        Who::from_request_parts(parts, state).await.map(|who| who.staff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for &value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer(&headers).is_some_and(|secret| is_root(&hash_secret(secret), &hash_secret("secret")))
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer  "));
        assert_eq!(bearer(&headers), None);
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
