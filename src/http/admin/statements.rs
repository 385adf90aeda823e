//! An account's statements, for the operator.

use crate::app::App;
use crate::bill::statement::{StatementOf, statement};
use crate::bill::statement::{csv::csv, html::html};
use crate::http::admin::accounts;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Params;
use crate::http::download;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use farebox_domain::month::Month;

/// `GET /admin/v1/accounts/{account}/statements/{month}?format=`
pub async fn show(
    State(admin): State<Admin>,
    Path((account, month)): Path<(String, String)>,
    params: Params,
) -> Result<Response, AdminError> {
    let params = params.only(&["format"])?;
    let account = accounts::find(&admin, &account, None)?;
    let app: &App = &admin.app;
    let of = StatementOf {
        account: &account.id,
        account_name: &account.name,
        month: Month::parse(&month)
            .ok_or_else(|| AdminError::invalid("month", "write a month such as 2026-11"))?,
        now_ms: app.clock.unix_ms(),
    };
    if !of.has_begun() {
        return Err(AdminError::invalid("month", "it has not begun"));
    }
    let format = params.get("format").unwrap_or("json");
    if !["json", "csv", "html"].contains(&format) {
        return Err(AdminError::invalid("format", "write json, csv or html"));
    }
    let made = statement(app.ledger.as_ref(), &app.store, &of)
        .await
        .map_err(AdminError::internal)?;
    Ok(match format {
        "csv" => download::csv(&format!("statement-{}.csv", of.month), csv(&made)),
        "html" => download::html(html(&made)),
        _ => Json(made).into_response(),
    })
}
