//! Why a request goes where it goes: what routing would do with it now. Nothing is sent, kept or counted.

use crate::engines::prompt::Tokens;
use crate::engines::registry::ServedModel;
use crate::pipeline::admit::count_prompt;
use crate::pipeline::request::InferenceRequest;
use crate::pipeline::{Pipeline, prefix};
use bytes::Bytes;
use farebox_domain::ids::AccountId;
use farebox_domain::ledger::Endpoint;
use farebox_domain::refusal::Refusal;
use farebox_domain::route::{Candidate, Choice};
use farebox_routing::Score;
use std::sync::Arc;

/// What routing thinks of a request.
#[derive(Debug)]
pub struct Explained {
    /// The model that it asks for.
    pub model: Arc<ServedModel>,
    /// Its prompt's tokens, estimated; `None` where the model is not routed by its prompt.
    pub prompt_tokens: Option<u64>,
    /// What is known of each deployment, in the model's order; the score where the model is routed by it.
    pub candidates: Vec<(Candidate, Option<Score>)>,
    /// Who would be chosen.
    pub chosen: Choice,
}

/// Reads a request as if `account` had sent it, and scores the engines of its model.
pub async fn explain(
    pipeline: &Pipeline,
    account: &AccountId,
    endpoint: Endpoint,
    body: Bytes,
) -> Result<Explained, Refusal> {
    let mut request = InferenceRequest::read(endpoint, body)?;
    let registry = pipeline.registry();
    let model = registry
        .find(&request.model)
        .ok_or_else(|| Refusal::no_such_model(&request.model))?;
    request.cache_salt = prefix::salt_of(model, account, &request);
    let tokens = match &model.prefix {
        Some(_) => count_prompt(model, &request).await,
        None => Tokens::default(),
    };
    let prompt = prefix::prompt_of(model, &request, &tokens);
    let weighing = model.weigh(prompt.as_deref());
    let candidates = model.candidates(weighing.as_ref());
    let chosen = model.chosen_of(&candidates);
    let indexes = 0..candidates.len();
    let scores = indexes.map(|index| Some(model.score(weighing.as_ref()?, index)));
    let scores: Vec<Option<Score>> = scores.collect();
    Ok(Explained {
        model: Arc::clone(model),
        prompt_tokens: prompt.as_ref().map(|prompt| prompt.cut().tokens),
        candidates: candidates.into_iter().zip(scores).collect(),
        chosen,
    })
}
