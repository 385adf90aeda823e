//! Caller -> Admitted: the model is sold, the request fits it, and the account has room for one more and the money.

use crate::admission::concurrency::{ConcurrencyPermit, Wanted};
use crate::admission::directory::ApiKey;
use crate::admission::rate::{self, Limited, RateGate, RateHold, Standings};
use crate::admission::wallet::Payer;
use crate::engines::prompt::{QUICK_BYTES_AT_MOST, Tokens};
use crate::engines::registry::ServedModel;
use crate::pipeline::authenticate::Caller;
use crate::pipeline::hold::{Bounds, Held, Terms, hold};
use crate::pipeline::in_flight::{Live, NewRequest};
use crate::pipeline::request::InferenceRequest;
use crate::pipeline::shared::take_shared;
use crate::pipeline::{Arrival, Pipeline, prefix, units};
use farebox_domain::catalog::{Model, Task};
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::Endpoint;
use farebox_domain::month::Month;
use farebox_domain::refusal::{Refusal, Whose};
use farebox_routing::Prompt;
use std::sync::Arc;
use std::time::Duration;

/// When a client that found the ledger away may come back.
const LEDGER_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A request that has been let in. It owns the concurrency permit and, through what is live of it, the hold on the balance;
/// no engine is called without them.
///
/// [`Admitted::settle`](crate::pipeline::settle) takes it by value. Dropped without that, it hands what is known
/// of the request to the settler, and computes nothing.
#[derive(Debug)]
pub struct Admitted {
    /// What was asked for. Boxed, as it is handed from stage to stage.
    pub request: Box<InferenceRequest>,
    /// Its prompt, where that decides which engine serves it.
    pub(in crate::pipeline) prompt: Option<Arc<Prompt>>,
    pub(in crate::pipeline) ticket: Ticket,
    pub(in crate::pipeline) permit: ConcurrencyPermit,
}

/// The duty to settle a request.
pub(in crate::pipeline) struct Ticket {
    pub(in crate::pipeline) pipeline: Arc<Pipeline>,
    live: Arc<Live>,
    redeemed: bool,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ticket").field(&self.live.id).finish()
    }
}

impl Ticket {
    /// What has come of the request so far.
    pub(in crate::pipeline) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The duty is done: what was in flight is what is settled.
    pub(in crate::pipeline) fn redeem(mut self) -> Arc<Live> {
        self.redeemed = true;
        Arc::clone(&self.live)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pipeline.in_flight.remove(&self.live);
        if !self.redeemed {
            self.pipeline.abandon(Arc::clone(&self.live));
        }
    }
}

impl Admitted {
    /// Its id.
    pub fn id(&self) -> RequestId {
        self.ticket.live.id
    }

    /// What has come of it so far.
    pub fn live(&self) -> &Arc<Live> {
        &self.ticket.live
    }

    /// The pipeline that it is in.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.ticket.pipeline
    }
}

/// Lets a request in, or says why not. A refusal consumes nothing.
pub async fn admit(
    pipeline: &Arc<Pipeline>,
    caller: &Caller,
    arrival: Arrival,
    mut request: Box<InferenceRequest>,
) -> Result<(Admitted, Arc<ServedModel>), Refusal> {
    if pipeline.settler.is_failing() {
        return Err(Refusal::LedgerUnavailable {
            retry_after: LEDGER_RETRY_AFTER,
        });
    }
    let registry = pipeline.registry();
    let served = registry
        .find(&request.model)
        .ok_or_else(|| Refusal::no_such_model(&request.model))?;
    if !caller.may_use(&served.model) {
        return Err(Refusal::ModelNotAllowed(served.model.id.clone()));
    }
    check_task(served, &request)?;
    check_room(served, &request)?;
    let account = &caller.key.account;
    let wanted = Wanted {
        model: served.model.limited_as(),
        key: &caller.key.id,
        key_limit: caller.key.rights.concurrent_requests,
        default: registry.limits().concurrent_requests,
    };
    let mut permit = account.gate.try_acquire(wanted)?;
    let admitted_at_ms = pipeline.clock.unix_ms();
    let price = served.prices.at(admitted_at_ms);
    let service_tier = price.price.tier_sold(request.service_tier);
    request.service_tier = service_tier;
    let payer = Payer {
        key: &caller.key.id,
        month: Month::of_ms(admitted_at_ms),
    };
    let tokens = count_prompt(served, &request).await;
    let counted = tokens.count;
    let bounds = Bounds {
        units: units::bound(&request, &price.price, served.settings.timeouts)?,
        ..Bounds::of(&request, &served.model, counted)
    };
    let mut rates = take_rates(pipeline, caller, &served.model, &bounds)?;
    take_shared(pipeline, &caller.key, wanted, &mut permit, &mut rates).await?;
    let terms = Terms {
        payer,
        bounds,
        price: &price.price,
        tier: service_tier,
    };
    let held = hold(pipeline.leases.as_deref(), account, terms).await?;
    let held = hold_of_token(pipeline, caller, held, admitted_at_ms)?;
    request.cache_salt = prefix::salt_of(served, &account.id, &request);
    let prompt = prefix::prompt_of(served, &request, &tokens);
    request.output_cap = held.tell.then_some(held.output_tokens);
    let new = NewRequest {
        id: arrival.id,
        client_request_id: arrival.client_request_id,
        endpoint: request.endpoint,
        choices: request.choices,
        service_tier,
        price,
        prompt_tokens: counted,
        held,
        rates,
        admitted_at: pipeline.clock.now(),
        admitted_at_ms,
        stream: request.stream,
    };
    let live = Arc::new(Live::new(
        new,
        account.id.clone(),
        caller.key.id.clone(),
        Arc::clone(served),
    ));
    pipeline.in_flight.insert(&live);
    let ticket = Ticket {
        pipeline: Arc::clone(pipeline),
        live,
        redeemed: false,
    };
    Ok((
        Admitted {
            request,
            prompt,
            ticket,
            permit,
        },
        Arc::clone(served),
    ))
}

/// Takes the request, and the tokens that it may come to, of the rates that hold for it.
fn take_rates(
    pipeline: &Pipeline,
    caller: &Caller,
    model: &Model,
    bounds: &Bounds,
) -> Result<Option<RateHold>, Refusal> {
    let limited = limited(pipeline, &caller.key, Some(model));
    if limited.is_empty() {
        return Ok(None);
    }
    let answer = bounds.output_tokens.saturating_mul(bounds.choices);
    let tokens = bounds.prompt_tokens.saturating_add(answer);
    rate::take(limited, tokens, &pipeline.clock).map(Some)
}

/// The account, the key, and the account on the model, each where it has a rate.
fn limited(pipeline: &Pipeline, key: &ApiKey, model: Option<&Model>) -> Vec<Limited> {
    let account = &key.account;
    let of_account = Limited {
        limits: account.rates.own().or(pipeline.registry().limits().rates),
        gate: Arc::clone(&account.rates),
        whose: Whose::Account,
    };
    let by_own = |gate: Arc<RateGate>, whose| Limited {
        limits: gate.own(),
        gate,
        whose,
    };
    let of_key = account
        .key_rates(&key.id)
        .map(|gate| by_own(gate, Whose::Key(key.id.clone())));
    let of_model = model.and_then(|model| {
        let gate = account.model_rates(model, pipeline.clock.now())?;
        Some(by_own(gate, Whose::Model(model.limited_as().clone())))
    });
    let all = [Some(of_account), of_key, of_model].into_iter().flatten();
    all.filter(|limited| !limited.limits.is_empty()).collect()
}

/// How the rates of the account, the key and the account on the model stand, the tightest of each kind; nothing where none
/// has one.
pub fn standings(pipeline: &Pipeline, key: &ApiKey, model: Option<&Model>) -> Standings {
    rate::standings(&limited(pipeline, key, model), pipeline.clock.now())
}

/// Holds the same of the token that the caller came with, where that has a limit of its own.
fn hold_of_token(pipeline: &Pipeline, caller: &Caller, held: Held, now_ms: u64) -> Result<Held, Refusal> {
    let Some(token) = &caller.token else {
        return Ok(held);
    };
    let amount = held.hold.amount();
    let purse = pipeline.directory.purses.try_hold(token, amount, now_ms);
    match purse {
        Ok(purse) => Ok(Held {
            hold: held.hold.with_purse(purse),
            ..held
        }),
        Err(short) => Err(Refusal::TokenSpent {
            could_cost: amount,
            left: short.left,
            limit: short.limit,
        }),
    }
}

/// The prompt's tokens, where the operator has given the model's tokenizer and it can tell. A long body is counted where it
/// holds up nobody.
pub(in crate::pipeline) async fn count_prompt(
    served: &Arc<ServedModel>,
    request: &InferenceRequest,
) -> Tokens {
    let Some(counter) = served.prompt.as_ref() else {
        return Tokens::default();
    };
    let (endpoint, body) = (request.endpoint, request.body.clone());
    if body.len() <= QUICK_BYTES_AT_MOST {
        return counter.read(endpoint, &body);
    }
    let counter = Arc::clone(counter);
    let reading = tokio::task::spawn_blocking(move || counter.read(endpoint, &body));
    reading.await.unwrap_or_default()
}

fn check_task(served: &ServedModel, request: &InferenceRequest) -> Result<(), Refusal> {
    let fits = match request.endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions => served.model.task == Task::Chat,
        Endpoint::Embeddings => served.model.task == Task::Embedding,
    };
    if fits {
        return Ok(());
    }
    let (is, route) = match served.model.task {
        Task::Chat => ("a chat model", "/v1/chat/completions"),
        Task::Embedding => ("an embedding model", "/v1/embeddings"),
    };
    let message = format!("`{}` is {is}: send it to POST {route}", served.model.id);
    Err(Refusal::invalid(message, Some("model".into())))
}

fn check_room(served: &ServedModel, request: &InferenceRequest) -> Result<(), Refusal> {
    let Some((field, asked)) = request.max_tokens else {
        return Ok(());
    };
    let model = &served.model;
    if asked <= u64::from(model.max_output_tokens) {
        return Ok(());
    }
    let what = if model.max_output_tokens < model.context_length {
        " of output"
    } else {
        ""
    };
    Err(Refusal::ContextLengthExceeded {
        field,
        asked,
        most: model.max_output_tokens,
        what,
        model: model.id.clone(),
    })
}
