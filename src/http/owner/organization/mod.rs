//! OpenAI's organization usage and costs: `GET /v1/organization/usage/completions`, `/v1/organization/usage/embeddings`
//! and `/v1/organization/costs`. The organization is the account that the key is of.
//!
//! OpenAI API: `UsageResponse`, `UsageTimeBucket`, `UsageCompletionsResult`, `UsageEmbeddingsResult`, `CostsResult`.
//! `query` reads what is asked for, `shown` writes what is answered.

mod query;
mod shown;

use crate::app::App;
use crate::bill::buckets::{BucketRows, BucketsPage, page};
use crate::bill::line_items::line_items;
use crate::bill::{BillFault, PriceBook};
use crate::http::owner::asking::Asking;
use crate::http::owner::params::{Format, Params};
use crate::ledger::UsageRow;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use farebox_domain::ids::ModelId;
use farebox_domain::refusal::Refusal;
use query::{Asked, What};
use shown::{BucketView, CostResult, UsageResult, answer};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Chat and plain completions.
pub async fn completions(State(app): State<Arc<App>>, asking: Asking, params: Params) -> Response<Body> {
    let shown = usage(&app, &asking, &params, What::Completions).await;
    asking.answer(&app, shown)
}

/// Embeddings.
pub async fn embeddings(State(app): State<Arc<App>>, asking: Asking, params: Params) -> Response<Body> {
    let shown = usage(&app, &asking, &params, What::Embeddings).await;
    asking.answer(&app, shown)
}

/// What all of it costs.
pub async fn costs(State(app): State<Arc<App>>, asking: Asking, params: Params) -> Response<Body> {
    let shown = costs_of(&app, &asking, &params).await;
    asking.answer(&app, shown)
}

async fn usage(app: &App, asking: &Asking, params: &Params, what: What) -> Result<Response<Body>, Refusal> {
    let asked = Asked::read(params, what, asking, app.clock.unix_ms())?;
    let found = find(app, asking, &asked).await?;
    let data = found
        .buckets
        .into_iter()
        .map(|bucket| {
            BucketView::new(
                &bucket,
                bucket.rows.iter().map(|row| Ok(UsageResult::new(what, row))),
            )
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| asking.failed(&fault))?;
    Ok(answer(
        data,
        asked.cursor(found.next_s),
        asked.format == Format::Csv,
    ))
}

async fn costs_of(app: &App, asking: &Asking, params: &Params) -> Result<Response<Body>, Refusal> {
    let asked = Asked::read(params, What::Costs, asking, app.clock.unix_ms())?;
    let found = find(app, asking, &asked).await?;
    let prices = if asked.by_line_item {
        prices_of(app, &found.buckets).await
    } else {
        Ok(PriceBook::default())
    };
    let prices = prices.map_err(|fault| asking.failed(&fault))?;
    let data = found
        .buckets
        .iter()
        .map(|bucket| BucketView::new(bucket, cost_results(&bucket.rows, &asked, &prices)?))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| asking.failed(&fault))?;
    Ok(answer(
        data,
        asked.cursor(found.next_s),
        asked.format == Format::Csv,
    ))
}

async fn find(app: &App, asking: &Asking, asked: &Asked) -> Result<BucketsPage, Refusal> {
    page(app.ledger.as_ref(), &asked.buckets)
        .await
        .map_err(|fault| asking.failed(&fault.into()))
}

async fn prices_of(app: &App, buckets: &[BucketRows]) -> Result<PriceBook, BillFault> {
    let rows = buckets.iter().flat_map(|bucket| &bucket.rows);
    let models: BTreeSet<&ModelId> = rows.filter_map(|row| row.group.model.as_ref()).collect();
    let mut prices = PriceBook::default();
    for model in models {
        prices.add(&app.store, model).await?;
    }
    Ok(prices)
}

fn cost_results(
    rows: &[UsageRow],
    asked: &Asked,
    prices: &PriceBook,
) -> Result<impl Iterator<Item = Result<CostResult, BillFault>>, BillFault> {
    let results: Vec<_> = if asked.by_line_item {
        let items = line_items(rows, prices)?;
        items
            .iter()
            .filter(|item| asked.line_items.is_empty() || asked.line_items.contains(&item.name))
            .map(CostResult::of_line_item)
            .collect()
    } else {
        rows.iter().map(CostResult::of_row).collect()
    };
    Ok(results.into_iter())
}
