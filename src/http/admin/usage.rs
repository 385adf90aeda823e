//! Usage: what was used and what it costs, by account, model, key and day, as JSON or as CSV.

use crate::admin_api::when::{self, When};
use crate::admin_api::{Money, UsageRowView, UsageView};
use crate::bill::csv::{self, Cell};
use crate::http::admin::accounts;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::admin::page::read_limit;
use crate::http::admin::read::Params;
use crate::http::download;
use crate::ledger::usage::UsageSum;
use crate::ledger::{Bucket, GroupBy, LedgerFault, UsageQuery, UsageRow};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::cmp::Reverse;

/// The parameters of [`report`].
pub const PARAMS: &[&str] = &["group_by", "since", "until", "account", "limit", "format"];
const GROUPS: [&str; 4] = ["account", "model", "key", "day"];
const DEFAULT_GROUPS: &str = "account,model";

/// `GET /admin/v1/usage?group_by=&since=&until=&account=&limit=&format=`: with a limit, the dearest rows alone.
pub async fn report(State(admin): State<Admin>, params: Params) -> Result<Response, AdminError> {
    let params = params.only(PARAMS)?;
    let limit = read_limit(&params)?;
    let as_csv = wants_csv(&params)?;
    let group_by = read_groups(params.get("group_by").unwrap_or(DEFAULT_GROUPS))?;
    let query = read_query(&admin, &params, &group_by)?;
    let mut rows = admin
        .app
        .ledger
        .usage(&query)
        .await
        .map_err(AdminError::internal)?;
    let total = total_of(&rows).map_err(AdminError::internal)?;
    if let Some(limit) = limit {
        rows.sort_by_key(|row| Reverse(row.sum.cost));
        rows.truncate(limit);
    }
    let view_of = |row: UsageRow| {
        let directory = &admin.app.directory;
        let account = row.group.account.as_ref().and_then(|id| directory.account(id));
        let key = row.group.key.as_ref().and_then(|id| directory.key(id));
        UsageRowView {
            account_name: account.map(|account| account.name.clone()),
            key_name: key.map(|key| key.name.clone()),
            ..row_view(row)
        }
    };
    let usage = UsageView {
        since: query.since_ms.map(when::show),
        until: query.until_ms.map(when::show),
        data: rows.into_iter().map(view_of).collect(),
        total,
        group_by,
    };
    Ok(if as_csv {
        csv_response(&usage)
    } else {
        Json(usage).into_response()
    })
}

fn wants_csv(params: &Params) -> Result<bool, AdminError> {
    match params.get("format") {
        None | Some("json") => Ok(false),
        Some("csv") => Ok(true),
        Some(_) => Err(AdminError::invalid("format", "write json or csv")),
    }
}

fn read_groups(text: &str) -> Result<Vec<String>, AdminError> {
    let mut groups: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim) {
        if !GROUPS.contains(&name) {
            let message = format!("write some of {}, with commas between them", GROUPS.join(", "));
            return Err(AdminError::invalid("group_by", message));
        }
        if !groups.iter().any(|group| group == name) {
            groups.push(name.into());
        }
    }
    Ok(groups)
}

fn read_query(admin: &Admin, params: &Params, group_by: &[String]) -> Result<UsageQuery, AdminError> {
    let now_ms = admin.app.clock.unix_ms();
    let time = |param: &'static str| match params.get(param).map(When::parse).transpose() {
        Ok(when) => Ok(when.map(|when| when.ago(now_ms))),
        Err(fault) => Err(AdminError::invalid(param, fault)),
    };
    let (since_ms, until_ms) = (time("since")?, time("until")?);
    if since_ms.zip(until_ms).is_some_and(|(since, until)| until < since) {
        return Err(AdminError::invalid("until", "this is before `since`"));
    }
    let account = match params.get("account") {
        Some(name) => Some(accounts::find(admin, name, Some("account"))?.id.clone()),
        None => None,
    };
    let by = |name: &str| group_by.iter().any(|group| group == name);
    let group_by = GroupBy {
        account: by("account"),
        model: by("model"),
        key: by("key"),
        bucket: by("day").then_some(Bucket::Day),
        ..GroupBy::default()
    };
    Ok(UsageQuery {
        group_by,
        account,
        since_ms,
        until_ms,
        ..UsageQuery::default()
    })
}

fn row_view(row: UsageRow) -> UsageRowView {
    let UsageRow { group, sum } = row;
    UsageRowView {
        account: group.account,
        model: group.model,
        key: group.key,
        day: group.bucket_ms.map(when::show_day),
        ..sum_view(sum)
    }
}

fn sum_view(sum: UsageSum) -> UsageRowView {
    UsageRowView {
        requests: sum.requests,
        prompt_tokens: sum.prompt_tokens,
        cached_tokens: sum.cached_tokens,
        completion_tokens: sum.completion_tokens,
        reasoning_tokens: sum.reasoning_tokens,
        cost: Money(sum.cost),
        ..UsageRowView::default()
    }
}

/// All rows together, or an error rather than a number that is not their sum.
fn total_of(rows: &[UsageRow]) -> Result<UsageRowView, LedgerFault> {
    rows.iter()
        .try_fold(UsageSum::default(), |sum, row| sum.checked_add(row.sum))
        .map(sum_view)
}

/// One line for each row; no total, which a spreadsheet would add to itself.
fn csv_response(usage: &UsageView) -> Response {
    let names = usage.group_by.iter().flat_map(|group| match group.as_str() {
        "account" => vec!["account", "account_name"],
        "key" => vec!["key", "key_name"],
        "model" => vec!["model"],
        _ => vec!["day"],
    });
    let counts = [
        "requests",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "reasoning_tokens",
        "cost_usd",
        "cost_picodollars",
    ];
    let header: Vec<&str> = names.chain(counts).collect();
    let lines = usage
        .data
        .iter()
        .map(|row| csv::line(&csv_cells(&usage.group_by, row)));
    let text: String = std::iter::once(csv::header(&header)).chain(lines).collect();
    download::csv("usage.csv", text)
}

fn csv_cells(group_by: &[String], row: &UsageRowView) -> Vec<Cell> {
    let names = group_by.iter().flat_map(|group| match group.as_str() {
        "account" => vec![
            Cell::text(row.account.as_ref()),
            Cell::text(row.account_name.as_ref()),
        ],
        "model" => vec![Cell::text(row.model.as_ref())],
        "key" => vec![Cell::text(row.key.as_ref()), Cell::text(row.key_name.as_ref())],
        _ => vec![Cell::text(row.day.as_ref())],
    });
    let counts = [
        row.requests,
        row.prompt_tokens,
        row.cached_tokens,
        row.completion_tokens,
        row.reasoning_tokens,
    ];
    let cost = [
        Cell::number(Some(row.cost.0)),
        Cell::number(Some(row.cost.0.get())),
    ];
    names
        .chain(counts.map(|count| Cell::number(Some(count))))
        .chain(cost)
        .collect()
}
