//! The ledger's check: every entry and every balance computed again.

use crate::admin_api::{Money, VerifyView};
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::ledger::{Discrepancy, Verification};
use axum::Json;
use axum::extract::State;

/// `POST /admin/v1/ledger/verify`
pub async fn verify(State(admin): State<Admin>) -> Result<Json<VerifyView>, AdminError> {
    let found = admin.app.ledger.verify().await.map_err(AdminError::internal)?;
    let accounts = admin
        .app
        .ledger
        .balances()
        .await
        .map_err(AdminError::internal)?
        .len();
    Ok(Json(view(found, accounts)))
}

fn view(found: Verification, accounts: usize) -> VerifyView {
    let listed = u64::try_from(found.discrepancies.len()).unwrap_or(u64::MAX);
    let mut discrepancies: Vec<String> = found.discrepancies.iter().map(sentence).collect();
    if found.discrepancies_total > listed {
        discrepancies.push(format!("and {} more", found.discrepancies_total - listed));
    }
    VerifyView {
        ok: found.discrepancies_total == 0,
        entries: found.entries,
        accounts: u64::try_from(accounts).unwrap_or(u64::MAX),
        total: Money(found.cost),
        usage_sources: found
            .usage_sources
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        discrepancies,
    }
}

fn sentence(discrepancy: &Discrepancy) -> String {
    match discrepancy {
        Discrepancy::Cost { id, booked, expected } => {
            let expected =
                expected.map_or_else(|| "beyond 128 bits".to_owned(), |cost| cost.get().to_string());
            format!(
                "{id}: the cost is {} picodollars and should be {expected}",
                booked.get()
            )
        }
        Discrepancy::PriceVersion { id, booked, expected } => {
            format!("{id}: price version {} is not one of {expected}", booked.0)
        }
        Discrepancy::Unreadable { id, booked, expected } => {
            format!("{id}: `{booked}` stands where {expected} should")
        }
        Discrepancy::Balance {
            account,
            booked,
            expected,
        } => {
            let shown = |sum: farebox_domain::money::Picodollars, entries: u64| {
                format!("{} picodollars in {entries} entries", sum.get())
            };
            let booked = booked.map_or_else(|| "nothing".to_owned(), |tally| shown(tally.sum, tally.entries));
            format!(
                "{account}: the balance is {booked} and should be {}",
                shown(expected.sum, expected.entries)
            )
        }
    }
}
