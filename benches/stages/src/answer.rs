//! The stages of an answer: a stream as it passes, and an answer in one piece.

use crate::run::{Fault, Run, Staged, ensure};
use crate::texts::{CHAT, CHAT_SERVED, EVENTS, chat_answer, embeddings_answer, events};
use bytes::Bytes;
use farebox::pipeline::meter::{Output, Presentation, Step, StreamMeter, UsageJson};
use farebox::pipeline::request::StreamOptions;
use farebox::pipeline::usage::read_usage;
use farebox::pipeline::whole::WholeAnswer;
use farebox_domain::ledger::Endpoint;
use std::hint::black_box;

fn presentation(rename: bool) -> Presentation {
    let name = |name: &'static str| Bytes::from_static(name.as_bytes());
    Presentation {
        options: StreamOptions {
            include_usage: true,
            continuous_usage: false,
        },
        service_tier: None,
        rename: rename.then(|| (name(CHAT_SERVED), name(CHAT))),
    }
}

fn usage_json(usage: &[u8]) -> Result<UsageJson, Fault> {
    Ok(UsageJson {
        usage: read_usage(usage).ok_or("no usage")?,
        estimated_cost: "0.00000184".to_owned(),
        engines_own: true,
    })
}

/// What a client is shown of a stream that passes as it is, so many events to a read.
pub fn stream(events_a_read: usize) -> Result<Box<dyn Run>, Fault> {
    pass(events(CHAT, false).chunks(events_a_read), false)
}

/// The same with vLLM's running usage, of a model that the engine calls otherwise: each event is edited.
pub fn edited_stream() -> Result<Box<dyn Run>, Fault> {
    pass(events(CHAT_SERVED, true).chunks(1), true)
}

fn pass<'a>(reads: impl Iterator<Item = &'a [String]>, rename: bool) -> Result<Box<dyn Run>, Fault> {
    let reads: Vec<String> = reads.map(<[String]>::concat).collect();
    let make = |(reads, presentation): &mut (Vec<String>, Presentation)| {
        let own = |read: &String| Bytes::copy_from_slice(read.as_bytes());
        Ok((presentation.clone(), reads.iter().map(own).collect::<Vec<_>>()))
    };
    let run = |_: &mut (Vec<String>, Presentation), (presentation, reads): (Presentation, Vec<Bytes>)| {
        let (mut meter, mut output) = (StreamMeter::new(1, presentation), Output::default());
        let mut shown = 0;
        let mut ended = Step::More;
        for read in reads {
            ended = meter.push(read, &mut output);
            shown += output.take().map_or(0, |shown| black_box(shown).len());
        }
        let usage = meter.usage.clone().ok_or("no usage")?;
        let end = meter.terminal(&usage_json(&usage)?);
        ensure(
            ended == Step::Complete && shown > EVENTS * 100,
            "it was not complete",
        )?;
        ensure(black_box(end).ends_with(b"[DONE]\n\n"), "no end")
    };
    Ok(Staged::boxed((reads, presentation(rename)), make, run))
}

/// A chat answer in one piece, read and shown with its cost and the catalog's name.
pub fn whole_chat() -> Result<Box<dyn Run>, Fault> {
    whole(Endpoint::ChatCompletions, chat_answer())
}

/// 64 embeddings of 384 numbers, the same.
pub fn whole_embeddings() -> Result<Box<dyn Run>, Fault> {
    whole(Endpoint::Embeddings, embeddings_answer())
}

fn whole(endpoint: Endpoint, body: Bytes) -> Result<Box<dyn Run>, Fault> {
    let state = (
        endpoint,
        body,
        presentation(endpoint == Endpoint::ChatCompletions),
    );
    let run = |(endpoint, _, presentation): &mut (Endpoint, Bytes, Presentation), body| {
        let answer = WholeAnswer::read(*endpoint, body).ok_or("no answer")?;
        let usage = answer.usage().ok_or("no usage")?;
        let shown = answer.present(presentation, &usage_json(&usage)?, false);
        let last = black_box(&shown).last();
        ensure(
            last.is_some_and(|piece| piece.ends_with(b"}")),
            "no answer is shown",
        )
    };
    Ok(Staged::boxed(state, |(_, body, _)| Ok(body.clone()), run))
}
