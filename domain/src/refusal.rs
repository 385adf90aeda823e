//! Every way to say no to a client. The status, the headers and the JSON are made of it in `http/error.rs`.

use crate::ids::{KeyId, ModelId};
use crate::key::Scope;
use crate::money::Picodollars;
use crate::month::Month;
use crate::rate::Reset;
use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

/// What is counted by the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateUnit {
    /// Requests.
    Requests,
    /// Tokens, prompt and answer together.
    Tokens,
}

/// Whose limit it is, as a message names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The account's, over all models and keys.
    Account,
    /// The account's on this model.
    Model(ModelId),
    /// This key's.
    Key(KeyId),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("this account"),
            Self::Model(model) => write!(f, "this account on {model}"),
            Self::Key(_) => f.write_str("this key"),
        }
    }
}

/// A rate that a request met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimited {
    /// Of what.
    pub unit: RateUnit,
    /// How much a minute.
    pub limit: u64,
    /// What of it is used.
    pub used: u64,
    /// What this request could use.
    pub asked: u64,
    /// A [`Whose`], in words.
    pub scope: String,
    /// When there will be enough.
    pub retry_after: Duration,
}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit, used, scope, ..
        } = self;
        let wait = Reset(self.retry_after);
        match self.unit {
            RateUnit::Requests => write!(
                f,
                "{used} of {limit} requests a minute are used for {scope}. Try again in {wait}."
            ),
            RateUnit::Tokens => write!(
                f,
                "{used} of {limit} tokens a minute are used for {scope}, and this request asks for up to {}. Try again \
                 in {wait}.",
                self.asked
            ),
        }
    }
}

/// Why a request is not served, in words for the client. Nothing here names an engine or quotes a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request does not hold. `param` is the field, where one is to blame.
    #[error("{message}")]
    InvalidRequest {
        /// What is wrong and what to do.
        message: String,
        /// The field's path, for example `messages[2].role`.
        param: Option<Cow<'static, str>>,
    },
    /// More tokens asked for than the model has room for.
    #[error("{field} is {asked}, and `{model}` has room for {most} tokens{what}. Ask for {most} or less.")]
    ContextLengthExceeded {
        /// `max_tokens` or `max_completion_tokens`
        field: &'static str,
        /// What was asked for.
        asked: u64,
        /// What there is room for.
        most: u32,
        /// ` of output`, or nothing where it is the whole context.
        what: &'static str,
        /// The model.
        model: ModelId,
    },
    /// No key, or not one of ours, or one that is over.
    #[error("{0}")]
    InvalidApiKey(KeyFault),
    /// The key has not the scope that the route needs.
    #[error("this API key has not the scope `{}`; use a key that has it, or ask your administrator", .0.as_str())]
    ScopeNotAllowed(Scope),
    /// The key is not for this model.
    #[error("this API key may not use the model `{0}`; GET /v1/models lists those that it may use")]
    ModelNotAllowed(ModelId),
    /// The key is not for use from there. `None`: nobody can tell from where it comes.
    #[error("this API key may not be used from {}; ask who made it to allow the address", shown_ip(.0))]
    IpNotAllowed(Option<IpAddr>),
    /// The key may not do that to this one, or make this one: it would come to more than it has itself.
    #[error("{0}")]
    KeyNotAllowed(String),
    /// A model that is not sold, or not for this route.
    #[error("{0}")]
    ModelNotFound(String),
    /// Something of the account's own that is not there, or is another account's: nobody is told which.
    #[error("{0}")]
    NotFound(String),
    /// A path that is not served.
    #[error("there is nothing at {method} {path}; the routes are listed in docs/API.md")]
    UnknownPath {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// A path that is served for another method.
    #[error("{path} does not take {method}; use {allowed}")]
    MethodNotAllowed {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// The method that it takes.
        allowed: &'static str,
    },
    /// A body that is not said to be JSON.
    #[error("the body must be JSON: send `content-type: application/json`, not `{0}`")]
    UnsupportedMediaType(String),
    /// A body over the limit.
    #[error("the body is over the limit of {limit_bytes} bytes")]
    RequestTooLarge {
        /// The limit, after decompression.
        limit_bytes: usize,
    },
    /// The client took too long to send its body.
    #[error("the body did not arrive within {0:?}; send it again")]
    RequestTimeout(Duration),
    /// As many requests in flight as are allowed.
    #[error(
        "{in_flight} of {limit} concurrent requests are in flight for {scope}. Wait for one to finish, or ask \
         your administrator for a higher limit."
    )]
    ConcurrencyLimit {
        /// How many are in flight.
        in_flight: u32,
        /// How many are allowed.
        limit: u32,
        /// A [`Whose`], in words.
        scope: String,
    },
    /// A minute's worth is used up.
    #[error("{0}")]
    RateLimit(RateLimited),
    /// What the request could cost does not fit under a ceiling on money.
    #[error("{}", ceiling.explain(*could_cost, *available, *allowed))]
    CeilingReached {
        /// Which ceiling.
        ceiling: Ceiling,
        /// What it could cost at the most.
        could_cost: Picodollars,
        /// What is left.
        available: Picodollars,
        /// Where the ceiling is.
        allowed: Picodollars,
    },
    /// What the request could cost does not fit under the spending limit of the token that it came with.
    #[error(
        "this request could cost up to {could_cost} USD, and {left} USD are left of the {limit} USD that may be spent with \
         this token. Ask for fewer `max_tokens`, or ask who gave you the token for another."
    )]
    TokenSpent {
        /// What it could cost at the most.
        could_cost: Picodollars,
        /// What is left.
        left: Picodollars,
        /// The token's limit.
        limit: Picodollars,
    },
    /// Entries cannot be written, so nothing is served that would have to be.
    #[error("the ledger cannot be written, so that nothing can be billed; try again in {} s", retry_after.as_secs())]
    LedgerUnavailable {
        /// When to come back.
        retry_after: Duration,
    },
    /// Every engine of the model has as much as it may be given.
    #[error("Model busy, retry later")]
    EngineOverloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// An engine's own word about the request, passed on in OpenAI's shape.
    #[error("{message}")]
    EngineRefused {
        /// The engine's status, 400 to 499.
        status: u16,
        /// The engine's message.
        message: String,
        /// The engine's `type`, if it gave one.
        kind: Option<String>,
        /// The engine's `param`.
        param: Option<String>,
        /// The engine's `code`, if it is a text.
        code: Option<String>,
    },
    /// Every try failed.
    #[error("the model `{0}` could not answer; try again")]
    EngineError(ModelId),
    /// No engine of the model is up.
    #[error("no engine of `{model}` is up; try again in {} s", retry_after.as_secs())]
    NoEngineAvailable {
        /// The model.
        model: ModelId,
        /// When to come back.
        retry_after: Duration,
    },
    /// No first token, or none after the last, in time.
    #[error("the model `{0}` did not answer in time; try again")]
    EngineTimeout(ModelId),
    /// farebox is going away.
    #[error("this server is shutting down; send the request again")]
    ShuttingDown,
    /// A fault of farebox's own. The cause is logged with the request's id; the client is told the id alone.
    #[error("internal error; quote the request id {0} to your administrator")]
    Internal(String),
}

fn shown_ip(ip: &Option<IpAddr>) -> String {
    ip.map_or_else(|| "an address that is not known".into(), |ip| ip.to_string())
}

/// A ceiling on money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ceiling {
    /// The account's balance: what was paid in, and what may be owed.
    Balance,
    /// What the account may spend in a calendar month.
    AccountMonth(Month),
    /// What the key may spend in a calendar month.
    KeyMonth(Month),
}

impl Ceiling {
    fn explain(self, could_cost: Picodollars, available: Picodollars, allowed: Picodollars) -> String {
        let shown = if available < Picodollars::ZERO {
            Picodollars::ZERO
        } else {
            available
        };
        let could = alloc::format!("this request could cost up to {could_cost} USD");
        let of_month = |whose, month: Month| {
            alloc::format!(
                "{could}, and {shown} USD are left of the {allowed} USD that {whose} may spend in {month} (UTC). Ask for \
                 fewer `max_tokens`, or ask your administrator for a higher limit."
            )
        };
        match self {
            Self::Balance => alloc::format!(
                "{could}, and the account has {shown} USD available. Ask for fewer `max_tokens`, or add credit."
            ),
            Self::AccountMonth(month) => of_month("the account", month),
            Self::KeyMonth(month) => of_month("this API key", month),
        }
    }
}

/// What is wrong with a key. The text never says whether a key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyFault {
    /// There is none.
    #[error("no API key: send `Authorization: Bearer <key>`")]
    Missing,
    /// It came in another header.
    #[error("the API key came in the wrong header: send `Authorization: Bearer <key>`")]
    WrongHeader,
    /// The header is not `Bearer <key>`.
    #[error("the Authorization header must be `Bearer <key>`")]
    Malformed,
    /// Unknown, revoked or expired: one text for all three.
    #[error("the API key is not valid; it may be mistyped, revoked or expired")]
    Invalid,
    /// A page of the dashboard asks, and its session is over or was never open.
    #[error("you are not signed in, or not any more: sign in at /dashboard/login")]
    NotSignedIn,
}

impl Refusal {
    /// A body or field that does not hold.
    pub fn invalid(message: impl Into<String>, param: Option<Cow<'static, str>>) -> Self {
        Self::InvalidRequest {
            message: message.into(),
            param,
        }
    }

    /// A model that is not sold. The name is the client's: it is shown without control characters, and cut.
    pub fn no_such_model(name: &str) -> Self {
        let shown: String = name
            .chars()
            .filter(|letter| !letter.is_control())
            .take(100)
            .collect();
        Self::ModelNotFound(alloc::format!(
            "the model `{shown}` does not exist; GET /v1/models lists those that do"
        ))
    }

    /// What it says, where all of it is farebox's own words; `None` where it may quote the request or an engine.
    pub const fn words_of_ours(&self) -> Option<&Self> {
        match self {
            Self::InvalidRequest { .. }
            | Self::ModelNotFound(_)
            | Self::NotFound(_)
            | Self::UnknownPath { .. }
            | Self::UnsupportedMediaType(_)
            | Self::EngineRefused { .. } => None,
            _ => Some(self),
        }
    }

    /// The machine-readable code: OpenAI's where it has one, DESIGN.md's error table otherwise.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. } => "invalid_request_error",
            Self::ContextLengthExceeded { .. } => "context_length_exceeded",
            Self::InvalidApiKey(_) => "invalid_api_key",
            Self::ScopeNotAllowed(_) => "scope_not_allowed",
            Self::ModelNotAllowed(_) => "model_not_allowed",
            Self::IpNotAllowed(_) => "ip_not_allowed",
            Self::KeyNotAllowed(_) => "key_not_allowed",
            Self::ModelNotFound(_) => "model_not_found",
            Self::NotFound(_) => "not_found",
            Self::UnknownPath { .. } => "unknown_url",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnsupportedMediaType(_) => "unsupported_media_type",
            Self::RequestTooLarge { .. } => "request_too_large",
            Self::RequestTimeout(_) => "request_timeout",
            Self::ConcurrencyLimit { .. } => "concurrency_limit_exceeded",
            Self::RateLimit(_) => "rate_limit_exceeded",
            Self::CeilingReached {
                ceiling: Ceiling::Balance,
                ..
            } => "insufficient_balance",
            Self::CeilingReached { .. } | Self::TokenSpent { .. } => "spending_limit_reached",
            Self::LedgerUnavailable { .. } => "ledger_unavailable",
            Self::EngineOverloaded { .. } => "engine_overloaded",
            Self::EngineRefused { .. } => "engine_refused",
            Self::EngineError(_) => "engine_error",
            Self::NoEngineAvailable { .. } => "no_engine_available",
            Self::EngineTimeout(_) => "engine_timeout",
            Self::ShuttingDown => "shutting_down",
            Self::Internal(_) => "internal_error",
        }
    }
}
