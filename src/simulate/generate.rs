//! Chat completions, completions and embeddings: from a request's bytes to its answer.

use std::future::{pending, poll_fn};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::body::{AnswerBody, Rates, Stream};
use super::clock;
use super::embeddings;
use super::engine::{Engine, Shared};
use super::pace::Pacer;
use super::records::Record;
use super::refusal::Refusal;
use super::request::{Generation, Kind};
use super::script::{Ended, Script};
use super::server::Hangup;
use super::slots::Entry;
use super::ticket::Ticket;
use super::tokens::Prompt;
use super::trouble::{Instead, Trouble};
use super::whole;
use super::wire::Heading;

pub(super) async fn chat(State(engine): State<Engine>, headers: HeaderMap, body: Bytes) -> Response {
    generate(&engine.shared, Kind::Chat, &headers, &body)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn completion(State(engine): State<Engine>, headers: HeaderMap, body: Bytes) -> Response {
    generate(&engine.shared, Kind::Completion, &headers, &body)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn embedding(State(engine): State<Engine>, headers: HeaderMap, body: Bytes) -> Response {
    embed(&engine.shared, &headers, &body)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn generate(
    engine: &Arc<Shared>,
    kind: Kind,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refusal> {
    let call = Call::read(engine, headers, body)?;
    if let Some(instead) = &call.trouble.instead {
        return Ok(call.answer_instead(engine, kind.path(), instead).await);
    }
    let generation = Generation::parse(kind, &call.body, &engine.settings)?;
    let mut ticket = Ticket::open(engine, call.record(kind.path()));
    ticket.set_prompt_tokens(generation.prompt_tokens());
    let rates = engine.rates(&call.trouble);
    let Call {
        id, model, trouble, ..
    } = call;
    let heading = Heading {
        kind,
        id,
        created: clock::unix_seconds(),
        model,
    };
    if !generation.stream {
        let (cached, pacer) = admit(engine, &mut ticket, &generation.prompts, rates).await?;
        return Ok(whole::answer(ticket, heading, generation, trouble, (cached, pacer)).await);
    }
    let writes = trouble.writes;
    let wrong_content_type = trouble.wrong_content_type;
    let script = Script::new(heading, generation, trouble);
    let stream = match engine.slots.enter() {
        Entry::Now(permit) => {
            let cached = ticket.start(Some(permit), &script.generation().prompts);
            Stream::started(script, cached, rates, writes)
        }
        Entry::Later(place) => Stream::queued(script, place, rates, writes),
        Entry::Full => return Err(refuse_full(&mut ticket)),
    };
    ticket.set_status(200);
    let kind = if wrong_content_type {
        "text/html"
    } else {
        "text/event-stream; charset=utf-8"
    };
    Ok(respond(kind, AnswerBody::streamed(ticket, stream)))
}

async fn embed(engine: &Arc<Shared>, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let call = Call::read(engine, headers, body)?;
    if let Some(instead) = &call.trouble.instead {
        return Ok(call.answer_instead(engine, embeddings::PATH, instead).await);
    }
    let request = embeddings::Request::parse(&call.body, &engine.settings)?;
    let rates = engine.rates(&call.trouble);
    let mut ticket = Ticket::open(engine, call.record(embeddings::PATH));
    ticket.set_prompt_tokens(request.prompt_tokens());
    let (_, mut pacer) = admit(engine, &mut ticket, &request.prompts, rates).await?;
    poll_fn(|cx| pacer.poll_step(cx)).await;
    let Call {
        id, model, trouble, ..
    } = call;
    Ok(embeddings::answer(ticket, &request, &id, &model, &trouble).await)
}

/// Waits for a slot and begins the prefill: the cached tokens, and the pace from here.
async fn admit(
    engine: &Arc<Shared>,
    ticket: &mut Ticket,
    prompts: &[Prompt],
    rates: Rates,
) -> Result<(u64, Pacer), Refusal> {
    let permit = match engine.slots.enter() {
        Entry::Now(permit) => Some(permit),
        Entry::Later(mut place) => poll_fn(|cx| place.poll(cx)).await,
        Entry::Full => return Err(refuse_full(ticket)),
    };
    let cached = ticket.start(permit, prompts);
    let tokens: u64 = prompts.iter().map(|prompt| prompt.tokens).sum();
    Ok((cached, rates.pacer(tokens - cached)))
}

fn refuse_full(ticket: &mut Ticket) -> Refusal {
    ticket.set_status(503);
    ticket.end(Ended::Broken);
    Refusal::queue_full()
}

fn respond(content_type: &'static str, body: AnswerBody) -> Response {
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What every endpoint reads first.
struct Call {
    body: Value,
    id: String,
    model: String,
    trouble: Trouble,
}

impl Call {
    fn read(engine: &Shared, headers: &HeaderMap, bytes: &[u8]) -> Result<Call, Refusal> {
        let body: Value = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::not_json(format!("the body is not JSON: {error}")))?;
        if !body.is_object() {
            return Err(Refusal::not_json("the body must be a JSON object"));
        }
        let model = body.get("model").and_then(Value::as_str);
        let model = model
            .ok_or_else(|| Refusal::bad("model", "model must be a text"))?
            .to_owned();
        let suffix = model.split_once('!').map(|(_, words)| words);
        if suffix.is_none() && !engine.serves(&model) {
            return Err(Refusal::unknown_model(&model));
        }
        let header = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let words = header("x-simulate")
            .or_else(|| body.get("simulate").and_then(Value::as_str))
            .or(suffix);
        let trouble = engine
            .trouble_for(words)
            .map_err(|unknown| Refusal::bad("simulate", unknown.to_string()))?;
        let id = match header("x-request-id") {
            Some(id) => id.to_owned(),
            None => format!("sim-{}", engine.next_number()),
        };
        Ok(Call {
            body,
            id,
            model,
            trouble,
        })
    }

    fn record(&self, path: &'static str) -> Record {
        Record::new(self.id.clone(), self.model.clone(), path)
    }

    /// The trouble that comes instead of an answer.
    async fn answer_instead(&self, engine: &Arc<Shared>, path: &'static str, instead: &Instead) -> Response {
        let mut ticket = Ticket::open(engine, self.record(path));
        let response = match instead {
            Instead::Hang => return pending().await,
            Instead::HeadersThenSilence => {
                ticket.set_status(200);
                let stream = self.body.get("stream").and_then(Value::as_bool).unwrap_or(false);
                let kind = if stream {
                    "text/event-stream; charset=utf-8"
                } else {
                    "application/json"
                };
                return respond(kind, AnswerBody::silent(ticket));
            }
            Instead::Refuse => Hangup::response(),
            Instead::FlatError => {
                let error =
                    json!({"message": "simulated: a flat error", "type": "BadRequestError", "code": 400});
                (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
            }
            Instead::DetailError => {
                (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Not Found"}))).into_response()
            }
            Instead::Status {
                code,
                retry_after,
                retry_after_ms,
            } => {
                let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response =
                    Refusal::with_status(status, format!("simulated: status {code}")).into_response();
                let hints = [("retry-after", retry_after), ("retry-after-ms", retry_after_ms)];
                for (name, hint) in hints
                    .into_iter()
                    .filter_map(|(name, hint)| Some((name, (*hint)?)))
                {
                    response.headers_mut().insert(name, HeaderValue::from(hint));
                }
                response
            }
        };
        if *instead != Instead::Refuse {
            ticket.set_status(response.status().as_u16());
        }
        ticket.end(Ended::Broken);
        response
    }
}
