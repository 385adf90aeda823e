//! Usage: what was used and what it costs, by account, model, key and day, as JSON or CSV.

use crate::admin_api::when::{self, When};
use crate::admin_api::{Money, UsageRowView, UsageView};
use crate::http::admin::change::Admin;
use crate::http::admin::csv;
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Params;
use crate::ledger::{GroupBy, UsageQuery, UsageRow};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;

const PARAMS: [&str; 5] = ["group_by", "since", "until", "account", "format"];
const GROUPS: [&str; 4] = ["account", "model", "key", "day"];

/// `GET /admin/v1/usage`
pub async fn report(State(admin): State<Admin>, params: Params) -> Result<Response, AdminError> {
    let params = params.only(&PARAMS)?;
    let as_csv = match params.get("format") {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(AdminError::invalid("format", "this is json or csv")),
    };
    let (query, groups) = query_of(&admin, &params)?;
    let rows = admin
        .app
        .ledger
        .usage(&query)
        .await
        .map_err(AdminError::internal)?;
    let data = named(&admin, rows);
    let total = total_of(&data)?;
    if as_csv {
        let body = csv_of(&groups, &data);
        return Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], body).into_response());
    }
    let answer = UsageView {
        group_by: groups,
        since: query.since_ms.map(when::show),
        until: query.until_ms.map(when::show),
        data,
        total,
    };
    Ok(Json(answer).into_response())
}

fn query_of(admin: &Admin, params: &Params) -> Result<(UsageQuery, Vec<String>), AdminError> {
    let mut group_by = GroupBy::default();
    let mut groups = Vec::new();
    for group in params
        .get("group_by")
        .unwrap_or("account,model")
        .split(',')
        .map(str::trim)
    {
        match group {
            "account" => group_by.account = true,
            "model" => group_by.model = true,
            "key" => group_by.key = true,
            "day" => group_by.day = true,
            _ => {
                let message = format!("`{group}` is none of {}", GROUPS.join(", "));
                return Err(AdminError::invalid("group_by", message));
            }
        }
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    let account = match params.get("account") {
        None => None,
        Some(name) => match admin.app.directory.account_named(name) {
            Some(account) => Some(account.id.clone()),
            None => {
                return Err(AdminError::invalid(
                    "account",
                    format!("there is no account `{name}`"),
                ));
            }
        },
    };
    let now_ms = admin.app.clock.unix_ms();
    let time = |name: &str| {
        let read = params.get(name).map(When::parse).transpose();
        read.map(|when| when.map(|when| when.ago(now_ms)))
            .map_err(|fault| AdminError::invalid(name, fault.to_string()))
    };
    let query = UsageQuery {
        group_by,
        account,
        since_ms: time("since")?,
        until_ms: time("until")?,
    };
    Ok((query, groups))
}

/// Puts names beside ids.
fn named(admin: &Admin, rows: Vec<UsageRow>) -> Vec<UsageRowView> {
    let directory = &admin.app.directory;
    let keys: HashMap<_, _> = match rows.iter().any(|row| row.key.is_some()) {
        true => directory
            .keys()
            .into_iter()
            .map(|key| (key.id.clone(), key.name.clone()))
            .collect(),
        false => HashMap::new(),
    };
    let view = |row: UsageRow| UsageRowView {
        account_name: row
            .account
            .as_ref()
            .and_then(|id| directory.account(id))
            .map(|found| found.name.clone()),
        account: row.account,
        model: row.model,
        key_name: row.key.as_ref().and_then(|id| keys.get(id).cloned()),
        key: row.key,
        day: row.day,
        requests: row.requests,
        prompt_tokens: row.prompt_tokens,
        cached_tokens: row.cached_tokens,
        completion_tokens: row.completion_tokens,
        cost: Money(row.cost),
    };
    rows.into_iter().map(view).collect()
}

fn total_of(rows: &[UsageRowView]) -> Result<UsageRowView, AdminError> {
    let mut total = UsageRowView::default();
    for row in rows {
        total.requests = total.requests.saturating_add(row.requests);
        total.prompt_tokens = total.prompt_tokens.saturating_add(row.prompt_tokens);
        total.cached_tokens = total.cached_tokens.saturating_add(row.cached_tokens);
        total.completion_tokens = total.completion_tokens.saturating_add(row.completion_tokens);
        total.cost = Money(
            total
                .cost
                .0
                .checked_add(row.cost.0)
                .map_err(AdminError::internal)?,
        );
    }
    Ok(total)
}

fn csv_of(groups: &[String], rows: &[UsageRowView]) -> String {
    let mut header = Vec::new();
    for group in groups {
        header.push(group.clone());
        if group == "account" || group == "key" {
            header.push(format!("{group}_name"));
        }
    }
    let counts = [
        "requests",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "cost_picodollars",
        "cost_usd",
    ];
    header.extend(counts.map(str::to_owned));
    let mut text = csv::line(&header);
    for row in rows {
        text.push_str(&csv::line(&cells_of(groups, row)));
    }
    text
}

fn cells_of(groups: &[String], row: &UsageRowView) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut cells = Vec::new();
    for group in groups {
        match group.as_str() {
            "account" => cells.extend([
                text(row.account.as_ref().map(ToString::to_string)),
                text(row.account_name.clone()),
            ]),
            "key" => {
                cells.extend([
                    text(row.key.as_ref().map(ToString::to_string)),
                    text(row.key_name.clone()),
                ]);
            }
            "model" => cells.push(text(row.model.as_ref().map(ToString::to_string))),
            _ => cells.push(text(row.day.clone())),
        }
    }
    let counts = [
        row.requests,
        row.prompt_tokens,
        row.cached_tokens,
        row.completion_tokens,
    ];
    cells.extend(counts.map(|count| count.to_string()));
    cells.extend([row.cost.0.get().to_string(), row.cost.0.to_string()]);
    cells
}
