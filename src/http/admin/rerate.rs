//! Rerating: what a corrected price changes in requests that were billed, shown first and booked when it is asked for.
//!
//! A run that books is kept under the operator's reference, with its version: the same reference again finds it, whatever
//! became of the first time, and books what is missing.

use crate::admin_api::{Money, NewRerate, PriceView, RerateRow, RerateView, when};
use crate::app::App;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Body;
use crate::http::admin::{prices, spending};
use crate::ledger::LedgerFault;
use crate::ledger::rerate::{Booking, Difference, REFERENCE_PREFIX, Rerate, Rerated, rerate};
use crate::store::PriceSource;
use axum::Json;
use axum::extract::State;
use farebox_domain::catalog::Task;
use farebox_domain::ids::ModelId;
use farebox_domain::price::{Price, PriceVersion};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `POST /admin/v1/ledger/rerate`
pub async fn run(
    State(admin): State<Admin>,
    who: Who,
    Body(new): Body<NewRerate>,
) -> Result<Json<RerateView>, AdminError> {
    let asked = read(&admin.app, &new).await?;
    let app = Arc::clone(&admin.app);
    if !new.book {
        let found = rerate(&*app.ledger, &asked, None).await.map_err(refuse)?;
        return Ok(Json(view(&app, asked, found, None)?));
    }
    let reference = new.reference.clone().unwrap_or_default();
    spending::check_text("reference", &reference, 1, spending::REFERENCE_LIMIT_CHARS)?;
    spending::check_text("note", &new.note, 0, spending::NOTE_LIMIT_CHARS)?;
    let booked = admin
        .book(&who, "ledger.rerate", async move {
            let kept = keep(&app, &reference, &new, asked).await?;
            let booking = Booking {
                version: kept.version,
                note: &new.note,
                now_ms: app.clock.unix_ms(),
                new_id: &|ms| app.secrets.adjustment_id(ms),
                announce: &|booked| spending::announce(&app, booked),
            };
            let asked = kept.rerate();
            let found = rerate(&*app.ledger, &asked, Some(&booking))
                .await
                .map_err(refuse)?;
            let model = asked.model.clone();
            let shown = view(&app, asked, found, Some(kept.version))?;
            Changed::of(model.as_str(), shown).after(&new)
        })
        .await?;
    Ok(Json(booked))
}

/// What is asked for, with times that lean on nothing.
async fn read(app: &App, new: &NewRerate) -> Result<Rerate, AdminError> {
    let (model, task) = find_model(app, &new.model).await?;
    let price = prices::read_price(&new.price, task, None)?;
    let now_ms = app.clock.unix_ms();
    let time = |field: &'static str, text: &str| {
        let read = when::When::parse(text).map_err(|fault| AdminError::invalid(field, fault))?;
        Ok::<_, AdminError>(read.ago(now_ms))
    };
    let since_ms = time("since", &new.since)?;
    let until_ms = match &new.until {
        Some(text) => time("until", text)?,
        None => now_ms,
    };
    if until_ms > now_ms {
        let message = "it is in the future; what is to come is billed by `farebox price set`";
        return Err(AdminError::invalid("until", message));
    }
    if since_ms >= until_ms {
        return Err(AdminError::invalid("since", "it is not before `until`"));
    }
    Ok(Rerate {
        model,
        since_ms,
        until_ms,
        price,
    })
}

/// A model by its id or an alias, or one that is sold no more by its id.
async fn find_model(app: &App, name: &str) -> Result<(ModelId, Task), AdminError> {
    if let Some(served) = app.registry().find(name) {
        return Ok((served.model.id.clone(), served.model.task));
    }
    let id = ModelId::from(name);
    let known = app.store.prices(&id).await.map_err(AdminError::internal)?;
    if known.is_empty() {
        return Err(prices::no_model(name));
    }
    Ok((id, Task::Chat))
}

/// A run as it was begun, kept as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    version: PriceVersion,
    model: ModelId,
    price: Price,
    /// The times as they were written, and what they were then.
    since: String,
    until: Option<String>,
    since_ms: u64,
    until_ms: u64,
}

impl Kept {
    fn rerate(&self) -> Rerate {
        Rerate {
            model: self.model.clone(),
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            price: self.price.clone(),
        }
    }
}

/// The run of this reference: the one that was begun before, or a new one with a version of its own. Of two that begin at
/// once one is kept, and both go on with it.
async fn keep(app: &App, reference: &str, new: &NewRerate, asked: Rerate) -> Result<Kept, AdminError> {
    let name = format!("{REFERENCE_PREFIX}{reference}");
    let before = app.store.setting(&name).await.map_err(AdminError::internal)?;
    let text = match before {
        Some(text) => text,
        None => {
            let now_ms = app.clock.unix_ms();
            let added = app
                .store
                .add_price(&asked.model, &asked.price, None, PriceSource::Rerate, now_ms);
            let kept = Kept {
                version: added.await.map_err(AdminError::internal)?,
                model: asked.model.clone(),
                price: asked.price.clone(),
                since: new.since.clone(),
                until: new.until.clone(),
                since_ms: asked.since_ms,
                until_ms: asked.until_ms,
            };
            let text = serde_json::to_vec(&kept).map_err(AdminError::internal)?;
            let stored = app.store.setting_or(&name, &text).await;
            stored.map_err(AdminError::internal)?
        }
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(AdminError::internal)?;
    let is_same = kept.model == asked.model
        && kept.price == asked.price
        && kept.since == new.since
        && kept.until == new.until;
    if is_same {
        return Ok(kept);
    }
    let until = kept.until.as_deref().unwrap_or("then");
    Err(AdminError::ReferenceTaken {
        reference: reference.into(),
        what: format!(
            "a rerate of {} from {} until {until} at another price or for other requests",
            kept.model, kept.since
        ),
    })
}

/// A price so high that a request's cost does not fit is a price that cannot be booked.
fn refuse(fault: LedgerFault) -> AdminError {
    match fault {
        LedgerFault::OutOfRange { .. } | LedgerFault::Overflow => {
            AdminError::invalid("price", "at this price a request costs more than can be booked")
        }
        other => AdminError::internal(other),
    }
}

fn view(
    app: &App,
    asked: Rerate,
    found: Rerated,
    version: Option<PriceVersion>,
) -> Result<RerateView, AdminError> {
    let mut total = Difference::default();
    let mut accounts = Vec::with_capacity(found.accounts.len());
    for (account, difference) in found.accounts {
        total = total.checked_add(difference).map_err(AdminError::internal)?;
        let known = app.directory.account(&account);
        accounts.push(RerateRow {
            account: Some(account),
            account_name: known.map(|known| known.name.clone()),
            ..row(difference)?
        });
    }
    Ok(RerateView {
        model: asked.model,
        since: when::show(asked.since_ms),
        until: when::show(asked.until_ms),
        price: PriceView::from(&asked.price),
        version,
        entries: found.entries,
        corrected_before: found.corrected_before,
        left_refunded: found.left_refunded,
        booked: found.booked,
        accounts,
        total: row(total)?,
    })
}

fn row(difference: Difference) -> Result<RerateRow, AdminError> {
    Ok(RerateRow {
        account: None,
        account_name: None,
        entries: difference.entries,
        cost: Money(difference.cost),
        corrected: Money(difference.corrected),
        difference: Money(difference.amount().map_err(AdminError::internal)?),
    })
}
