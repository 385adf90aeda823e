//! Reads bodies and queries. What does not hold is named by its field, and what is not known is refused: a
//! mistyped field must not be a silent no.

use crate::http::admin::error::AdminError;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;

/// The largest body that is read. None that holds comes near it.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// A body of JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = AdminError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AdminError> {
        if !says_json(request.headers()) {
            return Err(AdminError::NotJson);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(refuse_body)?;
        read_json(&bytes).map(Self)
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn refuse_body(rejection: BytesRejection) -> AdminError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => AdminError::TooLarge(BODY_LIMIT_BYTES),
        _ => AdminError::Invalid {
            message: "the body did not arrive whole; send it again".into(),
            param: None,
        },
    }
}

/// Reads a JSON object; what does not hold is named by its path.
pub fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AdminError> {
    let broken = |fault: &dyn Display| AdminError::Invalid {
        message: format!("the body is not valid JSON: {fault}"),
        param: None,
    };
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|&byte| byte != b'{') {
        // A list would be read as fields in their order.
        let message = "the body must be a JSON object: `{...}`".into();
        return Err(AdminError::Invalid { message, param: None });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|fault| {
        if !fault.inner().is_data() {
            return broken(fault.inner());
        }
        let message = in_words(&fault.inner().to_string());
        match (fault.path().to_string().as_str(), missing_field(&message)) {
            (_, Some(field)) => AdminError::invalid(field, "this field is required"),
            (".", None) => AdminError::Invalid { message, param: None },
            (path, None) => AdminError::invalid(path, message),
        }
    })?;
    deserializer.end().map_err(|fault| broken(&fault))?;
    Ok(value)
}

/// A fault in a value without its line and column, which say nothing more than its field, and without the names that
/// Rust has for numbers.
fn in_words(message: &str) -> String {
    let text = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    text.replace("expected u32", "expected a whole number from 0 to 4294967295")
        .replace("expected u64", "expected a whole number")
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// A query whose parameters are each known and given once. An empty one counts as not given.
#[derive(Debug)]
pub struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|fault| {
            AdminError::Invalid {
                message: fault.body_text(),
                param: None,
            }
        })?;
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            if params.insert(name.clone(), value).is_some() {
                return Err(AdminError::invalid(name, "this parameter is given twice"));
            }
        }
        Ok(Self(params))
    }
}

impl Params {
    /// Refuses what is not among `known`.
    pub fn only(self, known: &[&str]) -> Result<Self, AdminError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some(name) if known.is_empty() => {
                Err(AdminError::invalid(name, "this route takes no parameters"))
            }
            Some(name) => {
                let message = format!("unknown parameter; this route takes {}", known.join(", "));
                Err(AdminError::invalid(name, message))
            }
        }
    }

    /// The parameter with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::admin_api::{LimitChange, NewKey};

    fn fault<T: DeserializeOwned>(body: &str) -> (Option<String>, String) {
        match read_json::<T>(body.as_bytes()).map(|_| ()).unwrap_err() {
            AdminError::Invalid { message, param } => (param, message),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_fault_is_named_by_its_field() {
        let told = [
            fault::<LimitChange>(r#"{"concurrent_requests":"300"}"#),
            fault::<LimitChange>(r#"{"concurrent_requests":-1}"#),
            fault::<LimitChange>(r#"{"concurrent_requests":1.5}"#),
            fault::<LimitChange>(r#"{"concurrent_requests":1,"modle":"m"}"#),
            fault::<LimitChange>("{}"),
            fault::<LimitChange>(r#"{"concurrent_requests":1,"concurrent_requests":2}"#),
            fault::<LimitChange>("[]"),
            fault::<LimitChange>("3"),
            fault::<LimitChange>(""),
            fault::<LimitChange>("{"),
            fault::<LimitChange>(r#"{"concurrent_requests":1} x"#),
            fault::<NewKey>(r#"{"account":7,"name":"n"}"#),
        ];
        let lines: Vec<_> = told
            .iter()
            .map(|(param, message)| format!("{}: {message}", param.as_deref().unwrap_or("-")))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        concurrent_requests: `concurrent_requests`: invalid type: string "300", expected a whole number from 0 to 4294967295
        concurrent_requests: `concurrent_requests`: invalid value: integer `-1`, expected a whole number from 0 to 4294967295
        concurrent_requests: `concurrent_requests`: invalid type: floating point `1.5`, expected a whole number from 0 to 4294967295
        modle: `modle`: unknown field `modle`, expected `model` or `concurrent_requests`
        concurrent_requests: `concurrent_requests`: this field is required
        -: duplicate field `concurrent_requests`
        -: the body must be a JSON object: `{...}`
        -: the body must be a JSON object: `{...}`
        -: the body is not valid JSON: EOF while parsing a value at line 1 column 0
        -: the body is not valid JSON: EOF while parsing an object at line 1 column 1
        -: the body is not valid JSON: trailing characters at line 1 column 27
        account: `account`: invalid type: integer `7`, expected a string
        "#);
    }

    #[test]
    fn a_missing_limit_is_not_the_same_as_null() {
        let change: LimitChange = read_json(br#"{"concurrent_requests":null}"#).unwrap();
        assert_eq!(change.concurrent_requests, None);
    }
}
