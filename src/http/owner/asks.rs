//! `POST /v1/me/rate_limit/request` and `GET /v1/me/rate_limit/requests`: an owner asks for a higher limit, and sees what
//! became of it.

use crate::admin_api::{LimitRequestView, List, NewLimitRequest};
use crate::app::App;
use crate::bill::BillFault;
use crate::http::admin::requests::view;
use crate::http::owner::asking::{Asking, json, read_body};
use crate::http::owner::params::{Params, invalid};
use crate::store::{LimitRequestRow, RequestState};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use farebox_domain::key::Scope;
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

const BODY_LIMIT_BYTES: usize = 16 << 10;
const REASON_LIMIT_CHARS: usize = 1000;
/// Of an account's requests, the newest: one is open at a time.
const MOST_SHOWN: usize = 1000;

/// Asks. Whoever has a request open waits until it is decided.
pub async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let asking = match Asking::let_in(&app, &head, &mut body, Scope::Usage).await {
        Ok(asking) => asking,
        Err(refused) => return refused,
    };
    let answered = match read_body(&app, &head, &mut body, BODY_LIMIT_BYTES).await {
        Ok(bytes) => ask(&app, &asking, &bytes).await,
        Err(refusal) => Err(refusal),
    };
    asking.answer(&app, answered)
}

async fn ask(app: &App, asking: &Asking, bytes: &[u8]) -> Result<Response<Body>, Refusal> {
    let new: NewLimitRequest = serde_json::from_slice(bytes).map_err(|_| {
        let message = "write {\"rate_limit\": 400, \"reason\": \"...\"}, and `tpm_rate_limit` if tokens a minute matter";
        Refusal::invalid(message, None)
    })?;
    if new.rate_limit == 0 {
        return Err(invalid("rate_limit", "write how many requests at once you need"));
    }
    if new
        .tpm_rate_limit
        .is_some_and(|limit| i64::try_from(limit).is_err())
    {
        return Err(invalid("tpm_rate_limit", "that is more than can be counted"));
    }
    let length = new.reason.chars().count();
    let has_control = |letter: char| letter.is_control() && letter != '\n';
    if !(1..=REASON_LIMIT_CHARS).contains(&length) || new.reason.contains(has_control) {
        return Err(invalid("reason", "say why in 1 to 1000 characters"));
    }
    let row = LimitRequestRow {
        id: app.secrets.limit_request_id(),
        account: asking.account().clone(),
        key: asking.key.id.clone(),
        rate_limit: new.rate_limit,
        tpm_rate_limit: new.tpm_rate_limit,
        reason: new.reason,
        created_at_ms: app.clock.unix_ms(),
        state: RequestState::Open,
        decided_at_ms: None,
        decided_by: None,
        note: None,
        granted: None,
    };
    let added = app.store.create_limit_request(&row).await;
    if !added.map_err(|fault| asking.failed(&BillFault::from(fault)))? {
        let message = "the account has a request open already; it is decided first";
        return Err(Refusal::invalid(message, None));
    }
    Ok(json(&shown(app, asking, row)))
}

/// The account's requests, the newest first.
pub async fn list(State(app): State<Arc<App>>, asking: Asking, params: Params) -> Response<Body> {
    let found = match params.only(&[]) {
        Ok(()) => {
            let rows = app
                .store
                .limit_requests(Some(asking.account()), None, None, MOST_SHOWN)
                .await;
            rows.map_err(|fault| asking.failed(&BillFault::from(fault)))
        }
        Err(refusal) => Err(refusal),
    };
    let answered = found.map(|rows| {
        let data = rows.into_iter().map(|row| shown(&app, &asking, row)).collect();
        json(&List { data })
    });
    asking.answer(&app, answered)
}

/// Who decided is not for the owner.
fn shown(app: &App, asking: &Asking, row: LimitRequestRow) -> LimitRequestView {
    LimitRequestView {
        decided_by: None,
        ..view(app, &asking.key.account, row)
    }
}
