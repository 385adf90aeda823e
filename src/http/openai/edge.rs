//! The edge: ids in and out, and what is told of a request that was refused.

use crate::app::App;
use crate::http::body;
use crate::http::caller::caller_of;
use crate::http::error::{response_of, status_of};
use crate::http::peer::Sender;
use crate::pipeline::Arrival;
use crate::pipeline::authenticate::Caller;
use crate::telemetry::refusals::{Asked, Refused};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use farebox_domain::ids::RequestId;
use farebox_domain::refusal::Refusal;
use serde_json::Value;

/// OpenAI's name for a request's id, in and out.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static FAREBOX_REQUEST_ID: HeaderName = HeaderName::from_static("x-farebox-request-id");
/// Characters of an id that a client may send.
const ID_LIMIT: usize = 128;

/// Gives the request its id, and reads the client's.
pub fn arrival(app: &App, headers: &HeaderMap) -> (Arrival, Result<(), Refusal>) {
    let id = app.secrets.request_id(app.clock.unix_ms());
    let read = headers.get(&X_REQUEST_ID).map(client_id).transpose();
    match read {
        Ok(client_request_id) => (
            Arrival {
                id,
                client_request_id,
            },
            Ok(()),
        ),
        Err(refusal) => (
            Arrival {
                id,
                client_request_id: None,
            },
            Err(refusal),
        ),
    }
}

fn client_id(value: &HeaderValue) -> Result<String, Refusal> {
    let text = value.to_str().unwrap_or_default();
    let holds =
        !text.is_empty() && text.len() <= ID_LIMIT && text.bytes().all(|byte| byte.is_ascii_graphic());
    if holds {
        return Ok(text.to_owned());
    }
    let message = format!("`x-request-id` must be 1 to {ID_LIMIT} visible ASCII characters without spaces");
    Err(Refusal::invalid(message, Some("x-request-id".into())))
}

/// Puts the ids on an answer: the client's own if it sent one, and then farebox's beside it.
pub fn put_ids(headers: &mut HeaderMap, id: RequestId, client: Option<&str>) {
    let ours = HeaderValue::from_str(id.to_text().as_str()).ok();
    match client.and_then(|client| HeaderValue::from_str(client).ok()) {
        Some(client) => {
            headers.insert(X_REQUEST_ID.clone(), client);
            headers.extend(ours.map(|ours| (FAREBOX_REQUEST_ID.clone(), ours)));
        }
        None => headers.extend(ours.map(|ours| (X_REQUEST_ID.clone(), ours))),
    }
}

/// Answers a caller whose key holds with JSON.
pub fn answer(
    app: &App,
    sender: &Sender,
    read: impl FnOnce(&Caller) -> Result<Value, Refusal>,
) -> Response<Body> {
    let (arrival, holds) = arrival(app, &sender.headers);
    let client = arrival.client_request_id.as_deref();
    let answered = holds
        .and_then(|()| caller_of(app, &sender.headers, &sender.extensions))
        .and_then(|caller| read(&caller));
    match answered {
        Ok(value) => {
            let mut response = Response::new(Body::from(value.to_string()));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            put_ids(headers, arrival.id, client);
            response
        }
        Err(refusal) => refuse(app, arrival.id, client, "read", &refusal),
    }
}

/// Answers with a refusal, and tells of it once.
pub fn refuse(
    app: &App,
    id: RequestId,
    client: Option<&str>,
    route: &str,
    refusal: &Refusal,
) -> Response<Body> {
    refuse_known(app, id, client, route, refusal, Asked::default())
}

/// Answers whoever asked for this with a refusal, and tells of it once.
pub fn refuse_known(
    app: &App,
    id: RequestId,
    client: Option<&str>,
    route: &str,
    refusal: &Refusal,
    asked: Asked,
) -> Response<Body> {
    let status = status_of(refusal).as_u16();
    app.metrics.tally.refused(asked.account.as_ref(), refusal.code());
    app.refusals.put(Refused {
        at_ms: app.clock.unix_ms(),
        id,
        asked,
        status,
        code: refusal.code(),
        message: refusal.words_of_ours().map(|words| words.to_string()),
    });
    app.metrics.refused(status, refusal.code());
    app.pipeline
        .request_log
        .refused(app.clock.unix_ms(), id, route, status, refusal.code());
    let mut response = response_of(refusal);
    put_ids(response.headers_mut(), id, client);
    response
}

/// Refuses a request of which nothing but its head was read.
pub async fn refuse_unread(app: &App, request: Request<Body>, refusal: &Refusal) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let (arrival, _) = arrival(app, &head.headers);
    body::discard(&head.headers, &mut body).await;
    refuse(
        app,
        arrival.id,
        arrival.client_request_id.as_deref(),
        refusal.code(),
        refusal,
    )
}
