//! Money: what an account pays in, may owe and may spend in a month, and what a key may.

use crate::admin_api::money::{
    AdjustmentView, BalanceView, CreditView, KeySpendingChange, KeySpendingView, MonthView, NewCredit,
    SpendingChange,
};
use crate::admin_api::{Money, Page};
use crate::admission::directory::{Account, ApiKey};
use crate::admission::wallet::MonthReading;
use crate::app::App;
use crate::bill::show_adjustment;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::AdminError;
use crate::http::admin::page::{PageOf, no_such_place};
use crate::http::admin::read::{Body, Params};
use crate::http::admin::{accounts, keys};
use crate::ledger::AdjustmentPage;
use axum::Json;
use axum::extract::{Path, State};
use farebox_domain::ids::{AdjustmentId, KeyId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use serde_json::{Value, json};
use std::sync::Arc;

/// Characters of a reference.
pub const REFERENCE_LIMIT_CHARS: usize = 200;
/// Characters of a note.
pub const NOTE_LIMIT_CHARS: usize = 1000;

/// `POST /admin/v1/accounts/{account}/credit`. The first credit of an account that has no ceiling makes it prepaid.
pub async fn credit(
    State(admin): State<Admin>,
    who: Who,
    Path(account): Path<String>,
    Body(new): Body<NewCredit>,
) -> Result<Json<CreditView>, AdminError> {
    let account = accounts::find(&admin, &account, None)?;
    let amount = read_usd("usd", &new.usd)?;
    if amount == Picodollars::ZERO {
        return Err(AdminError::invalid("usd", "a credit of nothing changes nothing"));
    }
    check_text("reference", &new.reference, 1, REFERENCE_LIMIT_CHARS)?;
    check_text("note", &new.note, 0, NOTE_LIMIT_CHARS)?;
    let (app, of) = (Arc::clone(&admin.app), Arc::clone(&account));
    let booked = admin
        .change(&who, "account.credit", async move {
            let now_ms = app.clock.unix_ms();
            let credit = Adjustment {
                id: app.secrets.adjustment_id(now_ms),
                account: of.id.clone(),
                kind: AdjustmentKind::Credit,
                amount,
                request: None,
                price_version: None,
                reference: new.reference,
                note: new.note,
                booked_at_ms: now_ms,
            };
            let booked = app.ledger.adjust(&[credit]).await.map_err(AdminError::internal)?;
            if of.wallet.read(Month::of_ms(now_ms)).credit_limit.is_none() {
                set_postpaid(&app, &of, Some(Picodollars::ZERO)).await?;
            }
            announce(&app, &booked);
            let Some(credit) = booked.first() else {
                return Ok(Changed::nothing(false));
            };
            Changed::of(of.id.as_str(), true).after(&show_adjustment(credit))
        })
        .await?;
    let balance = balance_of(&admin.app, &account);
    Ok(Json(CreditView { booked, balance }))
}

/// `GET /admin/v1/accounts/{account}/balance`
pub async fn balance(
    State(admin): State<Admin>,
    Path(account): Path<String>,
) -> Result<Json<BalanceView>, AdminError> {
    let account = accounts::find(&admin, &account, None)?;
    Ok(Json(balance_of(&admin.app, &account)))
}

/// The parameters of [`adjustments`].
pub const LIST_PARAMS: &[&str] = &["search", "limit", "after"];

/// `GET /admin/v1/accounts/{account}/adjustments?search=&limit=&after=`: those that a search finds by their reference, their
/// note, their id or that of their request.
pub async fn adjustments(
    State(admin): State<Admin>,
    Path(account): Path<String>,
    params: Params,
) -> Result<Json<Page<AdjustmentView>>, AdminError> {
    let params = params.only(LIST_PARAMS)?;
    let asked = PageOf::read(&params)?;
    let account = accounts::find(&admin, &account, None)?;
    let after = asked.after.map(AdjustmentId::parse).transpose();
    let read = async |after, most| {
        let page = AdjustmentPage {
            account: Some(account.id.clone()),
            after,
            newest_first: true,
            limit: u32::try_from(most).unwrap_or(u32::MAX),
            ..AdjustmentPage::default()
        };
        let found = admin.app.ledger.adjustments(&page).await;
        found.map_err(AdminError::internal)
    };
    let wanted = |one: &Adjustment| {
        let request = one.request.map(|id| id.to_string()).unwrap_or_default();
        asked.finds(&[&one.reference, &one.note, &one.id.to_string(), &request])
    };
    let after = after.map_err(|_| no_such_place())?;
    let (found, has_more) = asked.of(after, read, |one| one.id, wanted).await?;
    let data = found.iter().map(show_adjustment).collect();
    Ok(Json(Page::new(data, has_more, |last: &AdjustmentView| {
        last.id.to_string()
    })))
}

/// `PUT /admin/v1/accounts/{account}/spending`. It holds for the very next request.
pub async fn set(
    State(admin): State<Admin>,
    who: Who,
    Path(account): Path<String>,
    Body(wanted): Body<SpendingChange>,
) -> Result<Json<BalanceView>, AdminError> {
    let account = accounts::find(&admin, &account, None)?;
    let read = |field, said: Option<Option<String>>| match said {
        Some(Some(text)) => read_limit(field, &text).map(|limit| Some(Some(limit))),
        Some(None) => Ok(Some(None)),
        None => Ok(None),
    };
    let postpaid = read("postpaid_usd", wanted.postpaid_usd)?;
    let monthly = read("monthly_usd", wanted.monthly_usd)?;
    if postpaid.is_none() && monthly.is_none() {
        let message = "say `postpaid_usd`, `monthly_usd` or both";
        return Err(AdminError::invalid("monthly_usd", message));
    }
    let (app, of) = (Arc::clone(&admin.app), Arc::clone(&account));
    admin
        .change(&who, "account.spending", async move {
            let before = audited(&app, &of);
            if let Some(limit) = postpaid {
                set_postpaid(&app, &of, limit).await?;
            }
            if let Some(limit) = monthly {
                let stored = app.store.set_monthly_limit(&of.id, limit);
                stored.await.map_err(AdminError::internal)?;
                of.wallet.set_monthly_limit(limit);
            }
            let after = audited(&app, &of);
            Changed::of(of.id.as_str(), ()).before(&before)?.after(&after)
        })
        .await?;
    Ok(Json(balance_of(&admin.app, &account)))
}

/// `GET /admin/v1/keys/{key}/spending`
pub async fn show_key(
    State(admin): State<Admin>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Json<KeySpendingView>, AdminError> {
    params.only(&[])?;
    let key = find_key(&admin, key)?;
    Ok(Json(key_view(&admin, &key)))
}

/// `PUT /admin/v1/keys/{key}/spending`
pub async fn set_key(
    State(admin): State<Admin>,
    who: Who,
    Path(key): Path<String>,
    Body(wanted): Body<KeySpendingChange>,
) -> Result<Json<KeySpendingView>, AdminError> {
    let key = find_key(&admin, key)?;
    let limit = wanted
        .monthly_usd
        .map(|text| read_limit("monthly_usd", &text))
        .transpose()?;
    let (app, of) = (Arc::clone(&admin.app), Arc::clone(&key));
    admin
        .change(&who, "key.spending", async move {
            let month = Month::of_ms(app.clock.unix_ms());
            let monthly = || {
                let reading = of.account.wallet.read_key(&of.id, month);
                json!({ "monthly": reading.limit.map(Money) })
            };
            let before = monthly();
            let stored = app.store.set_key_monthly_limit(&of.id, limit);
            stored.await.map_err(AdminError::internal)?;
            of.account.wallet.set_key_monthly_limit(&of.id, limit);
            let after = monthly();
            Changed::of(of.id.as_str(), ()).before(&before)?.after(&after)
        })
        .await?;
    Ok(Json(key_view(&admin, &key)))
}

fn find_key(admin: &Admin, id: String) -> Result<Arc<ApiKey>, AdminError> {
    let id = KeyId::from(id);
    let found = admin.app.directory.key(&id);
    found.ok_or_else(|| keys::not_found(&id))
}

fn key_view(admin: &Admin, key: &ApiKey) -> KeySpendingView {
    let month = Month::of_ms(admin.app.clock.unix_ms());
    KeySpendingView {
        month: month_view(month, key.account.wallet.read_key(&key.id, month)),
        key: key.id.clone(),
        account: key.account.id.clone(),
    }
}

/// What the audit log has of an account's ceilings.
fn audited(app: &App, account: &Account) -> Value {
    let reading = account.wallet.read(Month::of_ms(app.clock.unix_ms()));
    json!({
        "postpaid": reading.credit_limit.map(Money),
        "monthly": reading.month.limit.map(Money),
    })
}

async fn set_postpaid(app: &App, account: &Account, limit: Option<Picodollars>) -> Result<(), AdminError> {
    let stored = app.store.set_credit_limit(&account.id, limit);
    stored.await.map_err(AdminError::internal)?;
    account.wallet.set_credit_limit(limit);
    Ok(())
}

/// Tells the accounts' wallets of adjustments that were booked just now.
pub fn announce(app: &App, booked: &[Adjustment]) {
    for adjustment in booked {
        if let Some(account) = app.directory.account(&adjustment.account) {
            account.wallet.adjust(adjustment.amount);
        }
    }
}

/// An account's money, now.
pub fn balance_of(app: &App, account: &Account) -> BalanceView {
    let month = Month::of_ms(app.clock.unix_ms());
    let reading = account.wallet.read(month);
    BalanceView {
        account: account.id.clone(),
        balance: Money(reading.balance()),
        postpaid: reading.credit_limit.map(Money),
        held: Money(reading.held),
        available: reading.available().map(Money),
        month: month_view(month, reading.month),
    }
}

fn month_view(month: Month, reading: MonthReading) -> MonthView {
    MonthView {
        month: month.to_string(),
        spent: Money(reading.spent),
        held: Money(reading.held),
        limit: reading.limit.map(Money),
    }
}

/// USD that fit a ledger's column.
pub fn read_usd(field: &'static str, text: &str) -> Result<Picodollars, AdminError> {
    let amount = Picodollars::parse_usd(text).filter(|amount| amount.to_i64().is_ok());
    amount.ok_or_else(|| {
        let message = "write USD as a decimal of at most twelve places in a string, such as \"20\" or \"0.5\", up to \
                       9223372";
        AdminError::invalid(field, message)
    })
}

fn read_limit(field: &'static str, text: &str) -> Result<Picodollars, AdminError> {
    let limit = read_usd(field, text)?;
    if limit < Picodollars::ZERO {
        return Err(AdminError::invalid(field, "a limit is not below zero"));
    }
    Ok(limit)
}

/// A text of people's that is kept with money.
pub fn check_text(field: &'static str, text: &str, least: usize, most: usize) -> Result<(), AdminError> {
    let length = text.chars().count();
    if !(least..=most).contains(&length) || text.chars().any(char::is_control) {
        let message = format!("{least} to {most} characters, and no control characters among them");
        return Err(AdminError::invalid(field, message));
    }
    Ok(())
}
