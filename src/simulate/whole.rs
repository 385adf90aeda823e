//! An answer that is not streamed: the same tokens at the same pace, then one JSON body.

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::future::{pending, poll_fn};

use super::body::{AnswerBody, Ending};
use super::logprobs;
use super::pace::Pacer;
use super::request::{Generation, Kind};
use super::script::{Ended, engine_died};
use super::ticket::Ticket;
use super::trouble::{FaultKind, Trouble, UsageQuirk};
use super::wire::{Heading, Usage};

/// What a choice has said.
#[derive(Clone, Debug, Default)]
struct Said {
    text: String,
    /// Kept apart only for logprobs.
    tokens: Vec<String>,
}

/// Produces the answer to a request that has its slot, and so many cached tokens.
pub(super) async fn answer(
    mut ticket: Ticket,
    heading: Heading,
    mut generation: Generation,
    trouble: Trouble,
    (cached, mut pacer): (u64, Pacer),
) -> Response {
    let mut said = vec![Said::default(); generation.choices.len()];
    let struck = decode(&ticket, &mut generation, &trouble, &mut said, &mut pacer).await;
    match struck {
        Some(FaultKind::Stall) => return pending().await,
        Some(FaultKind::ErrorEvent { .. }) => {
            ticket.set_status(500);
            ticket.end(Ended::Broken);
            return engine_died().into_response();
        }
        _ => {}
    }
    let produced = generation.choices.iter().map(|choice| choice.produced).sum();
    let usage = Usage {
        prompt: generation.prompt_tokens(),
        completion: produced,
        cached,
    };
    let mut bytes = write(&heading, &generation, &said, &trouble, usage).freeze();
    let length = HeaderValue::from(bytes.len());
    let ending = match struck {
        Some(FaultKind::Cut) => {
            bytes.truncate(bytes.len() / 2);
            Ending::Break
        }
        Some(FaultKind::Malformed) => {
            // As long as announced, and no JSON.
            bytes = bytes
                .iter()
                .map(|byte| if *byte == b':' { b';' } else { *byte })
                .collect::<Bytes>();
            Ending::Clean(Ended::Sound)
        }
        _ => Ending::Clean(Ended::Sound),
    };
    respond(ticket, bytes, length, &trouble, ending)
}

/// A whole answer of 200. `length` is what is announced, which a cut body does not keep.
pub(super) fn respond(
    ticket: Ticket,
    bytes: Bytes,
    length: HeaderValue,
    trouble: &Trouble,
    ending: Ending,
) -> Response {
    ticket.set_status(200);
    let kind = if trouble.wrong_content_type {
        "text/html"
    } else {
        "application/json"
    };
    let body = AnswerBody::whole(ticket, bytes, trouble.writes, ending);
    let mut response = Response::new(axum::body::Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// Decodes until all choices are complete or the fault strikes.
async fn decode(
    ticket: &Ticket,
    generation: &mut Generation,
    trouble: &Trouble,
    said: &mut [Said],
    pacer: &mut Pacer,
) -> Option<FaultKind> {
    let with_logprobs = generation.top_logprobs.is_some();
    let mut produced = 0;
    loop {
        // The first step is the prefill.
        poll_fn(|cx| pacer.poll_step(cx)).await;
        let mut complete = true;
        for (choice, said) in generation.choices.iter_mut().zip(said.iter_mut()) {
            let struck = trouble.fault.filter(|fault| produced >= fault.after);
            // A malformed answer is a whole one.
            if let Some(fault) = struck.filter(|fault| fault.kind != FaultKind::Malformed) {
                return Some(fault.kind);
            }
            if choice.is_complete() {
                continue;
            }
            // A tool's name is its first token and no part of the text.
            if choice.tool.is_none() || choice.produced > 0 {
                let token = choice.source.next();
                said.text.push_str(token.text);
                if with_logprobs {
                    said.tokens.push(token.text.to_owned());
                }
            }
            choice.produced += 1;
            produced += 1;
            ticket.count(1);
            complete &= choice.is_complete();
        }
        if complete {
            return trouble
                .fault
                .filter(|fault| produced >= fault.after)
                .map(|fault| fault.kind);
        }
    }
}

fn write(
    heading: &Heading,
    generation: &Generation,
    said: &[Said],
    trouble: &Trouble,
    usage: Usage,
) -> BytesMut {
    let object = match heading.kind {
        Kind::Chat => "chat.completion",
        Kind::Completion => "text_completion",
    };
    let mut out = BytesMut::from(heading.open(object).as_bytes());
    for (index, said) in said.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b",");
        }
        let choice = choice_json(heading, generation, index, said, trouble.no_finish);
        out.extend_from_slice(choice.to_string().as_bytes());
    }
    out.extend_from_slice(b"]");
    if trouble.usage != UsageQuirk::Missing {
        out.extend_from_slice(b",\"usage\":");
        usage.write(&mut out);
    }
    if trouble.line_bytes > out.len() {
        out.extend_from_slice(b",\"padding\":\"");
        out.resize(out.len().max(trouble.line_bytes), b'x');
        out.extend_from_slice(b"\"");
    }
    out.extend_from_slice(b"}");
    out
}

fn choice_json(
    heading: &Heading,
    generation: &Generation,
    index: usize,
    said: &Said,
    no_finish: bool,
) -> Value {
    let Some(choice) = generation.choices.get(index) else {
        return Value::Null;
    };
    let top = generation.top_logprobs;
    let logprobs = top.map(|top| logprobs::render(generation.kind, &said.tokens, top, 0));
    let reason = if no_finish {
        None
    } else {
        Some(choice.reason.as_str())
    };
    if heading.kind == Kind::Completion {
        return json!({
            "index": index,
            "text": said.text,
            "logprobs": logprobs,
            "finish_reason": reason,
            "stop_reason": null,
        });
    }
    let message = match &choice.tool {
        None => json!({"role": "assistant", "content": said.text}),
        Some(name) => json!({
            "role": "assistant",
            "content": null,
            "tool_calls": [{
                "id": format!("chatcmpl-tool-{}", heading.id),
                "type": "function",
                "function": {"name": name, "arguments": said.text},
            }],
        }),
    };
    json!({
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": reason,
        "stop_reason": null,
    })
}
