//! What a request can cost at the most, and what of it is held before an engine is called.
//!
//! The prompt is counted by the model's own tokenizer, where the operator gives it, and from above otherwise: a token is at
//! least a byte of text, a chat template adds a little to each message, and no engine reads more than the model's context. The answer is bounded by what the client asked for, by the
//! model's limit and by its context. Where a balance affords less than that and the client asked for no number, the
//! answer is capped: the engine is told so, and ends it with `finish_reason: "length"`.

use crate::admission::directory::Account;
use crate::admission::wallet::{Hold, Left, Payer, Short, ToldShort, Wallet};
use crate::pipeline::leases::Leases;
use crate::pipeline::request::InferenceRequest;
use farebox_domain::catalog::Model;
use farebox_domain::ledger::Endpoint;
use farebox_domain::money::{OutOfRange, Picodollars};
use farebox_domain::price::Price;
use farebox_domain::refusal::Refusal;
use farebox_domain::units::{ServiceTier, Units};
use std::sync::Arc;
use std::time::Duration;

/// Tokens that a chat template may add: a system prompt of its own, the date, the opening of the answer. Llama 3's adds
/// 30, gpt-oss's 70.
const TEMPLATE_TOKENS: u64 = 512;
/// Tokens that a chat template may add to each message: its role and its separators.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens that a tokenizer may add to a plain text: its beginning and its end.
const TEXT_TOKENS: u64 = 8;
/// A template may write tools out with indentation, which their JSON has not.
const TOOLS_FACTOR: u64 = 2;

/// What a request may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Tokens of its prompt, at the most.
    pub prompt_tokens: u64,
    /// Tokens of each choice of its answer, at the most.
    pub output_tokens: u64,
    /// Whether the engine must be told that number, because the request does not say it.
    pub tell: bool,
    /// Choices.
    pub choices: u64,
    /// Whether the client asked for that number: then all of it must fit.
    pub asked: bool,
    /// What it may use that is not a token, where its model is sold by it.
    pub units: Units,
}

impl Bounds {
    /// The bounds of a request to this model, in tokens. `counted` are its prompt's tokens, where the model's own tokenizer has
    /// counted them.
    pub fn of(request: &InferenceRequest, model: &Model, counted: Option<u64>) -> Self {
        let bound = || prompt_bound(request, u64::from(model.context_length));
        let prompt_tokens = counted.unwrap_or_else(bound);
        let choices = u64::try_from(request.choices).unwrap_or(u64::MAX);
        let context = u64::from(model.context_length);
        let most = u64::from(model.max_output_tokens);
        let asked = request.max_tokens.map(|(_, asked)| asked);
        let (output_tokens, tell) = match (request.endpoint, asked) {
            (Endpoint::Embeddings, _) => (0, false),
            (_, Some(asked)) => (asked, false),
            // Told of a limit that does not fit beside the prompt, some engines refuse; untold, none exceeds its context.
            (_, None) if most < context && prompt_tokens.saturating_add(most) <= context => (most, true),
            (_, None) => (context, false),
        };
        Self {
            prompt_tokens,
            output_tokens,
            tell,
            choices,
            asked: asked.is_some(),
            units: Units::default(),
        }
    }

    /// What so much of an answer, for each choice, comes to with the whole prompt.
    fn cost(&self, price: &Price, tier: ServiceTier, output_tokens: u64) -> Result<Picodollars, OutOfRange> {
        let completion = output_tokens.saturating_mul(self.choices);
        price.most(self.prompt_tokens, completion, &self.units, tier)
    }

    /// The longest answer, for each choice, that costs no more than `amount` with the whole prompt.
    fn affordable(&self, price: &Price, tier: ServiceTier, amount: Picodollars) -> u64 {
        let fits = |tokens| self.cost(price, tier, tokens).is_ok_and(|cost| cost <= amount);
        let (mut fitting, mut too_long) = (0, self.output_tokens.saturating_add(1));
        while too_long - fitting > 1 {
            let middle = fitting + (too_long - fitting) / 2;
            if fits(middle) {
                fitting = middle;
            } else {
                too_long = middle;
            }
        }
        fitting
    }
}

fn prompt_bound(request: &InferenceRequest, context: u64) -> u64 {
    let bytes = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
    let prompts = u64::try_from(request.prompts).unwrap_or(u64::MAX);
    let at_most = context.saturating_mul(prompts.max(1));
    let counted = match request.endpoint {
        Endpoint::ChatCompletions if !request.is_text => return context,
        Endpoint::ChatCompletions => {
            let bytes = bytes.saturating_mul(if request.has_tools { TOOLS_FACTOR } else { 1 });
            let messages = u64::try_from(request.messages).unwrap_or(u64::MAX);
            return bytes
                .saturating_add(messages.saturating_mul(MESSAGE_TOKENS))
                .saturating_add(TEMPLATE_TOKENS)
                .min(context);
        }
        Endpoint::Completions | Endpoint::Embeddings => {
            bytes.saturating_add(prompts.saturating_mul(TEXT_TOKENS))
        }
    };
    counted.min(at_most)
}

/// A hold, and what it lets an engine answer.
#[derive(Debug)]
pub struct Held {
    /// The money.
    pub hold: Hold,
    /// What was bounded.
    pub bounds: Bounds,
    /// Tokens of each choice that the money pays for; what the engine is told where `tell` says so.
    pub output_tokens: u64,
    /// Whether the engine must be told.
    pub tell: bool,
    /// Whether the balance, and not the model, is what limits the answer.
    pub capped: bool,
}

/// Who pays, for how much at the most, at which price.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Who.
    pub payer: Payer<'a>,
    /// For how much.
    pub bounds: Bounds,
    /// At which price.
    pub price: &'a Price,
    /// In which tier.
    pub tier: ServiceTier,
}

impl Terms<'_> {
    /// A price times a bound beyond 128 bits is no amount that anybody has.
    fn cost(&self, output_tokens: u64) -> Picodollars {
        self.bounds
            .cost(self.price, self.tier, output_tokens)
            .unwrap_or(Picodollars::new(i128::MAX))
    }

    fn most(&self) -> Picodollars {
        self.cost(self.bounds.output_tokens)
    }

    /// What must fit: all of it where the client asked for it, a token of answer otherwise.
    fn least(&self) -> Picodollars {
        if self.bounds.asked {
            self.most()
        } else {
            self.cost(self.bounds.output_tokens.min(1))
        }
    }
}

/// Tries before a request that gets lease, and loses it to others each time, is told that there is none.
const LEASE_ATTEMPTS: usize = 16;

/// Takes the hold of a request; where there are leases and this one's is short, after getting more.
pub async fn hold(leases: Option<&Leases>, account: &Account, terms: Terms<'_>) -> Result<Held, Refusal> {
    let wallet = &account.wallet;
    let tried = try_hold(wallet, terms);
    let Some(leases) = leases else {
        return tried.map_err(|short| refusal_of(&short));
    };
    match tried {
        Ok(held) if !held.hold.has_ceiling() => return Ok(held),
        _ if leases.are_over() => {
            return Err(Refusal::LedgerUnavailable {
                retry_after: LEASES_RETRY_AFTER,
            });
        }
        Ok(held) if !held.capped => return Ok(held),
        // What it holds would be in the way of what is asked for.
        tried => drop(tried),
    }
    let came_at = leases.now();
    let mut told = wallet.asking.lock().await;
    for attempt in 0..LEASE_ATTEMPTS {
        match try_hold(wallet, terms) {
            // Whoever asked before may have got enough for both.
            Ok(held) if !held.capped || attempt > 0 => return Ok(held),
            tried => drop(tried),
        }
        // Or may have been told, since this one came, that there is not enough.
        if let Some(told) =
            told.filter(|told| told.asked_at >= came_at && told.left.available < terms.least())
        {
            return Err(refused(terms.most(), told.left));
        }
        let asked_at = leases.now();
        match leases
            .get(wallet, account, terms.payer, terms.least(), terms.most())
            .await?
        {
            None => {}
            Some(left) => {
                *told = Some(ToldShort { asked_at, left });
                return Err(refused(terms.most(), left));
            }
        }
    }
    try_hold(wallet, terms).map_err(|short| refusal_of(&short))
}

/// When a client may come back whose replica has not reached the shared ledger for so long that its leases are over.
const LEASES_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Takes the hold of a request, or says what does not fit.
pub fn try_hold(wallet: &Arc<Wallet>, terms: Terms<'_>) -> Result<Held, Short> {
    let Terms {
        bounds, price, tier, ..
    } = terms;
    let most = terms.most();
    let mut hold = wallet.try_hold(terms.payer, terms.least(), most)?;
    let capped = hold.amount() < most;
    let mut output_tokens = bounds.output_tokens;
    if capped {
        output_tokens = bounds.affordable(price, tier, hold.amount());
        hold.shrink_to(terms.cost(output_tokens));
    }
    Ok(Held {
        hold,
        bounds,
        output_tokens,
        tell: bounds.tell || capped,
        capped,
    })
}

/// What a client is told of a hold that does not fit.
fn refusal_of(short: &Short) -> Refusal {
    refused(short.most, short.left)
}

fn refused(could_cost: Picodollars, left: Left) -> Refusal {
    Refusal::CeilingReached {
        ceiling: left.ceiling,
        could_cost,
        available: left.available,
        allowed: left.allowed,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use bytes::Bytes;
    use farebox_domain::catalog::{CacheSharing, Deployment, Routing, Task};
    use farebox_domain::ids::KeyId;
    use farebox_domain::limits::RateLimits;
    use farebox_domain::month::Month;
    use farebox_domain::price::TokenPrice;

    fn model(context_length: u32, max_output_tokens: u32) -> Model {
        Model {
            id: "m".into(),
            aliases: Vec::new(),
            task: Task::Chat,
            context_length,
            max_output_tokens,
            price: price(),
            deployments: vec![Deployment {
                engine: "e".into(),
                serves: "m".into(),
            }],
            max_batch_inputs: None,
            routing: Routing::LeastLoaded,
            cache_sharing: CacheSharing::Everybody,
            limits: RateLimits::default(),
            prompt: None,
            fallback: vec![],
            adapter: None,
        }
    }

    fn price() -> Price {
        Price::of_tokens(
            TokenPrice::from_picodollars(1),
            None,
            TokenPrice::from_picodollars(10),
        )
    }

    fn bounds(body: &str, model: &Model) -> Bounds {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Bounds::of(
            &InferenceRequest::read(Endpoint::ChatCompletions, body).unwrap(),
            model,
            None,
        )
    }

    #[test]
    fn an_answer_is_bounded_by_the_client_the_model_and_the_context() {
        let body =
            |more: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
        let of = |more: &str, model: &Model| {
            let bounds = bounds(&body(more), model);
            (bounds.output_tokens, bounds.choices, bounds.tell, bounds.asked)
        };
        let (wide, narrow) = (model(100_000, 1_000), model(1_000, 1_000));
        assert_eq!(of(r#","max_tokens":7,"n":3"#, &wide), (7, 3, false, true));
        assert_eq!(of(r#","max_tokens":null"#, &wide), (1_000, 1, true, false));
        assert_eq!(of("", &narrow), (1_000, 1, false, false));
        // The limit does not fit beside the prompt's bound: the context is what ends the answer.
        assert_eq!(of("", &model(1_200, 1_000)), (1_200, 1, false, false));
    }

    #[test]
    fn what_is_no_text_may_be_the_whole_context() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}]}"#;
        assert_eq!(bounds(body, &model(100_000, 1)).prompt_tokens, 100_000);
        let text = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#;
        assert!(bounds(text, &model(100_000, 1)).prompt_tokens < 1_000);
    }

    #[test]
    fn an_answer_is_capped_by_what_the_balance_affords() {
        let (wallet, key) = (Arc::new(Wallet::default()), KeyId::from("key"));
        wallet.set_credit_limit(Some(Picodollars::new(2_000)));
        let payer = Payer {
            key: &key,
            month: Month::from_index(0),
        };
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        let bounds = bounds(body, &model(100_000, 10_000));
        let price = price();
        let terms = Terms {
            payer,
            bounds,
            price: &price,
            tier: ServiceTier::Default,
        };
        let held = try_hold(&wallet, terms).unwrap();
        assert!(held.capped && held.tell);
        let afford = (2_000 - bounds.prompt_tokens) / 10;
        assert_eq!(held.output_tokens, afford);
        assert_eq!(
            held.hold.amount().get(),
            i128::from(bounds.prompt_tokens + 10 * afford)
        );
        // What is left does not pay for a prompt and a token.
        let short = try_hold(&wallet, terms).unwrap_err();
        assert_eq!(short.needed.get(), i128::from(bounds.prompt_tokens + 10));
    }
}
