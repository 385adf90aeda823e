//! `GET /v1/me/balance` and `GET /v1/me/statements/{month}`.

use crate::app::App;
use crate::bill::statement::{StatementOf, statement};
use crate::http::admin::spending::balance_of;
use crate::http::download;
use crate::http::owner::asking::{Asking, json};
use crate::http::owner::params::{Format, Params, invalid};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use farebox_domain::month::Month;
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

/// What the account has, holds and may still spend.
pub async fn balance(State(app): State<Arc<App>>, asking: Asking, params: Params) -> Response<Body> {
    let shown = params
        .only(&[])
        .map(|()| json(&balance_of(&app, &asking.key.account)));
    asking.answer(&app, shown)
}

/// A month of the account, as a page, as CSV or as JSON.
pub async fn statement_of_month(
    app: &App,
    asking: &Asking,
    month: &str,
    params: &Params,
) -> Result<Response<Body>, Refusal> {
    params.only(&["format"])?;
    let format = params.format(&[Format::Html, Format::Csv, Format::Json])?;
    let of = StatementOf {
        account: asking.account(),
        account_name: &asking.key.account.name,
        month: Month::parse(month).ok_or_else(|| invalid("month", "write a month such as 2026-11"))?,
        now_ms: app.clock.unix_ms(),
    };
    if !of.has_begun() {
        return Err(invalid("month", "it has not begun"));
    }
    let made = statement(app.ledger.as_ref(), &app.store, &of)
        .await
        .map_err(|fault| asking.failed(&fault))?;
    Ok(match format {
        Format::Html => download::html(crate::bill::statement::html::html(&made)),
        Format::Csv => download::csv(
            &format!("statement-{}.csv", of.month),
            crate::bill::statement::csv::csv(&made),
        ),
        Format::Json => json(&made),
    })
}

/// `GET /v1/me/statements/{month}`
pub async fn statement_page(
    State(app): State<Arc<App>>,
    Path(month): Path<String>,
    asking: Asking,
    params: Params,
) -> Response<Body> {
    let shown = statement_of_month(&app, &asking, &month, &params).await;
    asking.answer(&app, shown)
}
