//! Route -> Upstream: the engine's first event, or its whole answer, from the first engine that gives one.
//!
//! Trying again ends here: once this stage has returned an answer, the client may have seen some of it.

use crate::config::Timeouts;
use crate::engines::adapters;
use crate::engines::client::{Engine, EngineBody, EngineGuard, Reply};
use crate::engines::outlier::Took;
use crate::engines::registry::ServedModel;
use crate::engines::sse::SseReader;
use crate::pipeline::Pipeline;
use crate::pipeline::call::Call;
use crate::pipeline::engine_error;
use crate::pipeline::event::{self, DataKind};
use crate::pipeline::route::Route;
use crate::pipeline::tries::Tries;
use crate::pipeline::whole::WholeAnswer;
use crate::telemetry::log;
use bytes::{Bytes, BytesMut};
use farebox_domain::attempt::{AttemptFault, StatusVerdict, read_status};
use farebox_domain::ejection::Ejected;
use farebox_domain::refusal::Refusal;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that may come before a stream's first event: comments, to keep the connection alive.
const PREAMBLE_LIMIT_BYTES: usize = 1 << 20;
/// Bytes of an answer in one piece.
const WHOLE_LIMIT_BYTES: usize = 256 << 20;
/// Of an answer's rest, from which on it is read straight from the socket: below it, hyper's buffers cost less than doing without.
const LONG_BYTES: usize = 32 << 10;
/// When a client may come back where no engine could load the adapter.
const NOT_LOADED_RETRY_AFTER: Duration = Duration::from_secs(30);
/// When a client may come back where a busy engine does not say.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// An engine that has begun to answer.
#[derive(Debug)]
pub enum Upstream {
    /// A stream, and what has been read of it.
    Stream {
        /// The place at the engine.
        guard: EngineGuard,
        /// What the engine calls the model.
        serves: String,
        /// Everything up to the segment with the first event.
        begun: Bytes,
        /// The rest.
        body: EngineBody,
    },
    /// An answer in one piece.
    Whole {
        /// What the engine calls the model.
        serves: String,
        /// The answer.
        answer: WholeAnswer,
    },
}

/// How a try ended without an answer.
enum Failed {
    /// By the engine's fault.
    Fault(AttemptFault),
    /// By the request's own.
    Refused(Refusal),
}

/// Sends the request until an engine answers, within the budget.
///
/// Where models.yaml is read again meanwhile, engines that it names now are tried too; `served` is changed to the model as it
/// was at last.
pub async fn forward(
    call: Call<'_>,
    served: &mut Arc<ServedModel>,
    first: Route,
) -> Result<Upstream, Refusal> {
    let pipeline = call.admitted.pipeline();
    let mut tries = Tries::begin(pipeline, served);
    let mut next = first;
    loop {
        let fault = match attempt(call, served, &next).await {
            Ok(begun) => return Ok(upstream(served, next, begun)),
            Err(Failed::Refused(refusal)) => return Err(refusal),
            Err(Failed::Fault(fault)) => fault,
        };
        note_fault(pipeline, call, &next.guard, fault);
        if let (AttemptFault::NotLoaded, Some(adapter)) = (fault, &served.model.adapter) {
            next.guard.engine().lacks_adapter(adapter);
        }
        tries.failed(next.deployment, fault);
        // Only now, as its place may go to another request at once.
        drop(next);
        next = tries
            .next(call, served)
            .await
            .ok_or_else(|| refusal_of(fault, served))?;
    }
}

fn note_fault(pipeline: &Pipeline, call: Call<'_>, place: &EngineGuard, fault: AttemptFault) {
    let engine = place.engine();
    call.progress.lock().dispatched = None;
    pipeline.metrics.attempt_failed(engine.name.as_str(), fault);
    log::attempt_failed(call.admitted.id(), call.part, &engine.name, fault);
    engine.attempt_failed();
    if fault.blames_engine() {
        note_ejection(pipeline, engine, engine.health.failed(place.pass()));
    }
}

fn note_ejection(pipeline: &Pipeline, engine: &Engine, ejected: Option<Ejected>) {
    if let Some(ejected) = ejected {
        pipeline.metrics.engine_ejected(engine.name.as_str(), ejected.why);
        log::engine_ejected(&engine.name, ejected);
    }
}

fn upstream(served: &ServedModel, route: Route, begun: Begun) -> Upstream {
    let serves = served.deployments[route.deployment].serves.clone();
    match begun {
        Begun::Stream { begun, body } => Upstream::Stream {
            guard: route.guard,
            serves,
            begun,
            body,
        },
        Begun::Whole(answer) => Upstream::Whole { serves, answer },
    }
}

fn refusal_of(fault: AttemptFault, served: &ServedModel) -> Refusal {
    let model = served.model.id.clone();
    match fault {
        AttemptFault::Silent => Refusal::EngineTimeout(model),
        AttemptFault::Busy { retry_after, .. } => Refusal::EngineOverloaded {
            retry_after: retry_after.unwrap_or(BUSY_RETRY_AFTER),
        },
        AttemptFault::OutOfFiles => Refusal::EngineOverloaded {
            retry_after: BUSY_RETRY_AFTER,
        },
        AttemptFault::Unreachable
        | AttemptFault::Status(_)
        | AttemptFault::ErrorAnswer
        | AttemptFault::BadAnswer
        | AttemptFault::BrokenBody => Refusal::EngineError(model),
        AttemptFault::NotLoaded => Refusal::NoEngineAvailable {
            model,
            retry_after: NOT_LOADED_RETRY_AFTER,
        },
    }
}

async fn attempt(call: Call<'_>, served: &ServedModel, route: &Route) -> Result<Begun, Failed> {
    let (pipeline, request) = (call.admitted.pipeline(), call.request);
    let deployment = &served.deployments[route.deployment];
    let engine = route.guard.engine();
    let dispatched = served
        .prefix
        .as_ref()
        .zip(call.prompt)
        .and_then(|(prefix, prompt)| prefix.dispatch(prompt, deployment));
    let called_at = pipeline.clock.now();
    {
        let mut progress = call.progress.lock();
        progress.engine = Some((engine.name.clone(), engine.kind));
        progress.called_at = Some(called_at);
        progress.dispatched = dispatched;
    }
    let body = request.body_for(&deployment.serves, engine.kind);
    let patience = patience(served.settings.timeouts, request.stream);
    // Pinned here: it is kilobytes long, and would be moved into the timeout and with it.
    let answering = pin!(async {
        let reply = engine
            .call(request.endpoint, body, (call.admitted.id(), call.part))
            .await
            .map_err(Failed::Fault)?;
        read_reply(call, served, reply).await
    });
    let begun = tokio::time::timeout(patience, answering)
        .await
        .unwrap_or(Err(Failed::Fault(AttemptFault::Silent)))?;
    let now = pipeline.clock.now();
    // An answer in one piece does not tell when its first token came.
    let mut took = matches!(begun, Begun::Stream { .. }).then(|| Took {
        size: request.prompt_bytes(),
        took_us: microseconds(now.saturating_duration_since(called_at)),
        now_us: microseconds(now.saturating_duration_since(pipeline.began)),
    });
    {
        let mut progress = call.progress.lock();
        progress.first_event_at = Some(now);
        if let (Some(took), Some(prefix), Some(dispatched)) =
            (&mut took, &served.prefix, &mut progress.dispatched)
        {
            dispatched.first_token(prefix.now_us());
            took.size = dispatched.work_tokens();
        }
    }
    let ejected = served.answered(route.deployment, &route.guard, took);
    note_ejection(pipeline, engine, ejected);
    Ok(begun)
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How long an engine may take to its first event. An answer in one piece has no event before its end.
fn patience(timeouts: Timeouts, stream: bool) -> Duration {
    if stream {
        timeouts.first_event
    } else {
        timeouts.whole_answer
    }
}

enum Begun {
    Stream { begun: Bytes, body: EngineBody },
    Whole(WholeAnswer),
}

async fn read_reply(call: Call<'_>, served: &ServedModel, reply: Reply) -> Result<Begun, Failed> {
    let (request, is_part) = (call.request, call.part.is_some());
    let is_adapter = served.model.adapter.is_some();
    let (head, mut body) = reply.into_parts();
    let status = head.status.as_u16();
    match read_status(status) {
        StatusVerdict::Fault if is_adapter && adapters::is_not_loaded(status, &[]) => {
            Err(Failed::Fault(AttemptFault::NotLoaded))
        }
        StatusVerdict::Fault => Err(Failed::Fault(AttemptFault::of_status(
            status,
            retry_after(&head.headers),
        ))),
        StatusVerdict::AboutTheRequest => {
            // An error without a readable body is still about the request.
            let text = collect(&mut body, engine_error::LIMIT_BYTES)
                .await
                .unwrap_or_default();
            if is_adapter && adapters::is_not_loaded(status, &text) {
                return Err(Failed::Fault(AttemptFault::NotLoaded));
            }
            Err(Failed::Refused(engine_error::refusal_of(status, &text)))
        }
        StatusVerdict::Answer if request.stream => {
            let begun = first_event(&mut body).await.map_err(Failed::Fault)?;
            Ok(Begun::Stream { begun, body })
        }
        StatusVerdict::Answer => {
            let bytes = collect(&mut body, WHOLE_LIMIT_BYTES)
                .await
                .map_err(Failed::Fault)?;
            let answer = WholeAnswer::read(request.endpoint, bytes.clone());
            // What is to be put together with others is looked at more closely.
            let holds = |answer: &WholeAnswer| !is_part || answer.has_embeddings(request.prompts);
            answer
                .filter(holds)
                .map(Begun::Whole)
                .ok_or_else(|| Failed::Fault(fault_in(&bytes)))
        }
    }
}

/// What is wrong with a whole body that is no answer: JSON may be an error about the request.
fn fault_in(body: &[u8]) -> AttemptFault {
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_) => AttemptFault::ErrorAnswer,
        Err(_) => AttemptFault::BadAnswer,
    }
}

/// Reads until the first chunk, and returns all that was read.
async fn first_event(body: &mut EngineBody) -> Result<Bytes, AttemptFault> {
    let mut reader = SseReader::new(PREAMBLE_LIMIT_BYTES);
    let mut earlier = BytesMut::new();
    while let Some(segment) = next_segment(body).await? {
        reader.push(segment.clone());
        while let Some(event) = reader.next_event().map_err(|_| AttemptFault::BadAnswer)? {
            match event.data.as_deref().map(event::kind_of) {
                Some(DataKind::Chunk) if earlier.is_empty() => return Ok(segment),
                Some(DataKind::Chunk) => {
                    earlier.extend_from_slice(&segment);
                    return Ok(earlier.freeze());
                }
                Some(DataKind::Done | DataKind::Error) => return Err(AttemptFault::ErrorAnswer),
                Some(DataKind::Rubbish) => return Err(AttemptFault::BadAnswer),
                None => {}
            }
        }
        earlier.extend_from_slice(&segment);
        if earlier.len() > PREAMBLE_LIMIT_BYTES {
            return Err(AttemptFault::BadAnswer);
        }
    }
    Err(AttemptFault::BadAnswer)
}

async fn next_segment(body: &mut EngineBody) -> Result<Option<Bytes>, AttemptFault> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(AttemptFault::BrokenBody),
            Some(Ok(frame)) => {
                if let Ok(segment) = frame.into_data() {
                    return Ok(Some(segment));
                }
            }
        }
    }
}

/// The whole body. Most come in one segment, which is not copied; for others there is room for as much as is announced, and what is
/// long is read into it straight away.
async fn collect(body: &mut EngineBody, limit_bytes: usize) -> Result<Bytes, AttemptFault> {
    let Some(first) = next_segment(body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit_bytes {
        return Err(AttemptFault::ErrorAnswer);
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let room = first.len().saturating_add(announced).min(limit_bytes);
    if announced >= LONG_BYTES && room < limit_bytes {
        let mut all = BytesMut::with_capacity(room);
        all.extend_from_slice(&first);
        drop(first);
        // Boxed: few answers are long, and it would make every request's future kilobytes longer.
        let read = Box::pin(body.read_straight(&mut all, room)).await;
        return read.map(|()| all.freeze()).ok_or(AttemptFault::BrokenBody);
    }
    let mut all: Option<BytesMut> = None;
    while let Some(segment) = next_segment(body).await? {
        let all = all.get_or_insert_with(|| {
            let mut all = BytesMut::with_capacity(room);
            all.extend_from_slice(&first);
            all
        });
        if all.len() + segment.len() > limit_bytes {
            return Err(AttemptFault::ErrorAnswer);
        }
        all.extend_from_slice(&segment);
    }
    Ok(all.map_or(first, BytesMut::freeze))
}

/// `retry-after-ms`, or `retry-after` in seconds. A date is not read: engines do not send one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("retry-after-ms")
        .map(Duration::from_millis)
        .or(number("retry-after").map(Duration::from_secs))
}
