//! Whoever asks about an account: let in by a key of it, and answered with ids, whatever the answer is.

use crate::admission::directory::ApiKey;
use crate::app::App;
use crate::bill::BillFault;
use crate::http::admin::auth::{Staff, Who};
use crate::http::body;
use crate::http::caller::caller_of;
use crate::http::openai::edge;
use crate::pipeline::Arrival;
use crate::telemetry::log;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use farebox_domain::ids::AccountId;
use farebox_domain::key::Scope;
use farebox_domain::refusal::Refusal;
use farebox_domain::role::Role;
use serde::Serialize;
use std::sync::Arc;

/// A caller whose key holds. Only of its own account is anything told.
pub struct Asking {
    arrival: Arrival,
    /// The key, and by it the account.
    pub key: Arc<ApiKey>,
}

impl Asking {
    /// Lets a caller in whose key has the scope, or has the answer that refuses it.
    #[expect(
        clippy::result_large_err,
        reason = "the answer is on its way out, and moved once"
    )]
    pub fn by(app: &App, head: &Parts, scope: Scope) -> Result<Self, Response<Body>> {
        let headers = &head.headers;
        let (arrival, holds) = edge::arrival(app, headers);
        let caller = holds
            .and_then(|()| caller_of(app, headers, &head.extensions))
            .and_then(|caller| caller.needs(scope));
        match caller {
            Ok(caller) => Ok(Self {
                key: caller.key,
                arrival,
            }),
            Err(refusal) => {
                let client = arrival.client_request_id.as_deref();
                Err(edge::refuse(app, arrival.id, client, "read", &refusal))
            }
        }
    }

    /// The same for a request with a body, of which that of a refused one is thrown away.
    pub async fn let_in(
        app: &App,
        head: &Parts,
        body: &mut Body,
        scope: Scope,
    ) -> Result<Self, Response<Body>> {
        match Self::by(app, head, scope) {
            Ok(asking) => Ok(asking),
            Err(refused) => {
                body::discard(&head.headers, body).await;
                Err(refused)
            }
        }
    }

    /// The account that the key is of.
    pub fn account(&self) -> &AccountId {
        &self.key.account.id
    }

    /// Who it is to the audit log: the key.
    pub fn who(&self) -> Who {
        Who {
            staff: Staff {
                id: self.key.id.as_str().into(),
                name: self.key.name.as_str().into(),
                // No route of the administrators' is opened by it.
                role: Role::Viewer,
            },
            request_id: self.arrival.id.to_string(),
        }
    }

    /// The answer, with its ids.
    pub fn answer(&self, app: &App, answered: Result<Response<Body>, Refusal>) -> Response<Body> {
        let client = self.arrival.client_request_id.as_deref();
        match answered {
            Ok(mut response) => {
                edge::put_ids(response.headers_mut(), self.arrival.id, client);
                response
            }
            Err(refusal) => edge::refuse(app, self.arrival.id, client, "read", &refusal),
        }
    }

    /// The refusal for a fault of farebox's own. Its cause is logged here.
    pub fn failed(&self, cause: &BillFault) -> Refusal {
        self.failed_by(cause)
    }

    /// The same for any cause.
    pub fn failed_by(&self, cause: &(dyn std::error::Error + 'static)) -> Refusal {
        log::internal(self.arrival.id, &log::chain(cause));
        Refusal::Internal(self.arrival.id.to_string())
    }
}

impl FromRequestParts<Arc<App>> for Asking {
    type Rejection = Response<Body>;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response<Body>> {
        Self::by(app, parts, Scope::Usage)
    }
}

/// Reads a body of at most so many bytes. One that is refused is thrown away, unless it was too slow already.
pub async fn read_body(
    app: &App,
    head: &Parts,
    body: &mut Body,
    limit_bytes: usize,
) -> Result<Bytes, Refusal> {
    let within = app.settings.server.body_timeout;
    let read = body::read(&head.headers, body, limit_bytes, within).await;
    if matches!(&read, Err(refusal) if !matches!(refusal, Refusal::RequestTimeout(_))) {
        body::discard(&head.headers, body).await;
    }
    read
}

/// An answer of JSON. Money is in it as text, or as a number's own digits.
pub fn json(value: &impl Serialize) -> Response<Body> {
    // What is shown here has no map with keys that are no texts, so it can always be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
