//! Refunds: what a request cost, given back in part or in whole, and never more than that.

use crate::admin_api::{Money, NewRefund, RefundView};
use crate::app::App;
use crate::bill::show_adjustment;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::read::Body;
use crate::http::admin::spending;
use crate::ledger::refund::Costs;
use crate::ledger::rerate::REFERENCE_PREFIX;
use axum::Json;
use axum::extract::State;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Entry};
use farebox_domain::money::Picodollars;
use std::sync::Arc;

/// `POST /admin/v1/ledger/refunds`
pub async fn refund(
    State(admin): State<Admin>,
    who: Who,
    Body(new): Body<NewRefund>,
) -> Result<Json<RefundView>, AdminError> {
    let request = RequestId::parse(&new.request).map_err(|fault| AdminError::invalid("request", fault))?;
    let usd = read_amount(&new)?;
    spending::check_text("reference", &new.reference, 1, spending::REFERENCE_LIMIT_CHARS)?;
    spending::check_text("note", &new.note, 0, spending::NOTE_LIMIT_CHARS)?;
    if new.reference.starts_with(REFERENCE_PREFIX) {
        let message = format!("references that begin with `{REFERENCE_PREFIX}` are corrections'");
        return Err(AdminError::invalid("reference", message));
    }
    let found = admin.app.ledger.entry(request).await;
    let entry = found
        .map_err(AdminError::internal)?
        .ok_or_else(|| AdminError::NotFound {
            what: Noun::Request,
            name: new.request.clone(),
            param: Some("request"),
            hint: " in the ledger",
        })?;
    let app = Arc::clone(&admin.app);
    let booked = admin
        .book(&who, "ledger.refund", async move {
            let shown = book(&app, &entry, usd, &new).await?;
            if !shown.booked {
                return Ok(Changed::nothing(shown));
            }
            let after = serde_json::to_value(&shown.refund).map_err(AdminError::internal)?;
            Changed::of(entry.id.to_string(), shown).after(&after)
        })
        .await?;
    Ok(Json(booked))
}

/// How much is asked for; `None` is all of it.
fn read_amount(new: &NewRefund) -> Result<Option<Picodollars>, AdminError> {
    match (&new.usd, new.all) {
        (Some(text), false) => {
            let amount = spending::read_usd("usd", text)?;
            if amount <= Picodollars::ZERO {
                return Err(AdminError::invalid("usd", "a refund is above zero"));
            }
            Ok(Some(amount))
        }
        (None, true) => Ok(None),
        _ => Err(AdminError::invalid("usd", "say `usd`, or `\"all\": true`")),
    }
}

/// Nobody else books while this runs, so that two refunds are not both within what is left.
async fn book(
    app: &App,
    entry: &Entry,
    usd: Option<Picodollars>,
    new: &NewRefund,
) -> Result<RefundView, AdminError> {
    let costs = Costs::of(&*app.ledger, entry)
        .await
        .map_err(AdminError::internal)?;
    let same = costs.adjustments.iter().find(|before| {
        before.reference == new.reference
            && before.kind == AdjustmentKind::Refund
            && usd.is_none_or(|usd| usd == before.amount)
    });
    if let Some(before) = same.cloned() {
        return view(false, before, entry, &costs);
    }
    let left = costs.left().map_err(AdminError::internal)?;
    let amount = usd.unwrap_or(left);
    if amount > left || left <= Picodollars::ZERO {
        let message = format!(
            "the request cost {} USD, corrections gave back {} and refunds {}: {} USD can be given back",
            costs.cost,
            costs.corrected,
            costs.refunded,
            left.max(Picodollars::ZERO)
        );
        return Err(AdminError::invalid(
            if usd.is_some() { "usd" } else { "all" },
            message,
        ));
    }
    let now_ms = app.clock.unix_ms();
    let refund = Adjustment {
        id: app.secrets.adjustment_id(now_ms),
        account: entry.account.clone(),
        kind: AdjustmentKind::Refund,
        amount,
        request: Some(entry.id),
        price_version: None,
        reference: new.reference.clone(),
        note: new.note.clone(),
        booked_at_ms: now_ms,
    };
    let booked = app
        .ledger
        .adjust(std::slice::from_ref(&refund))
        .await
        .map_err(AdminError::internal)?;
    if booked.is_empty() {
        return Err(AdminError::ReferenceTaken {
            reference: new.reference.clone(),
            what: "another amount, another request or another adjustment of this account".into(),
        });
    }
    spending::announce(app, &booked);
    let costs = costs.with(refund.clone()).map_err(AdminError::internal)?;
    view(true, refund, entry, &costs)
}

fn view(booked: bool, refund: Adjustment, entry: &Entry, costs: &Costs) -> Result<RefundView, AdminError> {
    Ok(RefundView {
        booked,
        refund: show_adjustment(&refund),
        account: entry.account.clone(),
        cost: Money(costs.cost),
        corrected: Money(costs.corrected),
        refunded: Money(costs.refunded),
        left: Money(costs.left().map_err(AdminError::internal)?),
    })
}
