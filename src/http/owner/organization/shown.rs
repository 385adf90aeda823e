//! What is answered: OpenAI's objects, with the cost beside them, as JSON or as CSV.

use super::query::What;
use crate::admin_api::{Money, when};
use crate::bill::BillFault;
use crate::bill::buckets::BucketRows;
use crate::bill::csv::{self, Cell};
use crate::bill::line_items::LineItem;
use crate::http::download;
use crate::http::owner::asking::json;
use crate::ledger::UsageRow;
use axum::body::Body;
use axum::http::Response;
use farebox_domain::ids::{KeyId, ModelId};
use farebox_domain::money::Picodollars;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Page<R> {
    object: &'static str,
    data: Vec<BucketView<R>>,
    has_more: bool,
    next_page: Option<String>,
}

/// A stretch of time.
#[derive(Serialize)]
pub struct BucketView<R> {
    object: &'static str,
    start_time: u64,
    end_time: u64,
    results: Vec<R>,
}

impl<R> BucketView<R> {
    /// The bucket with these results.
    pub fn new(
        bucket: &BucketRows,
        results: impl IntoIterator<Item = Result<R, BillFault>>,
    ) -> Result<Self, BillFault> {
        Ok(Self {
            object: "bucket",
            start_time: bucket.since_s,
            end_time: bucket.until_s,
            results: results.into_iter().collect::<Result<_, _>>()?,
        })
    }
}

/// A row of a bucket.
pub trait ResultRow: Serialize {
    /// The names of its columns in CSV.
    const COLUMNS: &'static [&'static str];

    /// Its cells.
    fn cells(&self) -> Vec<Cell>;
}

/// The page as an answer.
pub fn answer<R: ResultRow>(data: Vec<BucketView<R>>, next: Option<String>, as_csv: bool) -> Response<Body> {
    if !as_csv {
        return json(&Page {
            object: "page",
            data,
            has_more: next.is_some(),
            next_page: next,
        });
    }
    let columns = [&["start", "end"], R::COLUMNS].concat();
    let mut text = csv::header(&columns);
    for bucket in &data {
        let time = |seconds: u64| Cell::text(Some(when::show(seconds.saturating_mul(1000))));
        for result in &bucket.results {
            let mut cells = vec![time(bucket.start_time), time(bucket.end_time)];
            cells.extend(result.cells());
            text += &csv::line(&cells);
        }
    }
    download::next_page(download::csv("usage.csv", text), next)
}

/// OpenAI's `UsageCompletionsResult` or `UsageEmbeddingsResult`, and its cost. What is not told apart is null.
#[derive(Serialize)]
#[serde(untagged)]
pub enum UsageResult {
    /// Of chat and plain completions.
    Completions(CompletionsResult),
    /// Of embeddings.
    Embeddings(EmbeddingsResult),
}

/// OpenAI's `UsageCompletionsResult`.
#[derive(Serialize)]
pub struct CompletionsResult {
    object: &'static str,
    input_tokens: u64,
    input_cached_tokens: u64,
    input_uncached_tokens: u64,
    input_audio_tokens: u64,
    output_tokens: u64,
    output_reasoning_tokens: u64,
    output_audio_tokens: u64,
    num_model_requests: u64,
    project_id: Option<String>,
    user_id: Option<String>,
    api_key_id: Option<KeyId>,
    model: Option<ModelId>,
    batch: Option<bool>,
    service_tier: Option<String>,
    cost: Money,
}

/// OpenAI's `UsageEmbeddingsResult`.
#[derive(Serialize)]
pub struct EmbeddingsResult {
    object: &'static str,
    input_tokens: u64,
    num_model_requests: u64,
    project_id: Option<String>,
    user_id: Option<String>,
    api_key_id: Option<KeyId>,
    model: Option<ModelId>,
    cost: Money,
}

impl UsageResult {
    /// A row of the ledger's.
    pub fn new(what: What, row: &UsageRow) -> Self {
        let (group, sum) = (&row.group, &row.sum);
        if what == What::Embeddings {
            return Self::Embeddings(EmbeddingsResult {
                object: "organization.usage.embeddings.result",
                input_tokens: sum.prompt_tokens,
                num_model_requests: sum.requests,
                project_id: None,
                user_id: None,
                api_key_id: group.key.clone(),
                model: group.model.clone(),
                cost: Money(sum.cost),
            });
        }
        Self::Completions(CompletionsResult {
            object: "organization.usage.completions.result",
            input_tokens: sum.prompt_tokens,
            input_cached_tokens: sum.cached_tokens,
            input_uncached_tokens: sum.prompt_tokens.saturating_sub(sum.cached_tokens),
            input_audio_tokens: 0,
            output_tokens: sum.completion_tokens,
            output_reasoning_tokens: sum.reasoning_tokens,
            output_audio_tokens: 0,
            num_model_requests: sum.requests,
            project_id: None,
            user_id: None,
            api_key_id: group.key.clone(),
            model: group.model.clone(),
            batch: None,
            service_tier: None,
            cost: Money(sum.cost),
        })
    }
}

impl ResultRow for UsageResult {
    const COLUMNS: &'static [&'static str] = &[
        "model",
        "api_key_id",
        "num_model_requests",
        "input_tokens",
        "input_cached_tokens",
        "output_tokens",
        "output_reasoning_tokens",
        "cost_picodollars",
        "cost_usd",
    ];

    fn cells(&self) -> Vec<Cell> {
        let (model, key, counts, cost) = match self {
            Self::Completions(of) => {
                let counts = [
                    of.num_model_requests,
                    of.input_tokens,
                    of.input_cached_tokens,
                    of.output_tokens,
                    of.output_reasoning_tokens,
                ];
                (&of.model, &of.api_key_id, counts, of.cost)
            }
            Self::Embeddings(of) => {
                let counts = [of.num_model_requests, of.input_tokens, 0, 0, 0];
                (&of.model, &of.api_key_id, counts, of.cost)
            }
        };
        let mut cells = vec![Cell::text(model.as_ref()), Cell::text(key.as_ref())];
        cells.extend(counts.map(|count| Cell::number(Some(count))));
        cells.extend(money_cells(cost.0));
        cells
    }
}

/// OpenAI's `CostsResult`.
#[derive(Serialize)]
pub struct CostResult {
    object: &'static str,
    amount: Amount,
    line_item: Option<String>,
    quantity: Option<u64>,
    quantity_unit: Option<&'static str>,
    project_id: Option<String>,
    user_id: Option<String>,
    api_key_id: Option<KeyId>,
    model: Option<ModelId>,
}

/// `value` is the decimal itself, written as JSON's number: no float has had it in its hands.
#[derive(Serialize)]
struct Amount {
    value: Box<RawValue>,
    currency: &'static str,
    picodollars: Picodollars,
}

impl CostResult {
    /// A row of the ledger's.
    pub fn of_row(row: &UsageRow) -> Result<Self, BillFault> {
        Ok(Self {
            api_key_id: row.group.key.clone(),
            model: row.group.model.clone(),
            ..Self::of(row.sum.cost)?
        })
    }

    /// A line item.
    pub fn of_line_item(item: &LineItem) -> Result<Self, BillFault> {
        Ok(Self {
            api_key_id: item.key.clone(),
            line_item: Some(item.name.clone()),
            quantity: item.quantity,
            quantity_unit: item.quantity.map(|_| "tokens"),
            ..Self::of(item.amount)?
        })
    }

    fn of(amount: Picodollars) -> Result<Self, BillFault> {
        Ok(Self {
            object: "organization.costs.result",
            amount: Amount {
                value: RawValue::from_string(amount.to_string()).map_err(BillFault::Unwritable)?,
                currency: "usd",
                picodollars: amount,
            },
            line_item: None,
            quantity: None,
            quantity_unit: None,
            project_id: None,
            user_id: None,
            api_key_id: None,
            model: None,
        })
    }
}

impl ResultRow for CostResult {
    const COLUMNS: &'static [&'static str] = &[
        "line_item",
        "model",
        "api_key_id",
        "quantity",
        "cost_picodollars",
        "cost_usd",
    ];

    fn cells(&self) -> Vec<Cell> {
        let mut cells = vec![
            Cell::text(self.line_item.as_ref()),
            Cell::text(self.model.as_ref()),
            Cell::text(self.api_key_id.as_ref()),
            Cell::number(self.quantity),
        ];
        cells.extend(money_cells(self.amount.picodollars));
        cells
    }
}

fn money_cells(amount: Picodollars) -> [Cell; 2] {
    [Cell::number(Some(amount.get())), Cell::number(Some(amount))]
}
