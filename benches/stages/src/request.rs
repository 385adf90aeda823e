//! The stages until an engine is called.

use crate::gateway::{Gateway, directory, headers, refused};
use crate::run::{Fault, Run, Staged, ensure};
use crate::texts::{CHAT, CHAT_SERVED, chat_request, embeddings_request};
use bytes::Bytes;
use farebox::clock::Clock;
use farebox::engines::registry::ServedModel;
use farebox::engines::waiting::Place;
use farebox::pipeline::authenticate::authenticate as authenticate_caller;
use farebox::pipeline::request::InferenceRequest;
use farebox_domain::catalog::EngineKind;
use farebox_domain::ledger::Endpoint;
use farebox_routing::Prompt;
use std::hint::black_box;
use std::sync::Arc;

/// Bearer token to `Caller`, among so many keys of as many accounts.
pub fn authenticate(keys: u32) -> Result<Box<dyn Run>, Fault> {
    let state = (directory(keys)?, headers()?, Clock::system());
    let run = |(directory, headers, clock): &mut (_, _, Clock), ()| {
        let caller = authenticate_caller(directory, headers, None, clock.unix_ms()).map_err(refused)?;
        ensure(black_box(caller).token.is_none(), "another caller")
    };
    Ok(Staged::boxed(state, |_| Ok(()), run))
}

/// Body bytes to `InferenceRequest`, of a chat.
pub fn read_chat(bytes: usize) -> Result<Box<dyn Run>, Fault> {
    read(Endpoint::ChatCompletions, chat_request(bytes))
}

/// The same of 64 embeddings.
pub fn read_embeddings() -> Result<Box<dyn Run>, Fault> {
    read(Endpoint::Embeddings, embeddings_request())
}

fn read(endpoint: Endpoint, body: Bytes) -> Result<Box<dyn Run>, Fault> {
    let run = |(endpoint, _): &mut (_, Bytes), body| {
        let request = InferenceRequest::read(*endpoint, body).map_err(refused)?;
        ensure(!black_box(request).model.is_empty(), "no model")
    };
    Ok(Staged::boxed((endpoint, body), |(_, body)| Ok(body.clone()), run))
}

/// The bytes for an engine that calls the model otherwise and is asked for a running usage.
pub fn edit_chat(bytes: usize) -> Result<Box<dyn Run>, Fault> {
    let request = InferenceRequest::read(Endpoint::ChatCompletions, chat_request(bytes)).map_err(refused)?;
    let run = |request: &mut InferenceRequest, ()| {
        let body = request.body_for(CHAT_SERVED, EngineKind::Vllm);
        ensure(black_box(body) != request.body, "nothing was edited")
    };
    Ok(Staged::boxed(request, |_| Ok(()), run))
}

/// Place, rates and hold of a 1 KB chat: taken, and given back as of a client that left before an engine was called.
pub fn admit() -> Result<Box<dyn Run>, Fault> {
    let (gateway, _) = Gateway::new(1)?;
    let request =
        InferenceRequest::read(Endpoint::ChatCompletions, chat_request(1 << 10)).map_err(refused)?;
    let run = |(gateway, _): &mut (Gateway, _), request| {
        drop(black_box(gateway.admit(request)?));
        ensure(gateway.take_abandoned(), "it was not given back")
    };
    Ok(Staged::boxed(
        (gateway, request),
        |(_, request)| Ok(request.clone()),
        run,
    ))
}

/// A place at one of so many engines, by the least load: taken and given back, where every engine is idle.
pub fn route(engines: usize) -> Result<Box<dyn Run>, Fault> {
    let gateway = Gateway::new(engines)?.0;
    let served = served(&gateway)?;
    let run = |(_, served): &mut (Gateway, Arc<ServedModel>), ()| take_and_give_back(served, None);
    Ok(Staged::boxed((gateway, served), |_| Ok(()), run))
}

/// The same where each has a request already: all are looked at.
pub fn route_busy(engines: usize) -> Result<Box<dyn Run>, Fault> {
    let gateway = Gateway::new(engines)?.0;
    let served = served(&gateway)?;
    let held = (0..engines).map(|_| served.try_place(None, |_| true).map_err(|_| "no place"));
    let held = held.collect::<Result<Vec<Place>, _>>()?;
    let run =
        |(_, served, _): &mut (Gateway, Arc<ServedModel>, Vec<Place>), ()| take_and_give_back(served, None);
    Ok(Staged::boxed((gateway, served, held), |_| Ok(()), run))
}

/// The same by what a prompt would cost at each, where each holds a part of it.
pub fn route_prefix(engines: usize) -> Result<Box<dyn Run>, Fault> {
    let gateway = Gateway::routed(engines, "prefix")?.0;
    let served = served(&gateway)?;
    let prefix = served.prefix.as_ref().ok_or("it is not routed by prefix")?;
    let text = [b'x'; 4_096];
    for deployment in &served.deployments {
        // It is gone at once, and what it was sent is held there.
        drop(prefix.dispatch(&Prompt::of_text(0, [&text[..2_048]], 500), deployment));
    }
    let state = (gateway, served, Prompt::of_text(0, [&text[..]], 1_000));
    let run = |(_, served, prompt): &mut (Gateway, Arc<ServedModel>, Prompt), ()| {
        take_and_give_back(served, Some(prompt))
    };
    Ok(Staged::boxed(state, |_| Ok(()), run))
}

/// The same at one engine that serves so many models: nobody waits for any of them.
pub fn route_models(models: usize) -> Result<Box<dyn Run>, Fault> {
    let gateway = Gateway::new(1)?.0;
    let served = served(&gateway)?;
    let engine = &served.deployments[0].engine;
    engine.set_models((0..models).map(|_| Arc::downgrade(&served)).collect());
    let run = |(_, served): &mut (Gateway, Arc<ServedModel>), ()| take_and_give_back(served, None);
    Ok(Staged::boxed((gateway, served), |_| Ok(()), run))
}

fn served(gateway: &Gateway) -> Result<Arc<ServedModel>, Fault> {
    let registry = gateway.pipeline.registry();
    Ok(registry.find(CHAT).cloned().ok_or("no such model")?)
}

fn take_and_give_back(served: &ServedModel, prompt: Option<&Prompt>) -> Result<(), Fault> {
    let place = served.try_place(prompt, |_| true).map_err(|_| "no place")?;
    ensure(
        black_box(place).deployment < served.deployments.len(),
        "no such engine",
    )
}
