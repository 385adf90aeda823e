//! The ledger's check: every entry and every balance computed again. It reads the whole ledger, and commits go on
//! meanwhile.

use crate::admin_api::{DiscrepancyView, Money, VerifyView, when};
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::ledger::usage::{UsageGroup, UsageSum};
use crate::ledger::{Discrepancy, SpendingRow, Verification};
use axum::Json;
use axum::extract::State;
use farebox_domain::month::Month;
use std::collections::BTreeMap;

/// `POST /admin/v1/ledger/verify`. That something does not hold is an answer, not an error.
pub async fn verify(State(admin): State<Admin>) -> Result<Json<VerifyView>, AdminError> {
    let found = admin.app.ledger.verify().await.map_err(AdminError::internal)?;
    Ok(Json(view(found)))
}

fn view(found: Verification) -> VerifyView {
    VerifyView {
        ok: found.discrepancies_total == 0,
        entries: found.entries,
        cost: Money(found.cost),
        states: owned(found.states),
        usage_sources: owned(found.usage_sources),
        discrepancies_total: found.discrepancies_total,
        discrepancies: found.discrepancies.into_iter().map(discrepancy_view).collect(),
    }
}

fn owned(counts: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts
        .into_iter()
        .map(|(name, count)| (name.into(), count))
        .collect()
}

fn discrepancy_view(found: Discrepancy) -> DiscrepancyView {
    let (kind, subject, booked, expected) = match found {
        Discrepancy::Cost { id, booked, expected } => {
            let expected = expected.map_or("beyond what can be booked".into(), |cost| format!("{cost} USD"));
            ("cost", id, format!("{booked} USD"), expected)
        }
        Discrepancy::PriceVersion { id, booked, expected } => (
            "price_version",
            id,
            format!("price version {}", booked.0),
            format!("one of {expected}"),
        ),
        Discrepancy::Unreadable { id, booked, expected } => ("unreadable", id, booked, expected.into()),
        Discrepancy::Rollup {
            group,
            booked,
            expected,
        } => (
            "rollup",
            show_group(&group),
            show_booked(booked),
            show_sum(&expected),
        ),
        Discrepancy::DayRollup {
            group,
            booked,
            expected,
        } => (
            "day_rollup",
            show_group(&group),
            show_booked(booked),
            show_sum(&expected),
        ),
        Discrepancy::Correction { id, booked, expected } => {
            let expected = expected.map_or("what it corrects, or its price".into(), |amount| {
                format!("{amount} USD")
            });
            ("correction", id, format!("{booked} USD"), expected)
        }
        Discrepancy::Spending(spending) => (
            "spending",
            show_ceiling(&spending),
            format!("{} USD", spending.booked),
            format!("{} USD", spending.expected),
        ),
    };
    DiscrepancyView {
        kind: kind.into(),
        subject,
        booked,
        expected,
    }
}

fn show_booked(booked: Option<UsageSum>) -> String {
    booked.as_ref().map_or("nothing".into(), show_sum)
}

fn show_sum(sum: &UsageSum) -> String {
    format!(
        "{} USD, {} + {} tokens in {} entries",
        sum.cost, sum.prompt_tokens, sum.completion_tokens, sum.requests
    )
}

fn show_ceiling(spending: &SpendingRow) -> String {
    let month = u32::try_from(spending.period).map(Month::from_index);
    match month {
        Ok(month) if spending.ceiling != "credit" => {
            format!("{} {} {month}", spending.ceiling, spending.owner)
        }
        _ => format!("{} {}", spending.ceiling, spending.owner),
    }
}

fn show_group(group: &UsageGroup) -> String {
    let text = |value: Option<String>| value.unwrap_or_default();
    format!(
        "{} {} {} {}",
        text(group.account.as_ref().map(ToString::to_string)),
        text(group.bucket_ms.map(when::show)),
        text(group.key.as_ref().map(ToString::to_string)),
        text(group.model.as_ref().map(ToString::to_string)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_domain::money::Picodollars;
    use farebox_domain::price::PriceVersion;

    #[test]
    fn each_discrepancy_says_what_was_booked_and_what_should_be() {
        let sum = UsageSum {
            requests: 3,
            prompt_tokens: 10,
            completion_tokens: 2,
            cost: Picodollars::new(1_500_000_000_000),
            ..UsageSum::default()
        };
        let found = [
            Discrepancy::Cost {
                id: "req_1".into(),
                booked: Picodollars::new(1),
                expected: None,
            },
            Discrepancy::PriceVersion {
                id: "req_1".into(),
                booked: PriceVersion(7),
                expected: "m".into(),
            },
            Discrepancy::Unreadable {
                id: "req_1".into(),
                booked: "lost".into(),
                expected: "a state",
            },
            Discrepancy::Rollup {
                group: UsageGroup {
                    account: Some("acct_1".into()),
                    bucket_ms: Some(0),
                    ..UsageGroup::default()
                },
                booked: None,
                expected: sum,
            },
            Discrepancy::Correction {
                id: "adj_1".into(),
                booked: Picodollars::new(1),
                expected: None,
            },
            Discrepancy::Spending(SpendingRow {
                ceiling: "key_month".into(),
                owner: "key_1".into(),
                period: 671,
                booked: Picodollars::new(1),
                expected: Picodollars::ZERO,
            }),
        ];
        let lines: Vec<_> = found
            .into_iter()
            .map(discrepancy_view)
            .map(|told| {
                format!(
                    "{} {}: {} -> {}",
                    told.kind, told.subject, told.booked, told.expected
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
cost req_1: 0.000000000001 USD -> beyond what can be booked
price_version req_1: price version 7 -> one of m
unreadable req_1: lost -> a state
rollup acct_1 1970-01-01T00:00:00Z  : nothing -> 1.5 USD, 10 + 2 tokens in 3 entries
correction adj_1: 0.000000000001 USD -> what it corrects, or its price
spending key_month key_1 2025-12: 0.000000000001 USD -> 0 USD
"#);
    }
}
