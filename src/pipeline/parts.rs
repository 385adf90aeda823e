//! Admitted -> Upstream, in parts: an embeddings request with more inputs than an engine is sent at once.
//!
//! Each part is placed, sent and tried again by itself, as if it were a request; what has answered is kept while another part is
//! tried again. The request stays one: one place among its account's, one hold, one entry. As many parts are out at a time as
//! the model has usable engines, so that one client's list does not fill them. All of them are in the one task of the request:
//! a client that leaves drops them all, and so does a part that fails for good.

use crate::engines::prompt::Tokens;
use crate::engines::registry::ServedModel;
use crate::pipeline::admit::Admitted;
use crate::pipeline::call::Call;
use crate::pipeline::edits::apply;
use crate::pipeline::fallback::Unanswered;
use crate::pipeline::forward::{Upstream, forward};
use crate::pipeline::in_flight::Progress;
use crate::pipeline::prefix;
use crate::pipeline::request::InferenceRequest;
use crate::pipeline::route::{Route, route};
use crate::pipeline::whole::WholeAnswer;
use farebox_domain::ledger::Endpoint;
use farebox_domain::refusal::Refusal;
use farebox_domain::split;
use farebox_routing::Prompt;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// What one engine is sent of it.
struct Part {
    request: InferenceRequest,
    prompt: Option<Arc<Prompt>>,
    progress: Mutex<Progress>,
}

impl Part {
    fn call<'a>(&'a self, admitted: &'a Admitted, index: usize) -> Call<'a> {
        Call {
            admitted,
            request: &self.request,
            prompt: self.prompt.as_ref(),
            progress: &self.progress,
            part: Some(index + 1),
        }
    }
}

/// A part's answer, and what the engine that gave it calls the model.
type Answered = (String, WholeAnswer);

/// How many inputs an engine may be sent, where the request has more.
pub(in crate::pipeline) fn limit(admitted: &Admitted, served: &ServedModel) -> Option<usize> {
    let most = usize::try_from(served.model.max_batch_inputs?).ok()?;
    let request = &admitted.request;
    (request.endpoint == Endpoint::Embeddings && request.prompts > most).then_some(most)
}

/// The answers to parts of at most `most` inputs, put together.
///
/// From the first call they have as long together as a request that is not split has with its tries again.
pub(in crate::pipeline) async fn in_parts(
    admitted: &Admitted,
    served: &mut Arc<ServedModel>,
    most: usize,
) -> Result<Upstream, Unanswered> {
    let engines = served.deployments.iter();
    let at_once = engines.filter(|one| one.engine.is_usable()).count().max(1);
    let parts = cut(admitted, served, most, at_once).map_err(Unanswered::before_a_call)?;
    note_split(admitted, served, parts.len());
    let first = route(parts[0].call(admitted, 0), served)
        .await
        .map_err(Unanswered::before_a_call)?;
    note_begun(admitted, &first);
    let settings = served.settings;
    let longest = settings.timeouts.whole_answer.saturating_add(settings.retry.time);
    let answered = tokio::time::timeout(longest, answers(admitted, served, &parts, first, at_once));
    let Ok(answers) = answered.await else {
        let late = Refusal::EngineTimeout(served.model.id.clone());
        return Err(Unanswered::by_engines(late));
    };
    let answers = answers?;
    note_answered(admitted, served, &parts);
    // Each answer was looked at when it came.
    let rubbish = || Unanswered::by_engines(Refusal::EngineError(served.model.id.clone()));
    let (serves, answers): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    let serves = serves.into_iter().next().ok_or_else(rubbish)?;
    let answer = WholeAnswer::joined(&answers).ok_or_else(rubbish)?;
    Ok(Upstream::Whole { serves, answer })
}

/// The answers to all parts, in their order; or the first failure that no try again has mended.
async fn answers(
    admitted: &Admitted,
    served: &Arc<ServedModel>,
    parts: &[Part],
    first: Route,
    at_once: usize,
) -> Result<Vec<Answered>, Unanswered> {
    let mut calls = Vec::with_capacity(parts.len());
    let mut place = Some(first);
    for (index, part) in parts.iter().enumerate() {
        let call = part.call(admitted, index);
        let answer = answer(call, Arc::clone(served), place.take());
        calls.push(async move { answer.await.map(|answer| (index, answer)) });
    }
    let answering = stream::iter(calls).buffer_unordered(at_once);
    let mut answers: Vec<(usize, Answered)> = answering.try_collect().await?;
    answers.sort_unstable_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

async fn answer(
    call: Call<'_>,
    mut served: Arc<ServedModel>,
    place: Option<Route>,
) -> Result<Answered, Unanswered> {
    let place = match place {
        Some(place) => place,
        None => route(call, &mut served)
            .await
            .map_err(Unanswered::before_a_call)?,
    };
    let upstream = forward(call, &mut served, place).await;
    // What it added to its engine's load is over.
    call.progress.lock().dispatched = None;
    match upstream.map_err(Unanswered::by_engines)? {
        Upstream::Whole { serves, answer } => Ok((serves, answer)),
        // Embeddings are not streamed.
        Upstream::Stream { .. } => Err(Unanswered::by_engines(Refusal::EngineError(
            served.model.id.clone(),
        ))),
    }
}

/// Cuts the list of inputs. A part's body is the client's with fewer inputs in it.
fn cut(admitted: &Admitted, served: &ServedModel, most: usize, engines: usize) -> Result<Vec<Part>, Refusal> {
    let whole = &admitted.request;
    let list = &whole.body[whole.prompt_range.clone()];
    let no_list = |_| Refusal::invalid("`input` is no list".to_owned(), Some("input".into()));
    let inputs: Vec<&RawValue> = serde_json::from_slice(list).map_err(no_list)?;
    let start = |input: &RawValue| input.get().as_ptr() as usize - list.as_ptr() as usize;
    let parts = split::parts(inputs.len(), most, engines).into_iter();
    let part = parts.map(|range| {
        let (first, last) = (inputs[range.start], inputs[range.end - 1]);
        let inputs = &list[start(first)..start(last) + last.get().len()];
        let inputs = Cow::Owned([b"[", inputs, b"]"].concat());
        let body = apply(&whole.body, vec![(whole.prompt_range.clone(), inputs)]);
        let request = InferenceRequest {
            service_tier: whole.service_tier,
            cache_salt: whole.cache_salt.clone(),
            ..InferenceRequest::read(whole.endpoint, body)?
        };
        Ok(Part {
            prompt: prefix::prompt_of(served, &request, &Tokens::default()),
            request,
            progress: Mutex::default(),
        })
    });
    part.collect()
}

fn note_split(admitted: &Admitted, served: &ServedModel, parts: usize) {
    let parts = u64::try_from(parts).unwrap_or(u64::MAX);
    served.metrics.split(parts);
    admitted.live().progress.lock().parts = Some(parts);
}

/// Until all have answered, the request is with the first part's engine.
fn note_begun(admitted: &Admitted, first: &Route) {
    let engine = first.guard.engine();
    let mut progress = admitted.live().progress.lock();
    progress.engine = Some((engine.name.clone(), engine.kind));
    progress.called_at = Some(admitted.pipeline().clock.now());
}

/// Afterwards it was with the engine that answered the first part, from the first call that was answered; for no longer than a
/// request may be that is not split, as no more engine time is held.
fn note_answered(admitted: &Admitted, served: &ServedModel, parts: &[Part]) {
    let now = admitted.pipeline().clock.now();
    let first_call = parts.iter().filter_map(|part| part.progress.lock().called_at);
    let longest_ago = now.checked_sub(served.settings.timeouts.whole_answer);
    let engine = parts[0].progress.lock().engine.clone();
    let mut progress = admitted.live().progress.lock();
    progress.called_at = first_call.min().max(longest_ago);
    progress.engine = engine;
    progress.first_event_at = Some(now);
}
