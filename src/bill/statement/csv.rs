//! A statement as CSV: one row for each thing that was used, each adjustment and each sum, told apart by `row`.

use crate::admin_api::Money;
use crate::admin_api::bill::{ItemView, NamedPriceView, StatementLineView, StatementView};
use crate::admin_api::money::AdjustmentView;
use crate::bill::csv::{Cell, header, line};

/// The columns. `amount` is what a `usage` row costs, what an `adjustment` adds to the balance, and the sum or the
/// balance itself elsewhere.
pub const COLUMNS: [&str; 18] = [
    "row",
    "month",
    "model",
    "endpoint",
    "price_version",
    "price_holds_since",
    "item",
    "quantity",
    "unit_price_picodollars",
    "unit_price_usd_per_million",
    "amount_picodollars",
    "amount_usd",
    "time",
    "kind",
    "id",
    "request_id",
    "reference",
    "note",
];

/// A row that is being filled.
#[derive(Debug, Default)]
struct Row {
    row: &'static str,
    month: String,
    model: Option<String>,
    endpoint: Option<String>,
    price_version: Option<i64>,
    price_holds_since: Option<String>,
    item: Option<String>,
    quantity: Option<u64>,
    unit_price_picodollars: Option<String>,
    unit_price_usd: Option<String>,
    amount: Option<Money>,
    time: Option<String>,
    adjustment: Option<AdjustmentView>,
}

/// All of it.
pub fn csv(statement: &StatementView) -> String {
    let row = |name: &'static str| Row {
        row: name,
        month: statement.month.clone(),
        ..Row::default()
    };
    let sum = |name: &'static str, amount: Money, time: &str| Row {
        amount: Some(amount),
        time: Some(time.into()),
        ..row(name)
    };
    let mut rows = vec![sum(
        "opening_balance",
        statement.opening_balance,
        &statement.since,
    )];
    for line in &statement.lines {
        rows.push(requests_row(line, row("usage")));
        rows.extend(line.items.iter().map(|item| item_row(line, item, row("usage"))));
    }
    rows.push(sum("usage_total", statement.usage_total, &statement.until));
    rows.extend(
        statement
            .adjustments
            .iter()
            .map(|adjustment| adjustment_row(adjustment, row("adjustment"))),
    );
    rows.push(sum(
        "adjustments_total",
        statement.adjustments_total,
        &statement.until,
    ));
    rows.push(sum(
        if statement.is_open() {
            "balance_so_far"
        } else {
            "closing_balance"
        },
        statement.closing_balance,
        &statement.until,
    ));
    for price in &statement.prices {
        rows.extend(price_rows(price, row));
    }
    let lines: String = rows.iter().map(Row::line).collect();
    header(&COLUMNS) + &lines
}

fn of_line(line: &StatementLineView, row: Row) -> Row {
    Row {
        model: Some(line.model.to_string()),
        endpoint: Some(line.endpoint.clone()),
        price_version: Some(line.price_version),
        price_holds_since: line.price_holds_since.clone(),
        ..row
    }
}

fn requests_row(line: &StatementLineView, row: Row) -> Row {
    Row {
        item: Some("requests".into()),
        quantity: Some(line.requests),
        ..of_line(line, row)
    }
}

fn item_row(line: &StatementLineView, item: &ItemView, row: Row) -> Row {
    let price = item.unit_price.as_ref();
    Row {
        item: Some(item.item.clone()),
        quantity: item.quantity,
        unit_price_picodollars: price.map(|price| price.picodollars.clone()),
        unit_price_usd: price.map(|price| price.usd_per_million.clone()),
        amount: item.amount,
        ..of_line(line, row)
    }
}

fn adjustment_row(adjustment: &AdjustmentView, row: Row) -> Row {
    Row {
        price_version: adjustment.price_version,
        amount: Some(adjustment.amount),
        time: Some(adjustment.booked_at.clone()),
        adjustment: Some(adjustment.clone()),
        ..row
    }
}

fn price_rows(version: &NamedPriceView, row: impl Fn(&'static str) -> Row) -> Vec<Row> {
    let Some(price) = &version.price else {
        return vec![];
    };
    let parts = [
        ("uncached_prompt_tokens", &price.input),
        (
            "cached_prompt_tokens",
            price.cached_input.as_ref().unwrap_or(&price.input),
        ),
        ("completion_tokens", &price.output),
    ];
    let rows = parts.into_iter().map(|(item, usd)| Row {
        model: Some(version.model.to_string()),
        price_version: Some(version.version),
        price_holds_since: version.holds_since.clone(),
        item: Some(item.into()),
        unit_price_usd: Some(usd.clone()),
        ..row("price")
    });
    rows.collect()
}

impl Row {
    fn line(&self) -> String {
        let adjustment = self.adjustment.as_ref();
        line(&[
            Cell::text(Some(self.row)),
            Cell::text(Some(&self.month)),
            Cell::text(self.model.as_ref()),
            Cell::text(self.endpoint.as_ref()),
            Cell::number(self.price_version),
            Cell::text(self.price_holds_since.as_ref()),
            Cell::text(self.item.as_ref()),
            Cell::number(self.quantity),
            Cell::number(self.unit_price_picodollars.as_ref()),
            Cell::number(self.unit_price_usd.as_ref()),
            Cell::number(self.amount.map(|amount| amount.0.get())),
            Cell::number(self.amount.map(|amount| amount.0)),
            Cell::text(self.time.as_ref()),
            Cell::text(adjustment.map(|adjustment| &adjustment.kind)),
            Cell::text(adjustment.map(|adjustment| adjustment.id)),
            Cell::text(adjustment.and_then(|adjustment| adjustment.request)),
            Cell::text(adjustment.map(|adjustment| &adjustment.reference)),
            Cell::text(adjustment.map(|adjustment| &adjustment.note)),
        ])
    }
}
