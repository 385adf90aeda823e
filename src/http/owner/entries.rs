//! `GET /v1/me/entries`: every request of the account as it was booked, a page at a time in the order of ids.

use crate::admin_api::bill::EntryView;
use crate::app::App;
use crate::bill::csv::{Cell, header, line};
use crate::bill::receipt::show_entry;
use crate::http::download;
use crate::http::owner::asking::{Asking, json};
use crate::http::owner::params::{Format, Params, invalid};
use crate::ledger::EntryPage;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use farebox_domain::ids::RequestId;
use farebox_domain::refusal::Refusal;
use serde::Serialize;
use std::sync::Arc;

const PARAMS: [&str; 5] = ["since", "until", "limit", "after", "format"];
const DEFAULT_LIMIT: u64 = 1_000;
const MAX_LIMIT: u64 = 5_000;

#[derive(Serialize)]
struct Entries {
    data: Vec<EntryView>,
    has_more: bool,
    /// What to write as `after` for the next page.
    next: Option<RequestId>,
}

/// A page of entries.
pub async fn list(State(app): State<Arc<App>>, asking: Asking, params: Params) -> Response<Body> {
    let listed = read(&app, &asking, &params).await;
    asking.answer(&app, listed)
}

async fn read(app: &App, asking: &Asking, params: &Params) -> Result<Response<Body>, Refusal> {
    params.only(&PARAMS)?;
    let format = params.format(&[Format::Json, Format::Csv])?;
    let now_ms = app.clock.unix_ms();
    let (since_ms, until_ms) = (params.time("since", now_ms)?, params.time("until", now_ms)?);
    if since_ms.zip(until_ms).is_some_and(|(since, until)| until < since) {
        return Err(invalid("until", "this is before `since`"));
    }
    let after = match params.one("after")? {
        Some(id) => Some(RequestId::parse(id).map_err(|fault| invalid("after", fault))?),
        None => None,
    };
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    // One more than is shown tells whether there are more.
    let page = EntryPage {
        account: Some(asking.account().clone()),
        since_ms,
        until_ms,
        after,
        limit: u32::try_from(limit + 1).unwrap_or(u32::MAX),
    };
    let mut found = app
        .ledger
        .entries(&page)
        .await
        .map_err(|fault| asking.failed(&fault.into()))?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > shown;
    found.truncate(shown);
    let next = found.last().filter(|_| has_more).map(|last| last.id);
    let data: Vec<_> = found.iter().map(show_entry).collect();
    Ok(match format {
        Format::Csv => download::next_page(csv(&data), next.map(|next| next.to_string())),
        _ => json(&Entries { data, has_more, next }),
    })
}

fn csv(entries: &[EntryView]) -> Response<Body> {
    const COLUMNS: [&str; 20] = [
        "request_id",
        "client_request_id",
        "admitted_at",
        "key",
        "model",
        "endpoint",
        "state",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "reasoning_tokens",
        "units",
        "service_tier",
        "usage_source",
        "price_version",
        "cost_picodollars",
        "cost_usd",
        "queue_us",
        "ttft_us",
        "total_us",
    ];
    let lines: String = entries.iter().map(|entry| line(&cells(entry))).collect();
    download::csv("entries.csv", header(&COLUMNS) + &lines)
}

fn cells(entry: &EntryView) -> [Cell; 20] {
    let units = (!entry.units.is_empty())
        .then(|| serde_json::to_string(&entry.units).ok())
        .flatten();
    [
        Cell::text(Some(entry.request_id)),
        Cell::text(entry.client_request_id.as_ref()),
        Cell::text(Some(&entry.admitted_at)),
        Cell::text(Some(&entry.key)),
        Cell::text(Some(&entry.model)),
        Cell::text(Some(&entry.endpoint)),
        Cell::text(Some(&entry.state)),
        Cell::number(Some(entry.usage.prompt_tokens)),
        Cell::number(Some(entry.usage.cached_tokens)),
        Cell::number(Some(entry.usage.completion_tokens)),
        Cell::number(Some(entry.usage.reasoning_tokens)),
        Cell::text(units),
        Cell::text(Some(entry.service_tier.as_str())),
        Cell::text(Some(&entry.usage_source)),
        Cell::number(Some(entry.price_version)),
        Cell::number(Some(entry.cost.0.get())),
        Cell::number(Some(entry.cost.0)),
        Cell::number(Some(entry.queue_us)),
        Cell::number(entry.ttft_us),
        Cell::number(Some(entry.total_us)),
    ]
}
