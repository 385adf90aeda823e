//! The receiver: its client, its key, and what its answers mean.

use super::form::{Body, Form};
use crate::config::{ExportFormat, ExportSettings};
use crate::ledger::ExportItem;
use futures_util::StreamExt as _;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use parking_lot::Mutex;
use std::time::Duration;

/// Bytes of a refusal that are read, and characters of it that are kept.
const REASON_BYTES: usize = 4096;
const REASON_CHARS: usize = 300;
/// Requests at once, where each carries one event.
const AT_ONCE: usize = 8;
/// However long the receiver asks to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Why nothing can be delivered at all.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverFault {
    /// Its key is not to be had, or cannot be sent.
    #[error("export: the environment variable {variable} (api_key_env) {problem}")]
    Key {
        /// Which variable.
        variable: String,
        /// `is not set`, or `holds something that a header cannot carry`.
        problem: &'static str,
    },
    /// Its URL does not parse, or there is no client.
    #[error("export: {0}")]
    Client(String),
}

/// What an answer means for what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Taken,
    /// It will never take it as it is.
    Refused(Refusal),
    /// Not now: it is away, busy, or does not take us for who we should be.
    Later {
        /// For the operator.
        why: String,
        /// It asked to be left alone for so long.
        wait: Option<Duration>,
    },
}

/// What a receiver said against what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its HTTP status; 0 where nothing was sent.
    pub status: u16,
    /// What it said, the first of it.
    pub reason: String,
    /// Whether it said that it has it, or some of it: a process that ended between delivery and note told it already.
    pub is_a_repetition: bool,
}

impl Refusal {
    fn unsent(reason: impl Into<String>) -> Self {
        Self {
            status: 0,
            reason: reason.into(),
            is_a_repetition: false,
        }
    }

    /// The ledger's row cannot be read.
    pub fn unreadable() -> Self {
        Self::unsent("the ledger's row cannot be read; `farebox ledger verify` says more")
    }
}

/// Where events are posted to.
#[derive(Debug)]
pub struct Receiver {
    client: reqwest::Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
    format: ExportFormat,
}

impl Receiver {
    /// Sets up the client. `read_env` finds the key.
    pub fn new(
        settings: &ExportSettings,
        read_env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ReceiverFault> {
        let fault = |fault: &dyn std::fmt::Display| ReceiverFault::Client(fault.to_string());
        // The key goes to the receiver and nowhere else: not to a proxy, not where it redirects to.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(settings.timeout)
            .build()
            .map_err(|cause| fault(&cause))?;
        Ok(Self {
            client,
            url: reqwest::Url::parse(&settings.url).map_err(|cause| fault(&cause))?,
            authorization: bearer(settings, read_env)?,
            format: settings.format,
        })
    }

    /// Posts a body.
    pub async fn send(&self, body: Body) -> Verdict {
        let mut request = reqwest::Request::new(http::Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
        if let Some(key) = &self.authorization {
            headers.insert(AUTHORIZATION, key.clone());
        }
        *request.body_mut() = Some(body.bytes.into());
        match self.client.execute(request).await {
            Ok(response) => self.read(response).await,
            Err(fault) => Verdict::Later {
                why: if fault.is_timeout() {
                    "the receiver did not answer in time".to_owned()
                } else {
                    format!("the receiver cannot be reached: {}", innermost(&fault))
                },
                wait: None,
            },
        }
    }

    /// Tells of each event by requests of its own, some at once, and says what became of each. After the first that
    /// has to wait the rest wait too.
    pub async fn send_each(&self, form: &Form, items: Vec<ExportItem>) -> Vec<(ExportItem, Verdict)> {
        let waiting = Mutex::new(None);
        let send = async |item: ExportItem| {
            let before: Option<Verdict> = waiting.lock().clone();
            if let Some(later) = before {
                return (item, later);
            }
            let (item, verdict) = self.send_one(form, item).await;
            if matches!(verdict, Verdict::Later { .. }) {
                *waiting.lock() = Some(verdict.clone());
            }
            (item, verdict)
        };
        futures_util::stream::iter(items)
            .map(send)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }

    async fn send_one(&self, form: &Form, item: ExportItem) -> (ExportItem, Verdict) {
        let bodies = match form.meters(&item) {
            Ok(bodies) => bodies,
            Err(reason) => return (item, Verdict::Refused(Refusal::unsent(reason))),
        };
        for body in bodies {
            match self.send(body).await {
                Verdict::Taken => {}
                Verdict::Refused(refusal) if refusal.is_a_repetition => {}
                other => return (item, other),
            }
        }
        (item, Verdict::Taken)
    }

    async fn read(&self, mut response: reqwest::Response) -> Verdict {
        let status = response.status();
        // What it says beyond its status is of no use: it has it.
        if status.is_success() {
            return Verdict::Taken;
        }
        if !is_about_the_events(status) {
            return Verdict::Later {
                why: format!("the receiver answered {}", status.as_u16()),
                wait: retry_after(response.headers()),
            };
        }
        let mut said = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await
            && said.len() < REASON_BYTES
        {
            said.extend_from_slice(&chunk);
        }
        let said = String::from_utf8_lossy(&said);
        Verdict::Refused(Refusal {
            status: status.as_u16(),
            reason: said.trim().chars().take(REASON_CHARS).collect(),
            is_a_repetition: self.has_it(status, &said),
        })
    }

    /// Whether a refusal says that an event is there already: Lago's `value_already_exist`, Stripe's duplicate
    /// identifier. CloudEvents' receivers take a repetition.
    fn has_it(&self, status: StatusCode, said: &str) -> bool {
        match self.format {
            ExportFormat::Lago => {
                status == StatusCode::UNPROCESSABLE_ENTITY && said.contains("value_already_exist")
            }
            ExportFormat::Stripe => {
                said.contains("duplicate_meter_event") || said.contains("already exists with identifier")
            }
            ExportFormat::CloudEvents => false,
        }
    }
}

/// Whether a status says that what was sent is at fault. All others pass with time, or with the operator's help: a key
/// that is wrong or a URL that is must not have every event set aside.
fn is_about_the_events(status: StatusCode) -> bool {
    let about_us = [
        StatusCode::UNAUTHORIZED,
        StatusCode::PAYMENT_REQUIRED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::MISDIRECTED_REQUEST,
        StatusCode::LOCKED,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !about_us.contains(&status)
}

/// Seconds, and not more than an hour. A date is passed over: the backoff holds then.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

fn bearer(
    settings: &ExportSettings,
    read_env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<HeaderValue>, ReceiverFault> {
    let Some(variable) = &settings.api_key_env else {
        return Ok(None);
    };
    let fault = |problem| ReceiverFault::Key {
        variable: variable.clone(),
        problem,
    };
    let key = read_env(variable).ok_or_else(|| fault("is not set"))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        .map_err(|_| fault("holds something that a header cannot carry"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What the socket said, beneath what reqwest wraps around it. The URL, which may have a secret in it, is not there.
fn innermost(fault: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(fault), |fault| fault.source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}
