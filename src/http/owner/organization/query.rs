//! What is asked for: OpenAI's parameters, with its defaults and its most.

use crate::bill::buckets::BucketsQuery;
use crate::http::owner::asking::Asking;
use crate::http::owner::params::{Format, Params, invalid};
use crate::ledger::{Bucket, GroupBy};
use farebox_domain::refusal::Refusal;

/// 9999-12-31T23:59:59Z
const LAST_SECOND: u64 = 253_402_300_799;
const USAGE_PARAMS: [&str; 10] = [
    "start_time",
    "end_time",
    "bucket_width",
    "group_by",
    "models",
    "api_key_ids",
    "batch",
    "limit",
    "page",
    "format",
];
const COSTS_PARAMS: [&str; 10] = [
    "start_time",
    "end_time",
    "bucket_width",
    "group_by",
    "models",
    "api_key_ids",
    "line_items",
    "limit",
    "page",
    "format",
];

/// Which of the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Chat and plain completions.
    Completions,
    /// Embeddings.
    Embeddings,
    /// Costs.
    Costs,
}

/// What is asked for.
pub struct Asked {
    /// Of the bill.
    pub buckets: BucketsQuery,
    /// Whether costs are told apart by line items.
    pub by_line_item: bool,
    /// Only these line items; empty is all.
    pub line_items: Vec<String>,
    /// In which form.
    pub format: Format,
}

impl Asked {
    /// Reads the parameters.
    pub fn read(params: &Params, what: What, asking: &Asking, now_ms: u64) -> Result<Self, Refusal> {
        params.only(match what {
            What::Costs => &COSTS_PARAMS,
            What::Completions | What::Embeddings => &USAGE_PARAMS,
        })?;
        if params.one("batch")? == Some("true") {
            return Err(invalid("batch", "there are no batch jobs here; leave it out"));
        }
        let (width, limit) = read_width(params, what)?;
        let (group_by, by_line_item) = read_groups(params, what, width)?;
        let (since_s, until_s) = read_span(params, now_ms)?;
        let line_items: Vec<_> = params.all("line_items").into_iter().map(String::from).collect();
        if !line_items.is_empty() && !by_line_item {
            return Err(invalid("line_items", "group by line_item to choose among them"));
        }
        Ok(Self {
            buckets: BucketsQuery {
                account: asking.account().clone(),
                width,
                since_s,
                until_s,
                limit,
                group_by,
                models: params.all("models").into_iter().map(Into::into).collect(),
                keys: params.all("api_key_ids").into_iter().map(Into::into).collect(),
                embeddings: match what {
                    What::Completions => Some(false),
                    What::Embeddings => Some(true),
                    What::Costs => None,
                },
            },
            by_line_item,
            line_items,
            format: params.format(&[Format::Json, Format::Csv])?,
        })
    }

    /// Where the next page begins, and the end of the whole, so that pages which are read until now have one end.
    pub fn cursor(&self, next_s: Option<u64>) -> Option<String> {
        let next_s = next_s?;
        Some(format!("page_{next_s}_{}", self.buckets.until_s))
    }
}

fn read_width(params: &Params, what: What) -> Result<(Bucket, u64), Refusal> {
    let (width, default, most) = match (params.one("bucket_width")?, what) {
        (None | Some("1d"), What::Costs) => (Bucket::Day, 7, 180),
        (None | Some("1d"), _) => (Bucket::Day, 7, 31),
        (Some("1h"), _) => (Bucket::Hour, 24, 168),
        (Some("1m"), _) => (Bucket::Minute, 60, 1440),
        (Some(_), _) => return Err(invalid("bucket_width", "write 1m, 1h or 1d")),
    };
    Ok((width, params.number("limit", 1..=most)?.unwrap_or(default)))
}

/// An account has no projects and no users, so grouping by them tells nothing apart and shows them as null.
fn read_groups(params: &Params, what: What, width: Bucket) -> Result<(GroupBy, bool), Refusal> {
    let mut group_by = GroupBy::default();
    let mut by_line_item = false;
    let names = params.all("group_by");
    for name in names.iter().flat_map(|names| names.split(',')).map(str::trim) {
        match (name, what) {
            ("model", _) => group_by.model = true,
            ("api_key_id" | "key", _) => group_by.key = true,
            ("project_id" | "user_id", _) => {}
            ("batch", What::Completions) => {}
            ("line_item", What::Costs) => by_line_item = true,
            ("day", _) if width == Bucket::Day => {}
            ("day", _) => return Err(invalid("group_by", "by day goes with a bucket_width of 1d")),
            _ => {
                let known = match what {
                    What::Costs => "line_item, model, api_key_id, project_id, user_id, day",
                    What::Completions => "model, api_key_id, project_id, user_id, batch, day",
                    What::Embeddings => "model, api_key_id, project_id, user_id, day",
                };
                return Err(invalid("group_by", format!("write some of {known}")));
            }
        }
    }
    if by_line_item {
        (group_by.model, group_by.price_version) = (true, true);
    }
    Ok((group_by, by_line_item))
}

/// From and until, in seconds; of a later page, from where it begins.
fn read_span(params: &Params, now_ms: u64) -> Result<(u64, u64), Refusal> {
    let start = params
        .number("start_time", 0..=LAST_SECOND)?
        .ok_or_else(|| invalid("start_time", "this is required: seconds since 1970"))?;
    let end = params.number("end_time", 0..=LAST_SECOND)?;
    let cursor = params.one("page")?.map(read_cursor).transpose()?;
    let until = end
        .or(cursor.map(|(_, until)| until))
        .unwrap_or(now_ms / 1000 + 1);
    if start >= until {
        return Err(invalid("start_time", "this is not before the end"));
    }
    match cursor {
        None => Ok((start, until)),
        Some((from, _)) if (start..until).contains(&from) => Ok((from, until)),
        Some(_) => Err(invalid("page", "this is a page of another query")),
    }
}

fn read_cursor(text: &str) -> Result<(u64, u64), Refusal> {
    let numbers = text.strip_prefix("page_").and_then(|rest| rest.split_once('_'));
    let read = numbers.and_then(|(from, until)| Some((from.parse().ok()?, until.parse().ok()?)));
    read.filter(|&(_, until): &(u64, u64)| until <= LAST_SECOND)
        .ok_or_else(|| invalid("page", "write the `next_page` of the page before"))
}
