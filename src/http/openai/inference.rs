//! Chat completions, completions and embeddings: from HTTP to the pipeline and back.

use crate::admission::directory::ApiKey;
use crate::app::App;
use crate::http::body;
use crate::http::caller::caller_of;
use crate::http::openai::edge;
use crate::pipeline::admit::standings;
use crate::pipeline::request::InferenceRequest;
use crate::pipeline::settle::Receipt;
use crate::pipeline::{self, Answer, Arrival};
use crate::telemetry::refusals::Asked;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use bytes::Bytes;
use farebox_domain::catalog::Model;
use farebox_domain::key::Scope;
use farebox_domain::ledger::Endpoint;
use farebox_domain::rate::Reset;
use farebox_domain::refusal::Refusal;
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// OpenAI's names for the size of a minute's limit, for what is left of it, and for when all of it is there again.
static RATE_REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static RATE_TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
/// Which engine answered: told to a key with the scope `admin` alone.
static ENGINE: HeaderName = HeaderName::from_static("x-farebox-engine");
static PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");

/// Who sent a request and what for, as far as it is known.
#[derive(Default)]
struct Sent {
    asked: Asked,
    key: Option<Arc<ApiKey>>,
    model: Option<Arc<Model>>,
}

/// Serves one request.
pub async fn serve(app: &App, endpoint: Endpoint, request: Request<Body>) -> Response<Body> {
    let began = app.clock.now();
    let (arrival, id_holds) = edge::arrival(app, request.headers());
    let (id, client) = (arrival.id, arrival.client_request_id.clone());
    let (head, mut body) = request.into_parts();
    let mut sender = Sent::default();
    let answered = match id_holds {
        Ok(()) => answer(app, endpoint, arrival, &head, &mut body, &mut sender).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = match answered {
        Ok(answer) => {
            let engine = sender
                .key
                .as_ref()
                .filter(|key| key.rights.scopes.has(Scope::Admin))
                .and_then(|_| answer.engine());
            let mut response = response_of(answer);
            if let Some(name) = engine.and_then(|name| HeaderValue::try_from(name.as_str()).ok()) {
                response.headers_mut().insert(ENGINE.clone(), name);
            }
            response
        }
        Err(refusal) => {
            // Who was too slow already is not waited for again.
            if !matches!(refusal, Refusal::RequestTimeout(_)) {
                body::discard(&head.headers, &mut body).await;
            }
            let route = endpoint.as_str();
            let asked = std::mem::take(&mut sender.asked);
            let mut response = edge::refuse_known(app, id, client.as_deref(), route, &refusal, asked);
            put_rates(app, &sender, response.headers_mut());
            return response;
        }
    };
    let headers = response.headers_mut();
    edge::put_ids(headers, id, client.as_deref());
    put_rates(app, &sender, headers);
    headers.insert(
        PROCESSING_MS.clone(),
        milliseconds(app.clock.now().saturating_duration_since(began)),
    );
    response
}

async fn answer(
    app: &App,
    endpoint: Endpoint,
    arrival: Arrival,
    head: &Parts,
    body: &mut Body,
    sent: &mut Sent,
) -> Result<Answer, Refusal> {
    if app.draining.is_cancelled() {
        return Err(Refusal::ShuttingDown);
    }
    let headers = &head.headers;
    let caller = caller_of(app, headers, &head.extensions)?;
    sent.key = Some(Arc::clone(&caller.key));
    let asked = &mut sent.asked;
    asked.account = Some(caller.key.account.id.clone());
    asked.key = Some(caller.key.id.clone());
    let caller = caller.needs(Scope::Inference)?;
    let server = &app.settings.server;
    let bytes = body::read(headers, body, server.body_limit_bytes, server.body_timeout).await?;
    let request = Box::new(InferenceRequest::read(endpoint, bytes)?);
    sent.model = app
        .registry()
        .find(&request.model)
        .map(|served| Arc::clone(&served.model));
    asked.model = sent.model.as_ref().map(|model| model.id.clone());
    pipeline::serve(&app.pipeline, &caller, arrival, request).await
}

fn response_of(answer: Answer) -> Response<Body> {
    let (content_type, body) = match answer {
        Answer::Stream(body) => ("text/event-stream; charset=utf-8", Body::new(body)),
        Answer::Whole(pieces, receipt) => (
            "application/json",
            Body::new(WholeBody {
                left: pieces.iter().map(Bytes::len).sum(),
                pieces: pieces.into_iter(),
                _receipt: receipt,
            }),
        ),
    };
    let mut response = Response::new(body);
    // Room for what nearly every answer has.
    *response.headers_mut() = HeaderMap::with_capacity(6);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// How the rates that hold for it stand, as OpenAI says it; nothing where there is none.
fn put_rates(app: &App, sent: &Sent, headers: &mut HeaderMap) {
    let Some(key) = &sent.key else { return };
    let standings = standings(&app.pipeline, key, sent.model.as_deref());
    for (names, standing) in [
        (&RATE_REQUESTS, standings.requests),
        (&RATE_TOKENS, standings.tokens),
    ] {
        let Some(standing) = standing else { continue };
        let [limit, remaining, reset] = names;
        headers.insert(limit.clone(), HeaderValue::from(standing.limit));
        headers.insert(remaining.clone(), HeaderValue::from(standing.remaining));
        if let Ok(text) = HeaderValue::try_from(Reset(standing.reset).to_string()) {
            headers.insert(reset.clone(), text);
        }
    }
}

fn milliseconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// An answer in one piece. The receipt holds the request's place until the last byte has been handed over.
struct WholeBody {
    pieces: std::vec::IntoIter<Bytes>,
    /// Their bytes.
    left: usize,
    _receipt: Receipt,
}

impl http_body::Body for WholeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.left).unwrap_or(u64::MAX))
    }
}
