//! The admin API's words: the JSON that the gateway answers with and the CLI reads, each described once.
//!
//! - [`when`] reads points in time as people write them; [`money`] is what accounts pay in, may owe and may spend,
//!   [`bill`] what their owners are shown, too;
//! - [`price`] is how prices are shown and given, [`corrections`] what becomes of those that were wrong;
//! - [`staff`] is who administers, and what they changed, [`requests`] what owners ask them for;
//! - [`live`] is what happens now, [`watch`] the same in figures;
//! - [`keys`] is how keys are changed;
//! - lists come as `{"data": [...]}`, long ones a page at a time ([`Page`]); times are RFC 3339 in UTC; money is given twice, in whole picodollars and in
//!   USD, both as decimal strings, as JSON's numbers would round them.

pub mod when;
pub mod money;
pub mod bill;
pub mod price;
pub mod corrections;
pub mod keys;
mod rates;
pub mod staff;
pub mod requests;
pub mod live;
pub mod reload;
pub mod watch;
mod route;

pub use corrections::{NewRefund, NewRerate, RefundView, RerateRow, RerateView};
pub use keys::{KeyChange, KeyRotation, NewOwnKey};
pub use price::{ContextTierView, NewPrice, PriceSet, PriceStatus, PriceVersionView, PriceView};
pub use rates::{ModelRatesView, RateView, RatesChange, RatesView};

use farebox_domain::ids::{AccountId, EngineName, KeyId, ModelId};
use farebox_domain::key::{ModelGlob, Scopes};
pub use live::{LiveView, RefusedView, StaffReceiptView};
pub use requests::{ApproveRequest, DeclineRequest, LimitRequestView, NewLimitRequest};
pub use route::{EngineScoreView, EstimateView, ExplainRoute, RouteView};
pub use staff::{AuditView, CreatedToken, NewToken, StaffView, TokenView};
pub use watch::TtftView;

use farebox_domain::money::Picodollars;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// Every answer that is a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct List<T> {
    /// What is listed.
    pub data: Vec<T>,
}

/// A page of a list that may be long.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is on it, the newest first.
    pub data: Vec<T>,
    /// Whether there are more.
    pub has_more: bool,
    /// What to give as `after` for the next page; `null` where there is none.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// With this on it; the next one begins behind the last of it.
    pub fn new(data: Vec<T>, has_more: bool, id: impl Fn(&T) -> String) -> Self {
        let last = data.last().filter(|_| has_more);
        Self {
            next: last.map(id),
            data,
            has_more,
        }
    }
}

/// Every answer that is a refusal.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorAnswer {
    /// The refusal.
    pub error: ErrorBody,
}

/// Why a request was refused. All four fields are always there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// Its class, for example `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field or parameter that is to blame.
    pub param: Option<String>,
    /// Its code, for a program.
    pub code: Option<String>,
}

/// An amount of money, written in both units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Money(pub Picodollars);

/// An amount of money: whole picodollars, and the same in USD.
#[derive(Serialize, Deserialize, JsonSchema)]
struct MoneyText {
    #[schemars(with = "String")]
    picodollars: Picodollars,
    usd: String,
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MoneyText {
            picodollars: self.0,
            usd: self.0.to_string(),
        }
        .serialize(serializer)
    }
}

impl JsonSchema for Money {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        MoneyText::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MoneyText::deserialize(deserializer).map(|text| Self(text.picodollars))
    }
}

/// `POST /admin/v1/accounts`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// 1 to 100 printable characters; no other account has it.
    pub name: String,
}

/// An account.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AccountView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// The operator's name for it.
    pub name: String,
    /// When it was made.
    pub created_at: String,
    /// Requests in flight.
    pub in_flight: u32,
    /// How many there may be.
    pub concurrent_requests: u32,
    /// Whether that is models.yaml's number, and not its own.
    pub is_default: bool,
    /// Whether it is over: its keys open nothing.
    #[serde(default)]
    pub closed: bool,
    /// What it owes for everything until now: costs, less what was paid in, given back or corrected.
    pub owed: Money,
}

/// `POST /admin/v1/keys`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Who pays for it: an account's id or name.
    pub account: String,
    /// 1 to 100 printable characters.
    pub name: String,
    /// How long it holds. Not together with `expires_at`; without either it holds until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// When it ends: a time or a date of [`when`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What it is for; `inference` and `usage` where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "keys::scopes")]
    pub scopes: Option<Scopes>,
    /// The models that it is for, as patterns; none: every model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub allowed_models: Option<Vec<ModelGlob>>,
    /// Addresses and networks that it is used from; none: from anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    /// Requests in flight with it at once; as many as its account may have where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u32>,
    /// Whether tokens can be signed with it.
    #[serde(default)]
    pub jwt: bool,
}

/// A key that was just made: the only answer that has the secret.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreatedKey {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// `fb_` and 256 random bits. Only its hash is kept.
    pub secret: String,
}

/// A key, without its secret.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: KeyId,
    /// Who pays for it.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// That account's name.
    pub account_name: String,
    /// Its owner's name for it.
    pub name: String,
    /// Whether it opens anything.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: String,
    /// When it ends by itself.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// What it is for.
    #[serde(default)]
    #[schemars(schema_with = "keys::scopes")]
    pub scopes: Scopes,
    /// The models that it is for, as patterns; none: every model.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub allowed_models: Vec<ModelGlob>,
    /// Addresses and networks that it is used from; none: from anywhere.
    #[serde(default)]
    pub allowed_ips: Vec<String>,
    /// Requests in flight with it at once; `null`: as many as its account may have.
    #[serde(default)]
    pub concurrent_requests: Option<u32>,
    /// Until when the secret before this one holds; `null` where there is none.
    #[serde(default)]
    pub overlap_until: Option<String>,
    /// Whether tokens can be signed with it.
    #[serde(default)]
    pub jwt: bool,
}

/// Whether a key opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl KeyStatus {
    /// Of a key or a token that was revoked and ends at these times, if any.
    pub fn of(revoked_at_ms: Option<u64>, expires_at_ms: Option<u64>, now_ms: u64) -> Self {
        match (revoked_at_ms, expires_at_ms) {
            (Some(_), _) => Self::Revoked,
            (None, Some(end)) if end <= now_ms => Self::Expired,
            (None, _) => Self::Active,
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Active, Self::Expired, Self::Revoked];
        all.into_iter().find(|status| status.as_str() == name)
    }

    /// Its name in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// `PUT /admin/v1/accounts/{id}/limits`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["concurrent_requests"]))]
pub struct LimitChange {
    /// For this model, by id or alias; without it, for the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How many may be in flight; `null` takes the number back. It must be said.
    #[serde(deserialize_with = "Option::deserialize")]
    pub concurrent_requests: Option<u32>,
}

/// `GET /admin/v1/defaults`: what an account has until it is given more, by models.yaml.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DefaultsView {
    /// Requests in flight at once.
    pub concurrent_requests: u32,
    /// Requests a minute; `null` is without a limit.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, of prompts and answers together; `null` is without a limit.
    pub tokens_per_minute: Option<u64>,
}

/// What an account may have in flight, and has.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LimitsView {
    /// The account.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// Its name.
    pub account_name: String,
    /// Requests in flight, of all models together.
    pub in_flight: u32,
    /// How many there may be.
    pub concurrent_requests: u32,
    /// Whether that is models.yaml's number, and not its own.
    pub is_default: bool,
    /// Each model that has requests in flight or a number of its own.
    pub models: Vec<ModelLimitView>,
    /// What the numbers do not say by themselves.
    pub note: Option<String>,
    /// How its rates stand.
    pub rates: RatesView,
}

/// What an account may have in flight on one model, and has.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelLimitView {
    /// The model.
    #[schemars(with = "String")]
    pub model: ModelId,
    /// Requests in flight.
    pub in_flight: u32,
    /// How many there may be; `null` where only the account's number holds.
    pub concurrent_requests: Option<u32>,
}

/// `GET /admin/v1/usage`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct UsageView {
    /// What each row stands for, in this order: `account`, `model`, `key`, `day`.
    pub group_by: Vec<String>,
    /// The first moment counted; `null` is from the start.
    pub since: Option<String>,
    /// The first moment not counted any more; `null` is until now.
    pub until: Option<String>,
    /// One row for each group with an entry.
    pub data: Vec<UsageRowView>,
    /// All rows together.
    pub total: UsageRowView,
}

/// What one group used. Of the names, those are there that were grouped by.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct UsageRowView {
    /// The account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub account: Option<AccountId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub model: Option<ModelId>,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub key: Option<KeyId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The day in UTC, `2026-11-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Ledger entries.
    pub requests: u64,
    /// Prompt tokens, cached ones among them.
    pub prompt_tokens: u64,
    /// Cached prompt tokens.
    pub cached_tokens: u64,
    /// Completion tokens.
    pub completion_tokens: u64,
    /// The reasoning tokens among them.
    pub reasoning_tokens: u64,
    /// What they cost.
    pub cost: Money,
}

/// `POST /admin/v1/ledger/verify`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerifyView {
    /// Whether every entry recomputes and every roll-up is the sum of its entries.
    pub ok: bool,
    /// Entries recomputed.
    pub entries: u64,
    /// What they cost together.
    pub cost: Money,
    /// Entries by how they ended.
    pub states: BTreeMap<String, u64>,
    /// Entries by the source of their usage.
    pub usage_sources: BTreeMap<String, u64>,
    /// How many things do not hold.
    pub discrepancies_total: u64,
    /// The first hundred of them.
    pub discrepancies: Vec<DiscrepancyView>,
}

/// Something in the ledger that does not hold.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiscrepancyView {
    /// `cost`, `price_version`, `unreadable`, `rollup` or `correction`.
    pub kind: String,
    /// The entry (`req_...`), the adjustment (`adj_...`), or the roll-up's account, hour, key and model.
    pub subject: String,
    /// What was booked.
    pub booked: String,
    /// What should have been.
    pub expected: String,
}

/// `POST /admin/v1/ledger/reconcile`
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reconcile {
    /// From then on: a time, a date or a span of [`when`]. A day back, unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Until then; until now, unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// This engine alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// The ledger held against the engines' own counters.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReconcileView {
    /// Whether every difference is explained.
    pub explained: bool,
    /// Settlements that wait in the outbox of the replica that was asked: the ledger does not have their tokens yet. `null`
    /// where there is no outbox.
    pub in_outbox: Option<u64>,
    /// Each engine.
    pub data: Vec<ReconciledView>,
}

/// One engine's comparison.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReconciledView {
    /// Which.
    #[schemars(with = "String")]
    pub engine: EngineName,
    /// What it is, by its name in models.yaml.
    pub kind: String,
    /// `null` where there are not two samples: an engine of this kind counts nothing, or it was not there.
    pub span: Option<ReconciledSpan>,
}

/// What was compared.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReconciledSpan {
    /// The first sample.
    pub from: String,
    /// The last one.
    pub until: String,
    /// How many there are.
    pub samples: u64,
    /// Times that the engine started anew.
    pub restarts: u64,
    /// Requests that the ledger has.
    pub requests: u64,
    /// Whether its prompt counter leaves cached tokens out, so that the ledger's are left out too.
    pub prompt_excludes_cached: bool,
    /// Prompt tokens.
    pub prompt: ComparedView,
    /// Tokens that were made.
    pub generation: ComparedView,
    /// Cached prompt tokens by the engine, `null` if it does not count them. Not judged.
    pub cached_by_engine: Option<u64>,
    /// The same by the ledger.
    pub cached_by_ledger: Option<u64>,
}

/// One kind of tokens.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ComparedView {
    /// By the engine.
    pub engine: u64,
    /// By the ledger.
    pub ledger: u64,
    /// Engine less ledger.
    pub difference: i64,
    /// Why they may differ.
    pub reasons: Vec<ReasonView>,
    /// What no reason explains: not from farebox, or counted wrongly.
    pub unexplained: i64,
}

/// Why the two may differ.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReasonView {
    /// `edges`, `open`, `outbox`, `cut_short`, `deltas`, `engine_corrected`, `engine_partial`, `failed_attempts` or
    /// `restart`.
    pub why: String,
    /// How many requests or tries it is about.
    pub count: u64,
    /// The least that it can come to, engine less ledger.
    pub least: i64,
    /// The most.
    pub most: i64,
}

/// `GET /admin/v1/export`: how the export stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExportView {
    /// Whether what is booked is kept to be delivered.
    pub switched_on: bool,
    /// The form in which models.yaml's receiver is told; `null` where it names none, and nothing is delivered.
    pub format: Option<String>,
    /// Entries and adjustments that are still to be delivered.
    pub pending: u64,
    /// Those that this process has delivered.
    pub delivered: u64,
    /// When it last did.
    pub last_delivery: Option<String>,
    /// When it last could not, and why.
    pub last_failure: Option<ExportFailureView>,
    /// Whether nothing was delivered since then.
    pub failing: bool,
    /// How many the receiver refused.
    pub refused_total: u64,
    /// The first twenty of them.
    pub refused: Vec<RefusedEventView>,
}

/// A delivery that failed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExportFailureView {
    /// When.
    pub at: String,
    /// Why.
    pub why: String,
}

/// An entry or adjustment that the receiver refused.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RefusedEventView {
    /// `req_...` or `adj_...`.
    pub id: String,
    /// The receiver's HTTP status; 0 where it was not sent.
    pub status: u16,
    /// What the receiver said, the first of it.
    pub reason: String,
    /// When.
    pub refused_at: String,
}

/// `POST /admin/v1/export/backfill`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportBackfill {
    /// What was admitted or booked since then: a time, a date or a span of [`when`].
    pub since: String,
}

/// The answer to `backfill`, `retry` and `off`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExportChanged {
    /// How many events were put into the queue, or with `off` taken out of it.
    pub events: u64,
}

/// An engine. Its URL and its key are not told.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EngineView {
    /// The operator's name for it.
    #[schemars(with = "String")]
    pub name: EngineName,
    /// What it is, by its name in models.yaml.
    pub kind: String,
    /// `up`, `down`, `ejected`, `half_open` (it was ejected, and is given one request at a time until one succeeds), or `unknown`
    /// before the first probe.
    pub status: String,
    /// Why it is ejected or half open: `failures_in_a_row`, `failure_rate` or `slow`.
    #[serde(default)]
    pub ejected_for: Option<String>,
    /// Requests in flight from here.
    pub in_flight: u32,
    /// How many it is given at once; `null` is without a limit.
    pub max_concurrent: Option<u32>,
    /// Requests that run there, whoever's they are, as the engine says itself; `null` where it does not.
    #[serde(default)]
    pub reported_running: Option<u64>,
    /// Those that wait there, as it says itself.
    #[serde(default)]
    pub reported_waiting: Option<u64>,
    /// Thousandths of its KV cache that are in use, as it says itself.
    #[serde(default)]
    pub kv_cache_permille: Option<u64>,
    /// Whether it gets no new request until it is restored.
    #[serde(default)]
    pub drained: bool,
    /// Tries at it that failed since the replica that is asked started.
    #[serde(default)]
    pub errors: u64,
    /// The time to its first token in the last quarter of an hour, on all replicas.
    #[serde(default)]
    pub ttft_ms: TtftView,
}

/// A model as it is sold.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: ModelId,
    /// Other names that mean the same.
    pub aliases: Vec<String>,
    /// What it does.
    pub task: String,
    /// Tokens of prompt and completion together.
    pub context_length: u32,
    /// Tokens of completion.
    pub max_output_tokens: u32,
    /// What it costs now.
    pub price: PriceView,
    /// How an engine is chosen.
    pub routing: String,
    /// Requests that each account may send it in a minute; `null` where they are not limited.
    #[serde(default)]
    pub requests_per_minute: Option<u64>,
    /// Tokens of prompts and answers together, likewise.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
    /// Who serves it, and under which name.
    pub engines: Vec<DeploymentView>,
    /// How many of them may be given requests now.
    #[serde(default)]
    pub usable_engines: u32,
    /// Prompt tokens since the replica that is asked started.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    #[serde(default)]
    pub cached_tokens: u64,
    /// The time to its first token in the last quarter of an hour, on all replicas.
    #[serde(default)]
    pub ttft_ms: TtftView,
}

/// One engine that serves a model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentView {
    /// Which engine.
    #[schemars(with = "String")]
    pub engine: EngineName,
    /// What the engine calls the model.
    pub serves: String,
}
