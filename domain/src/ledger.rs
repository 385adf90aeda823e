//! One entry of the bill, and how it is recomputed.

use crate::ids::{AccountId, AdjustmentId, EngineName, KeyId, ModelId, RequestId};
use crate::money::{OutOfRange, Picodollars};
use crate::price::{Price, PriceVersion};
use crate::tokens::{Usage, UsageSource};
use crate::units::{ServiceTier, Units};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// How a request ended. DESIGN.md: "What a disconnect, a failure and a crash cost".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// The engine finished and the client was given all of it: the engine's own usage is charged.
    Completed,
    /// The client left: prompt and tokens produced until then are charged.
    Cancelled,
    /// No engine gave a first token: nothing is charged.
    Failed,
    /// The engine, or farebox at its drain deadline, cut a stream that had begun: what was delivered is charged.
    Interrupted,
    /// What the account could afford was used up: the answer ends with `finish_reason: "length"`, and is charged.
    Capped,
}

impl EntryState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::Cancelled,
        Self::Failed,
        Self::Interrupted,
        Self::Capped,
    ];

    /// Its name in the ledger, in metrics and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Capped => "capped",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// Which route a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 3] = [Self::ChatCompletions, Self::Completions, Self::Embeddings];

    /// Its name in the ledger, in metrics and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        }
    }

    /// The endpoint with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.as_str() == name)
    }
}

/// When a request's parts began and ended, in microseconds from its admission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Until the call to the engine that answered was made: waiting, and attempts that failed.
    pub queue_us: u64,
    /// Until the first event of the answer; `None` if there was none.
    pub ttft_us: Option<u64>,
    /// Until it was settled.
    pub total_us: u64,
}

/// One request on the bill: raw usage, its source, the price that it was admitted under and what that comes to.
/// It never holds content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The request. An entry's identity: the same id is never booked twice.
    pub id: RequestId,
    /// The id that the client sent in `x-request-id`, if it sent one.
    pub client_request_id: Option<String>,
    /// Who pays.
    pub account: AccountId,
    /// With which key.
    pub key: KeyId,
    /// What was sold.
    pub model: ModelId,
    /// Who served it; `None` if no engine did. For operators' eyes.
    pub engine: Option<EngineName>,
    /// By which route.
    pub endpoint: Endpoint,
    /// How it ended.
    pub state: EntryState,
    /// What was used.
    pub usage: Usage,
    /// What was used that is not a token.
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    pub units: Units,
    /// The tier that was served, and so is billed.
    #[serde(default)]
    pub service_tier: ServiceTier,
    /// How the usage is known.
    pub usage_source: UsageSource,
    /// The price that it was admitted under.
    pub price_version: PriceVersion,
    /// What it costs: always [`cost_of`] it.
    pub cost: Picodollars,
    /// When it was admitted, in milliseconds since 1970.
    pub admitted_at_ms: u64,
    /// How long its parts took.
    #[serde(flatten)]
    pub timings: Timings,
}

/// What an entry in this state costs for this usage at this price: the one rule by which entries are written and
/// by which `verify` recomputes them. A request that ended before its first token was delivered pays for its tokens, which
/// are its prompt's, and for nothing else.
pub fn cost_of(
    state: EntryState,
    usage: &Usage,
    units: &Units,
    tier: ServiceTier,
    price: &Price,
) -> Result<Picodollars, OutOfRange> {
    if is_answered(state, usage) {
        return price.charge(usage, units, tier);
    }
    match state {
        EntryState::Failed => Ok(Picodollars::ZERO),
        EntryState::Completed | EntryState::Cancelled | EntryState::Interrupted | EntryState::Capped => {
            price.charge_tokens(usage, tier)
        }
    }
}

/// Whether an entry in this state with this usage pays for more than tokens: for the request, and for its units.
pub fn is_answered(state: EntryState, usage: &Usage) -> bool {
    match state {
        EntryState::Completed => true,
        EntryState::Cancelled | EntryState::Interrupted | EntryState::Capped => usage.completion_tokens > 0,
        EntryState::Failed => false,
    }
}

impl Entry {
    /// What it costs at this price: [`cost_of`] its own parts.
    pub fn cost_at(&self, price: &Price) -> Result<Picodollars, OutOfRange> {
        cost_of(self.state, &self.usage, &self.units, self.service_tier, price)
    }
}

/// From which leases a request's hold was taken. A replica that shares its ledger with others has a part of each
/// ceiling to itself, its lease; what a request cost is counted against these when it is booked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Leased {
    /// The account's credit.
    pub credit: bool,
    /// What the account may spend in the month.
    pub account_month: bool,
    /// What the key may spend in the month.
    pub key_month: bool,
}

/// What a replica keeps of a request until the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// What is booked.
    pub entry: Entry,
    /// What it was held against.
    #[serde(default)]
    pub leased: Leased,
}

impl Settlement {
    /// A request that no lease was needed for.
    pub fn unleased(entry: Entry) -> Self {
        Self {
            entry,
            leased: Leased::default(),
        }
    }
}

/// Why money moved that no request moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentKind {
    /// Money that the account paid in, or that the operator gave it.
    Credit,
    /// What a request cost, given back in part or in whole.
    Refund,
    /// The difference that a corrected price makes to a request.
    Correction,
    /// What came in after a replica's lease had ended, beyond the ceiling: the operator's loss.
    WriteOff,
}

impl AdjustmentKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Credit, Self::Refund, Self::Correction, Self::WriteOff];

    /// Its name in the ledger and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Refund => "refund",
            Self::Correction => "correction",
            Self::WriteOff => "write_off",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// An entry that is not a request: money that was paid in, given back or corrected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// Its id, which sorts by time as a request's does. Written as `adj_` and 32 hex digits.
    pub id: AdjustmentId,
    /// Whose balance it moves.
    pub account: AccountId,
    /// Why.
    pub kind: AdjustmentKind,
    /// What it adds to the balance; below zero it takes away.
    pub amount: Picodollars,
    /// The request that it is about.
    pub request: Option<RequestId>,
    /// The price that the request was rerated to.
    pub price_version: Option<PriceVersion>,
    /// The same reference for the same account books nothing a second time.
    pub reference: String,
    /// For people.
    pub note: String,
    /// When it was booked, in milliseconds since 1970.
    pub booked_at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{RequestPrice, TokenPrice};

    /// docs/LEDGER.md, "What is charged".
    #[test]
    fn a_request_is_paid_for_once_a_token_has_flowed() {
        let token = TokenPrice::from_picodollars;
        let price = Price {
            per_request: Some(RequestPrice::from_picodollars(1_000)),
            ..Price::of_tokens(token(1), None, token(10))
        };
        let cost = |state, usage| {
            cost_of(state, &usage, &Units::default(), ServiceTier::Default, &price)
                .unwrap()
                .get()
        };
        let (nothing, prompt, answered) = (Usage::default(), Usage::new(5, 0, 0), Usage::new(5, 0, 2));
        for state in EntryState::ALL {
            let expected = match state {
                EntryState::Failed => [0, 0, 0],
                EntryState::Completed => [1_000, 1_005, 1_025],
                EntryState::Cancelled | EntryState::Interrupted | EntryState::Capped => [0, 5, 1_025],
            };
            let costs = [nothing, prompt, answered].map(|usage| cost(state, usage));
            assert_eq!(costs, expected, "{state:?}");
        }
    }
}
