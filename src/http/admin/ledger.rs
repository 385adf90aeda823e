//! The ledger's check: every entry and every balance computed again. It reads the whole ledger, and commits go on
//! meanwhile.

use crate::admin_api::{DiscrepancyView, Money, VerifyView};
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::ledger::verify::Tally;
use crate::ledger::{Discrepancy, Verification};
use axum::Json;
use axum::extract::State;
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
        Discrepancy::Balance {
            account,
            booked,
            expected,
        } => {
            let booked = booked.map_or("nothing".into(), show_tally);
            ("balance", account.to_string(), booked, show_tally(expected))
        }
    };
    DiscrepancyView {
        kind: kind.into(),
        subject,
        booked,
        expected,
    }
}

fn show_tally(tally: Tally) -> String {
    format!("{} USD in {} entries", tally.sum, tally.entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_domain::money::Picodollars;
    use farebox_domain::price::PriceVersion;

    #[test]
    fn each_discrepancy_says_what_was_booked_and_what_should_be() {
        let tally = Tally {
            sum: Picodollars::new(1_500_000_000_000),
            entries: 3,
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
            Discrepancy::Balance {
                account: "acct_1".into(),
                booked: None,
                expected: tally,
            },
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
balance acct_1: nothing -> 1.5 USD in 3 entries
"#);
    }
}
