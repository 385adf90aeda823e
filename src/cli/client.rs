//! The admin API's client: where it is, the token, and what its answers mean.

use crate::admin_api::{ErrorAnswer, Page};
use crate::cli::error::CliError;
use crate::cli::page::PageArgs;
use crate::engines::sse::SseReader;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For whatever the gateway reads from memory or by an index.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// For whatever reads the whole ledger.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(3600);
/// For what goes on until whoever asked has seen enough.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
/// An event comes every second: so long without one, and the gateway is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// No event is longer.
const EVENT_LIMIT_BYTES: usize = 16 << 20;

/// Where the gateway is, and how answers are shown.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// The gateway's admin listener.
    #[arg(
        long,
        global = true,
        env = "FAREBOX_ADMIN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081",
        help_heading = "Gateway"
    )]
    pub admin_url: String,
    /// The admin token. Better set by FAREBOX_ADMIN_TOKEN: arguments can be seen by others on the machine.
    #[arg(
        long,
        global = true,
        env = "FAREBOX_ADMIN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        help_heading = "Gateway"
    )]
    pub admin_token: Option<String>,
    /// Print the gateway's JSON instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The admin API's client.
#[derive(Debug)]
pub struct AdminClient {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    as_json: bool,
}

/// An answer, and its JSON as it came.
#[derive(Debug)]
pub struct Answer<T> {
    /// What it says.
    pub value: T,
    json: Value,
}

impl AdminClient {
    /// For the gateway that the arguments name.
    pub fn new(args: AdminArgs) -> Result<Self, CliError> {
        let token = args
            .admin_token
            .filter(|token| !token.trim().is_empty())
            .ok_or(CliError::NoToken)?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| CliError::TokenUnsendable)?;
        authorization.set_sensitive(true);
        let base = parse_base(&args.admin_url)?;
        // The token goes to the gateway and nowhere else: not to a proxy, not where it redirects to.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|fault| CliError::Serving(fault.into()))?;
        Ok(Self {
            http,
            base,
            authorization,
            as_json: args.json,
        })
    }

    /// Asks for what is at this path.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Answer<T>, CliError> {
        self.read(self.request(Method::GET, path)).await
    }

    /// The same with parameters; those without a value are left out.
    pub async fn get_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        params: &[(&str, Option<&str>)],
    ) -> Result<Answer<T>, CliError> {
        self.read(self.request_with(path, params)).await
    }

    /// A page of a list, or all of its pages as one.
    pub async fn get_page<T: DeserializeOwned>(
        &self,
        path: &[&str],
        params: &[(&str, Option<&str>)],
        pages: &PageArgs,
    ) -> Result<Answer<Page<T>>, CliError> {
        let limit = if pages.all { 1000 } else { pages.limit }.to_string();
        let page = |after: Option<&str>| {
            let of_page = [("limit", Some(limit.as_str())), ("after", after)];
            self.request_with(path, &[params, &of_page].concat())
        };
        let mut list: Answer<Page<T>> = self.read(page(pages.after.as_deref())).await?;
        while let Some(next) = list.value.next.take_if(|_| pages.all) {
            let more: Answer<Page<T>> = self.read(page(Some(&next))).await?;
            let mut rows = std::mem::take(&mut list.json["data"]);
            if let (Some(rows), Value::Array(fresh)) = (rows.as_array_mut(), &more.json["data"]) {
                rows.extend_from_slice(fresh);
            }
            list.json = more.json;
            list.json["data"] = rows;
            list.value.data.extend(more.value.data);
            list.value.next = more.value.next;
        }
        Ok(list)
    }

    /// Follows the events that are at this path for as long as `shown` wants more of them. With `--json`, each is a line.
    pub async fn follow<T: DeserializeOwned>(
        &self,
        path: &[&str],
        out: &mut dyn Write,
        mut shown: impl FnMut(&T, &mut dyn Write) -> std::io::Result<bool>,
    ) -> Result<(), CliError> {
        let request = self.request(Method::GET, path).timeout(FOLLOW_TIMEOUT);
        let mut response = self.accepted(request).await?;
        let mut events = SseReader::new(EVENT_LIMIT_BYTES);
        let broken = |cause: &str| CliError::BrokenAnswer {
            url: self.shown_url(),
            cause: cause.into(),
        };
        loop {
            let segment = tokio::time::timeout(SILENCE, response.chunk()).await;
            let segment = segment.map_err(|_| broken("it fell silent"))?;
            let segment = segment.map_err(|fault| self.broken(&fault))?;
            events.push(segment.ok_or_else(|| broken("it ended the events"))?);
            while let Some(event) = events.next_event().map_err(|fault| broken(&fault.to_string()))? {
                let Some(data) = event.data else { continue };
                let value = serde_json::from_slice(&data).map_err(|fault| broken(&fault.to_string()))?;
                let goes_on = if self.as_json {
                    out.write_all(&data)?;
                    writeln!(out)?;
                    shown(&value, &mut std::io::sink())?
                } else {
                    shown(&value, out)?
                };
                out.flush()?;
                if !goes_on {
                    return Ok(());
                }
            }
        }
    }

    /// The same, as text.
    pub async fn get_text(&self, path: &[&str], params: &[(&str, Option<&str>)]) -> Result<String, CliError> {
        self.send(self.request_with(path, params)).await
    }

    /// Sends a value.
    pub async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl serde::Serialize,
    ) -> Result<Answer<T>, CliError> {
        self.read(self.request(method, path).json(body)).await
    }

    /// Has something done.
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Answer<T>, CliError> {
        self.read(self.request(Method::POST, path)).await
    }

    /// Has something done that takes as long as the ledger is long.
    pub async fn post_long<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Answer<T>, CliError> {
        self.read(self.request(Method::POST, path).timeout(LEDGER_TIMEOUT))
            .await
    }

    /// The same with a value that says what.
    pub async fn send_json_long<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl serde::Serialize,
    ) -> Result<Answer<T>, CliError> {
        let request = self.request(Method::POST, path).json(body);
        self.read(request.timeout(LEDGER_TIMEOUT)).await
    }

    /// Shows an answer: its JSON if that was asked for, else what `table` writes.
    pub fn show<T>(
        &self,
        answer: &Answer<T>,
        out: &mut dyn Write,
        table: impl FnOnce(&T, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), CliError> {
        if self.as_json {
            let text = serde_json::to_string_pretty(&answer.json).map_err(std::io::Error::from)?;
            writeln!(out, "{text}")?;
        } else {
            table(&answer.value, out)?;
        }
        Ok(out.flush()?)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // A name may hold anything, slashes among it: each segment is escaped.
            segments.pop_if_empty().extend(["admin", "v1"]).extend(path);
        }
        self.http
            .request(method, url)
            .header(AUTHORIZATION, self.authorization.clone())
    }

    fn request_with(&self, path: &[&str], params: &[(&str, Option<&str>)]) -> RequestBuilder {
        let given: Vec<_> = params
            .iter()
            .filter_map(|&(name, value)| Some((name, value?)))
            .collect();
        self.request(Method::GET, path).query(&given)
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>, CliError> {
        let text = self.send(request).await?;
        let not_farebox = |_| CliError::NotFarebox {
            url: self.shown_url(),
            status: 200,
        };
        let json: Value = serde_json::from_str(&text).map_err(not_farebox)?;
        let value = T::deserialize(&json).map_err(not_farebox)?;
        Ok(Answer { value, json })
    }

    async fn send(&self, request: RequestBuilder) -> Result<String, CliError> {
        let response = self.accepted(request).await?;
        response.text().await.map_err(|fault| self.broken(&fault))
    }

    /// The answer, if the gateway does what it is asked.
    async fn accepted(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|fault| self.unsent(&fault))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.map_err(|fault| self.broken(&fault))?;
        match serde_json::from_str::<ErrorAnswer>(&text) {
            Ok(_) if status == StatusCode::UNAUTHORIZED => Err(CliError::WrongToken {
                url: self.shown_url(),
            }),
            Ok(answer) => Err(CliError::Refused(answer.error)),
            Err(_) => Err(CliError::NotFarebox {
                url: self.shown_url(),
                status: status.as_u16(),
            }),
        }
    }

    fn unsent(&self, fault: &reqwest::Error) -> CliError {
        if fault.is_connect() {
            CliError::NotRunning {
                url: self.shown_url(),
                cause: innermost(fault),
            }
        } else {
            self.broken(fault)
        }
    }

    fn broken(&self, fault: &reqwest::Error) -> CliError {
        let cause = if fault.is_timeout() {
            "it took too long".into()
        } else {
            innermost(fault)
        };
        CliError::BrokenAnswer {
            url: self.shown_url(),
            cause,
        }
    }

    fn shown_url(&self) -> String {
        self.base.as_str().trim_end_matches('/').into()
    }
}

fn parse_base(text: &str) -> Result<Url, CliError> {
    let bad = |problem: &str| CliError::BadUrl {
        url: text.into(),
        problem: problem.into(),
    };
    let url = Url::parse(text).map_err(|fault| bad(&fault.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it has to begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not said back: it is a secret.
        let (url, problem) = (
            "http://...@...".into(),
            "it has a user or a password in it".into(),
        );
        return Err(CliError::BadUrl { url, problem });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment"));
    }
    Ok(url)
}

/// What the socket said, beneath what reqwest and hyper wrap around it.
fn innermost(fault: &(dyn Error + 'static)) -> String {
    let mut cause = fault;
    while let Some(beneath) = cause.source() {
        cause = beneath;
    }
    cause.to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_without_saying_a_password() {
        for text in ["", "127.0.0.1:8081", "ftp://host", "http://host/?q=1"] {
            assert!(parse_base(text).is_err(), "{text}");
        }
        let told = parse_base("http://user:hunter2@host").unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
        assert!(parse_base("http://127.0.0.1:8081").is_ok());
        assert!(parse_base("https://gateway.example/farebox/").is_ok());
    }
}
