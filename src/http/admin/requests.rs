//! Requests for more, as those who decide them see them. An approval is the limit, for the very next request.

use crate::admin_api::{ApproveRequest, DeclineRequest, LimitRequestView, Page, when};
use crate::admission::directory::Account;
use crate::app::App;
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::page::{PageOf, no_such_place};
use crate::http::admin::read::{Body, Params};
use crate::http::admin::{accounts, limits, spending};
use crate::store::{Decision, LimitRequestRow, RequestState};
use axum::Json;
use axum::extract::{Path, State};
use std::sync::Arc;

/// The parameters of [`list`].
pub const LIST_PARAMS: &[&str] = &["state", "account", "search", "limit", "after"];

/// `GET /admin/v1/limit-requests?state=&account=&search=&limit=&after=`: those that a search finds by their id, their reason
/// or their account's name or id.
pub async fn list(
    State(admin): State<Admin>,
    params: Params,
) -> Result<Json<Page<LimitRequestView>>, AdminError> {
    let params = params.only(LIST_PARAMS)?;
    let asked = PageOf::read(&params)?;
    let state = params.get("state").map(str::parse::<RequestState>).transpose();
    let state = state.map_err(|_| AdminError::invalid("state", "write open, approved or declined"))?;
    let account = match params.get("account") {
        Some(name) => Some(accounts::find(&admin, name, Some("account"))?),
        None => None,
    };
    let of = account.as_ref().map(|account| &account.id);
    let (store, directory) = (&admin.app.store, &admin.app.directory);
    let after = match asked.after {
        Some(id) => {
            let listed = store.limit_request(id).await.map_err(AdminError::internal)?;
            Some(listed.ok_or_else(no_such_place)?.age())
        }
        None => None,
    };
    let (rows, has_more) = asked
        .of(
            after,
            async |after: Option<_>, most| {
                let rows = store.limit_requests(of, state, after.as_ref(), most).await;
                rows.map_err(AdminError::internal)
            },
            LimitRequestRow::age,
            |row| {
                let account = directory.account(&row.account);
                let name = account.as_ref().map_or("", |account| &account.name);
                account.is_some() && asked.finds(&[&row.id, &row.reason, name, row.account.as_str()])
            },
        )
        .await?;
    let data = rows.into_iter().filter_map(|row| {
        let account = directory.account(&row.account)?;
        Some(view(&admin.app, &account, row))
    });
    let data = data.collect();
    Ok(Json(Page::new(data, has_more, |last: &LimitRequestView| {
        last.id.clone()
    })))
}

/// `POST /admin/v1/limit-requests/{request}/approve`
pub async fn approve(
    State(admin): State<Admin>,
    who: Who,
    Path(id): Path<String>,
    Body(wanted): Body<ApproveRequest>,
) -> Result<Json<LimitRequestView>, AdminError> {
    decide(&admin, &who, id, wanted.note, Some(wanted.concurrent_requests)).await
}

/// `POST /admin/v1/limit-requests/{request}/decline`
pub async fn decline(
    State(admin): State<Admin>,
    who: Who,
    Path(id): Path<String>,
    Body(wanted): Body<DeclineRequest>,
) -> Result<Json<LimitRequestView>, AdminError> {
    decide(&admin, &who, id, wanted.note, None).await
}

/// `granted` is `None` to decline, and has no number where what was asked for is given.
async fn decide(
    admin: &Admin,
    who: &Who,
    id: String,
    note: String,
    granted: Option<Option<u32>>,
) -> Result<Json<LimitRequestView>, AdminError> {
    spending::check_text("note", &note, 0, spending::NOTE_LIMIT_CHARS)?;
    let (app, by) = (Arc::clone(&admin.app), who.staff.name.as_ref().to_owned());
    let action = if granted.is_some() {
        "limit_request.approve"
    } else {
        "limit_request.decline"
    };
    let shown = admin
        .change(who, action, async move {
            let (row, account) = find(&app, &id).await?;
            if row.state != RequestState::Open {
                let state = row.state.as_str();
                return Err(AdminError::Decided { id, state });
            }
            let decision = Decision {
                at_ms: app.clock.unix_ms(),
                by,
                note,
                granted: granted.map(|number| number.unwrap_or(row.rate_limit)),
            };
            let before = limits::audited(&app, &account);
            let stored = app.store.decide_limit_request(&id, &account.id, &decision);
            let is_ours = stored.await.map_err(AdminError::internal)?;
            let (row, account) = find(&app, &id).await?;
            if !is_ours {
                let state = row.state.as_str();
                return Err(AdminError::Decided { id, state });
            }
            if decision.granted.is_some() {
                account.gate.set_limit(None, decision.granted);
            }
            let mut after = limits::audited(&app, &account);
            after["request"] = id.into();
            after["note"] = decision.note.into();
            let target = account.id.to_string();
            let shown = view(&app, &account, row);
            Changed::of(target, shown).before(&before)?.after(&after)
        })
        .await?;
    Ok(Json(shown))
}

async fn find(app: &App, id: &str) -> Result<(LimitRequestRow, Arc<Account>), AdminError> {
    let row = app.store.limit_request(id).await.map_err(AdminError::internal)?;
    let found = row.and_then(|row| {
        let account = app.directory.account(&row.account)?;
        Some((row, account))
    });
    found.ok_or_else(|| AdminError::NotFound {
        what: Noun::LimitRequest,
        name: id.into(),
        param: None,
        hint: "; `farebox limit requests` lists them",
    })
}

/// A request as it is shown.
pub fn view(app: &App, account: &Account, row: LimitRequestRow) -> LimitRequestView {
    let reading = account.gate.read(app.registry().limits().concurrent_requests);
    LimitRequestView {
        id: row.id,
        account: account.id.clone(),
        account_name: account.name.clone(),
        key: row.key,
        rate_limit: row.rate_limit,
        tpm_rate_limit: row.tpm_rate_limit,
        reason: row.reason,
        state: row.state.as_str().into(),
        created_at: when::show(row.created_at_ms),
        decided_at: row.decided_at_ms.map(when::show),
        note: row.note,
        granted: row.granted,
        decided_by: row.decided_by,
        concurrent_requests: reading.limit,
        in_flight: reading.in_flight,
    }
}
