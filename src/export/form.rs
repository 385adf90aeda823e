//! An entry or an adjustment in the receiver's form. Where each form comes from is in docs/EXPORT.md.
//!
//! What is told: account, key, model, endpoint, how it ended, what was used and what it costs. What is not: the engine,
//! the request id and whatever else a client wrote, an adjustment's note.

use crate::config::{ExportFormat, ExportSettings};
use crate::ledger::ExportItem;
use bytes::Bytes;
use farebox_domain::ledger::{Adjustment, Entry};
use farebox_domain::units::Units;
use serde::Serialize;
use std::collections::BTreeMap;

const REQUEST_SETTLED: &str = "com.farebox.request.settled";
const BALANCE_ADJUSTED: &str = "com.farebox.balance.adjusted";
const LAGO_REQUEST: &str = "farebox_request";
const LAGO_ADJUSTMENT: &str = "farebox_adjustment";

/// How events are written for one receiver.
#[derive(Debug)]
pub struct Form {
    format: ExportFormat,
    source: String,
    customers: BTreeMap<String, String>,
}

/// CloudEvents 1.0, JSON format: the attributes of one event.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

/// Lago API: `POST /api/v1/events/batch`.
#[derive(Serialize)]
struct LagoBatch<'a> {
    events: Vec<LagoEvent<'a>>,
}

#[derive(Serialize)]
struct LagoEvent<'a> {
    transaction_id: String,
    external_subscription_id: &'a str,
    code: &'static str,
    timestamp: u64,
    properties: Data<'a>,
}

/// What an event says, the same in CloudEvents and in Lago.
#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Request(RequestData<'a>),
    Adjustment(AdjustmentData<'a>),
}

#[derive(Serialize)]
struct RequestData<'a> {
    account: &'a str,
    key: &'a str,
    model: &'a str,
    endpoint: &'static str,
    state: &'static str,
    service_tier: &'static str,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    #[serde(skip_serializing_if = "Units::is_empty")]
    units: Units,
    usage_source: &'static str,
    price_version: i64,
    cost_picodollars: String,
    cost_usd: String,
}

#[derive(Serialize)]
struct AdjustmentData<'a> {
    account: &'a str,
    kind: &'static str,
    amount_picodollars: String,
    amount_usd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_version: Option<i64>,
    reference: &'a str,
}

/// A body to be posted, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Its media type.
    pub content_type: &'static str,
    /// It.
    pub bytes: Bytes,
}

impl Form {
    /// The receiver's.
    pub fn new(settings: &ExportSettings) -> Self {
        Self {
            format: settings.format,
            source: settings.source.clone(),
            customers: settings.customers.clone(),
        }
    }

    /// Whether the receiver takes one event a request.
    pub fn is_one_by_one(&self) -> bool {
        self.format == ExportFormat::Stripe
    }

    /// Whether it can be told at all.
    pub fn can_tell(&self, item: &ExportItem) -> bool {
        Told::of(item).is_some()
    }

    /// The events in one body; those that cannot be told are left out.
    pub fn batch(&self, items: &[ExportItem]) -> Body {
        let told: Vec<_> = items.iter().filter_map(Told::of).collect();
        let (content_type, text) = match self.format {
            ExportFormat::Lago => {
                let events = told.iter().map(|told| self.lago(told)).collect();
                ("application/json", serde_json::to_vec(&LagoBatch { events }))
            }
            ExportFormat::CloudEvents | ExportFormat::Stripe => {
                let events: Vec<_> = told.iter().map(|told| self.cloud_event(told)).collect();
                ("application/cloudevents-batch+json", serde_json::to_vec(&events))
            }
        };
        // Strings and numbers always have a text.
        let bytes = text.unwrap_or_default().into();
        Body { content_type, bytes }
    }

    /// The bodies that tell Stripe of an event: one for each meter that moves. `Err` is why there can be none.
    pub fn meters(&self, item: &ExportItem) -> Result<Vec<Body>, String> {
        let Some(told) = Told::of(item) else {
            return Ok(Vec::new());
        };
        let moved = told.meters();
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let account = told.account();
        let customer = self
            .customers
            .get(account)
            .ok_or_else(|| format!("`export.customers` has no customer for the account {account}"))?;
        let at_seconds = (told.at_ms() / 1000).to_string();
        let body = |(meter, value): (&str, i128)| {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("event_name", &format!("farebox_{meter}"))
                .append_pair("identifier", &format!("{}:{meter}", told.id()))
                .append_pair("timestamp", &at_seconds)
                .append_pair("payload[stripe_customer_id]", customer)
                .append_pair("payload[value]", &value.to_string());
            Body {
                content_type: "application/x-www-form-urlencoded",
                bytes: form.finish().into(),
            }
        };
        Ok(moved.into_iter().map(body).collect())
    }

    /// What the receiver calls the account.
    fn customer<'f>(&'f self, account: &'f str) -> &'f str {
        self.customers.get(account).map_or(account, String::as_str)
    }

    fn cloud_event<'f>(&'f self, told: &'f Told<'f>) -> CloudEvent<'f> {
        CloudEvent {
            specversion: "1.0",
            id: told.id(),
            source: &self.source,
            kind: match told {
                Told::Request(_) => REQUEST_SETTLED,
                Told::Adjustment(_) => BALANCE_ADJUSTED,
            },
            subject: self.customer(told.account()),
            time: rfc3339(told.at_ms()),
            datacontenttype: "application/json",
            data: told.data(),
        }
    }

    fn lago<'f>(&'f self, told: &'f Told<'f>) -> LagoEvent<'f> {
        LagoEvent {
            transaction_id: told.id(),
            external_subscription_id: self.customer(told.account()),
            code: match told {
                Told::Request(_) => LAGO_REQUEST,
                Told::Adjustment(_) => LAGO_ADJUSTMENT,
            },
            timestamp: told.at_ms() / 1000,
            properties: told.data(),
        }
    }
}

/// An event that can be told.
enum Told<'i> {
    Request(&'i Entry),
    Adjustment(&'i Adjustment),
}

impl<'i> Told<'i> {
    fn of(item: &'i ExportItem) -> Option<Self> {
        match item {
            ExportItem::Entry(entry) => Some(Self::Request(entry)),
            ExportItem::Adjustment(adjustment) => Some(Self::Adjustment(adjustment)),
            ExportItem::Unreadable(_) => None,
        }
    }

    fn id(&self) -> String {
        match self {
            Self::Request(entry) => entry.id.to_string(),
            Self::Adjustment(adjustment) => adjustment.id.to_string(),
        }
    }

    fn account(&self) -> &'i str {
        match self {
            Self::Request(entry) => entry.account.as_str(),
            Self::Adjustment(adjustment) => adjustment.account.as_str(),
        }
    }

    /// When it was settled or booked, in milliseconds since 1970.
    fn at_ms(&self) -> u64 {
        match self {
            Self::Request(entry) => entry.admitted_at_ms.saturating_add(entry.timings.total_us / 1000),
            Self::Adjustment(adjustment) => adjustment.booked_at_ms,
        }
    }

    fn data(&self) -> Data<'i> {
        match self {
            Self::Request(entry) => Data::Request(RequestData {
                account: entry.account.as_str(),
                key: entry.key.as_str(),
                model: entry.model.as_str(),
                endpoint: entry.endpoint.as_str(),
                state: entry.state.as_str(),
                service_tier: entry.service_tier.as_str(),
                prompt_tokens: entry.usage.prompt_tokens,
                cached_tokens: entry.usage.cached_tokens,
                completion_tokens: entry.usage.completion_tokens,
                reasoning_tokens: entry.usage.reasoning_tokens,
                units: entry.units,
                usage_source: entry.usage_source.as_str(),
                price_version: entry.price_version.0,
                cost_picodollars: entry.cost.get().to_string(),
                cost_usd: entry.cost.to_string(),
            }),
            Self::Adjustment(adjustment) => Data::Adjustment(AdjustmentData {
                account: adjustment.account.as_str(),
                kind: adjustment.kind.as_str(),
                amount_picodollars: adjustment.amount.get().to_string(),
                amount_usd: adjustment.amount.to_string(),
                request: adjustment.request.map(|id| id.to_string()),
                price_version: adjustment.price_version.map(|version| version.0),
                reference: &adjustment.reference,
            }),
        }
    }

    /// Stripe's meters that it moves. What was given back for a request moves the cost down; money that was paid in is
    /// no usage, and moves none.
    fn meters(&self) -> Vec<(&'static str, i128)> {
        use farebox_domain::ledger::AdjustmentKind::{Correction, Credit, Refund, WriteOff};
        let moved = match self {
            Self::Request(entry) => vec![
                ("input_tokens", i128::from(entry.usage.uncached_tokens())),
                ("cached_input_tokens", i128::from(entry.usage.cached_tokens)),
                ("output_tokens", i128::from(entry.usage.completion_tokens)),
                ("cost_picodollars", entry.cost.get()),
            ],
            Self::Adjustment(adjustment) => match adjustment.kind {
                Refund | Correction | WriteOff => {
                    vec![("cost_picodollars", adjustment.amount.get().saturating_neg())]
                }
                Credit => Vec::new(),
            },
        };
        moved.into_iter().filter(|&(_, value)| value != 0).collect()
    }
}

/// In UTC, with its milliseconds. A moment after the year 9999 is shown as its end.
fn rfc3339(at_ms: u64) -> String {
    let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(at_ms)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}
