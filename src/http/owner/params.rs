//! Reads queries: what is not known is refused, as a mistyped name must not be a silent no.

use crate::admin_api::when::When;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use farebox_domain::refusal::Refusal;
use std::convert::Infallible;

/// In which form an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// CSV.
    Csv,
    /// A page.
    Html,
}

/// A query's parameters, and the forms that the client accepts. A list may be written as `a=1&a=2`, `a[]=1&a[]=2` or
/// `a[0]=1&a[1]=2`.
#[derive(Debug)]
pub struct Params {
    pairs: Result<Vec<(String, String)>, String>,
    accept: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri, &parts.headers))
    }
}

impl Params {
    fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map(|Query(pairs)| {
                let named = |(name, value): (String, String)| (without_index(&name).to_owned(), value);
                pairs.into_iter().map(named).collect()
            })
            .map_err(|fault| fault.body_text());
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Self {
            pairs,
            accept: accept.unwrap_or_default().to_ascii_lowercase(),
        }
    }

    /// Refuses what is not among `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let pairs = self
            .pairs
            .as_ref()
            .map_err(|fault| Refusal::invalid(fault.clone(), None))?;
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let shown: String = name
                    .chars()
                    .filter(|letter| !letter.is_control())
                    .take(60)
                    .collect();
                let message = if known.is_empty() {
                    "this route takes no parameters".to_owned()
                } else {
                    format!(
                        "unknown parameter `{shown}`; this route takes {}",
                        known.join(", ")
                    )
                };
                Err(Refusal::invalid(message, Some(shown.into())))
            }
        }
    }

    /// Every value that the parameter has, but empty ones.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let pairs = self.pairs.as_deref().unwrap_or_default();
        pairs
            .iter()
            .filter(|(given, value)| given == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The one value that the parameter has.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        match self.all(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(invalid(name, "this parameter is given twice")),
        }
    }

    /// A whole number within these bounds.
    pub fn number(
        &self,
        name: &'static str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        let read = text.parse().ok().filter(|number| bounds.contains(number));
        read.map(Some).ok_or_else(|| {
            let (least, most) = bounds.into_inner();
            invalid(name, format!("write a whole number from {least} to {most}"))
        })
    }

    /// A point in time; a span counts back from now. In milliseconds since 1970.
    pub fn time(&self, name: &'static str, now_ms: u64) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        let read = When::parse(text).map_err(|fault| invalid(name, fault.to_string()))?;
        Ok(Some(read.ago(now_ms)))
    }

    /// The form: what `format` says, or else the first of `known` that `Accept` names, or else the first of `known`.
    pub fn format(&self, known: &[Format]) -> Result<Format, Refusal> {
        let first = known.first().copied().unwrap_or(Format::Json);
        let Some(name) = self.one("format")? else {
            let accepted = known
                .iter()
                .find(|format| self.accept.contains(format.media_type()));
            return Ok(accepted.copied().unwrap_or(first));
        };
        let found = known.iter().find(|format| format.as_str() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|format| format.as_str()).collect();
            invalid("format", format!("write one of {}", names.join(", ")))
        })
    }
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Html => "text/html",
        }
    }
}

/// A parameter that does not hold.
pub fn invalid(name: &'static str, message: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("`{name}`: {message}"), Some(name.into()))
}

/// `group_by` of `group_by[]` and `group_by[0]`.
fn without_index(name: &str) -> &str {
    let Some((stem, index)) = name.split_once('[') else {
        return name;
    };
    match index.strip_suffix(']') {
        Some(index) if index.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        _ => name,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    fn params(uri: &str, accept: &'static str) -> Params {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static(accept));
        Params::of(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn a_list_is_written_in_three_ways() {
        let read = params("/?group_by[]=a&group_by=b&group_by[1]=c&group_by[x]=d&other=", "");
        assert_eq!(read.all("group_by"), ["a", "b", "c"]);
        assert!(read.one("group_by").is_err());
        assert_eq!(read.one("other"), Ok(None));
        assert!(
            read.only(&["group_by", "other"]).is_err(),
            "group_by[x] is no list"
        );
    }

    #[test]
    fn the_form_is_said_by_the_parameter_or_by_accept() {
        let known = [Format::Html, Format::Csv, Format::Json];
        let of = |uri, accept| params(uri, accept).format(&known);
        assert_eq!(of("/", "*/*"), Ok(Format::Html));
        assert_eq!(of("/", "text/csv"), Ok(Format::Csv));
        assert_eq!(of("/?format=json", "text/csv"), Ok(Format::Json));
        assert!(of("/?format=pdf", "").is_err());
    }

    #[test]
    fn a_number_has_bounds() {
        assert_eq!(params("/?limit=7", "").number("limit", 1..=7), Ok(Some(7)));
        for text in ["0", "8", "-1", "1.5", "x"] {
            let read = params(&format!("/?limit={text}"), "");
            assert!(read.number("limit", 1..=7).is_err(), "{text}");
        }
    }
}
