//! What the admin API answers when it says no: OpenAI's error shape, with a code for programs and a sentence that
//! says what to do. The cause of an internal fault is logged here, once, and not told.

use crate::admin_api::{ErrorAnswer, ErrorBody};
use crate::telemetry::log;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farebox_domain::role::Role;
use std::fmt::Display;

/// Why an administrator's request was refused.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No token, or a wrong one: one text for both.
    #[error("the admin token is missing or wrong: send `Authorization: Bearer <admin token>`")]
    WrongToken,
    /// A change that is asked for with the dashboard's cookie alone.
    #[error("a change from the dashboard needs the header `x-farebox-csrf`; load the page again")]
    NotByAPage,
    /// A token whose role is not enough.
    #[error("this asks for the role {least}, and your token has the role {has}")]
    RoleTooLow {
        /// The least that will do.
        least: Role,
        /// What the token has.
        has: Role,
    },
    /// A body, field or parameter that does not hold.
    #[error("{message}")]
    Invalid {
        /// What is wrong and what to write instead.
        message: String,
        /// The field or parameter.
        param: Option<String>,
    },
    /// A body that is not said to be JSON.
    #[error("the body must be JSON: send `content-type: application/json`")]
    NotJson,
    /// A body over the limit.
    #[error("the body is over the limit of {0} bytes")]
    TooLarge(usize),
    /// Something that is named does not exist.
    #[error("there is no {what} `{name}`{hint}")]
    NotFound {
        /// `account`, `key`, `model`, `engine` or `request`.
        what: Noun,
        /// The name that was given.
        name: String,
        /// The field or parameter that gave it; none for the path.
        param: Option<&'static str>,
        /// Where to look, beginning with a semicolon; or nothing.
        hint: &'static str,
    },
    /// The name is another account's.
    #[error("there is already an account named `{0}`; account names are unique")]
    NameTaken(String),
    /// An operator's reference that stands for something else.
    #[error("the reference `{reference}` was used for {what}; give another")]
    ReferenceTaken {
        /// The reference.
        reference: String,
        /// What it stands for.
        what: String,
    },
    /// The key that asks would give more than it has.
    #[error("{0}")]
    KeyNotAllowed(String),
    /// A request for more that was decided before.
    #[error("the request `{id}` is {state} already; a decision is made once")]
    Decided {
        /// Which.
        id: String,
        /// What was decided.
        state: &'static str,
    },
    /// A path that is not served.
    #[error("there is nothing at {0}; the admin API's routes are listed in docs/CLI.md")]
    UnknownPath(String),
    /// A path that is served for another method.
    #[error("{path} does not take {method}")]
    MethodNotAllowed {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// A fault of farebox's own.
    #[error("internal error; the gateway's log has the cause")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// An account.
    Account,
    /// A key.
    Key,
    /// A model.
    Model,
    /// An engine.
    Engine,
    /// A request in the ledger.
    Request,
    /// An admin token.
    Token,
    /// An owner's request for a higher limit.
    LimitRequest,
}

impl Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Key => "key",
            Self::Model => "model",
            Self::Engine => "engine",
            Self::Request => "request",
            Self::Token => "admin token",
            Self::LimitRequest => "request for more",
        })
    }
}

impl AdminError {
    /// A field or parameter that does not hold.
    pub fn invalid(param: impl Into<String>, message: impl Display) -> Self {
        let param = param.into();
        Self::Invalid {
            message: format!("`{param}`: {message}"),
            param: Some(param),
        }
    }

    /// A fault of farebox's own.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::RoleTooLow { .. } | Self::NotByAPage => StatusCode::FORBIDDEN,
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::KeyNotAllowed(_) => StatusCode::FORBIDDEN,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound { .. } | Self::UnknownPath(_) => StatusCode::NOT_FOUND,
            Self::NameTaken(_) | Self::ReferenceTaken { .. } | Self::Decided { .. } => StatusCode::CONFLICT,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WrongToken => "invalid_admin_token",
            Self::NotByAPage => "csrf_required",
            Self::RoleTooLow { .. } => "role_not_allowed",
            Self::Decided { .. } => "already_decided",
            Self::Invalid { .. } => "invalid_request_error",
            Self::KeyNotAllowed(_) => "key_not_allowed",
            Self::NotJson => "unsupported_media_type",
            Self::TooLarge(_) => "request_too_large",
            Self::NotFound {
                what: Noun::Account, ..
            } => "account_not_found",
            Self::NotFound { what: Noun::Key, .. } => "key_not_found",
            Self::NotFound {
                what: Noun::Model, ..
            } => "model_not_found",
            Self::NotFound {
                what: Noun::Engine, ..
            } => "engine_not_found",
            Self::NotFound {
                what: Noun::Request, ..
            } => "request_not_found",
            Self::NotFound {
                what: Noun::Token, ..
            } => "token_not_found",
            Self::NotFound {
                what: Noun::LimitRequest,
                ..
            } => "limit_request_not_found",
            Self::NameTaken(_) => "name_taken",
            Self::ReferenceTaken { .. } => "reference_taken",
            Self::UnknownPath(_) => "unknown_url",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Internal(_) => "internal_error",
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Internal(_) => "api_error",
            _ => "invalid_request_error",
        }
    }

    fn param(&self) -> Option<String> {
        match self {
            Self::Invalid { param, .. } => param.clone(),
            Self::NotFound { param, .. } => param.map(String::from),
            Self::NameTaken(_) => Some("name".into()),
            Self::ReferenceTaken { .. } => Some("reference".into()),
            _ => None,
        }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        if let Self::Internal(cause) = &self {
            log::admin_failed(cause.as_ref());
        }
        let error = ErrorBody {
            message: self.to_string(),
            kind: self.kind().into(),
            param: self.param(),
            code: Some(self.code().into()),
        };
        let mut response = (self.status(), Json(ErrorAnswer { error })).into_response();
        if matches!(self, Self::WrongToken) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
