//! The audit log, as it is read.

use crate::admin_api::when::{self, When};
use crate::admin_api::{AuditListView, AuditView};
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Params;
use crate::store::{AuditPage, AuditRow};
use axum::Json;
use axum::extract::State;
use serde_json::Value;

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;

/// `GET /admin/v1/audit?target=&who=&since=&limit=&after=`: the newest first.
pub async fn list(State(admin): State<Admin>, params: Params) -> Result<Json<AuditListView>, AdminError> {
    let params = params.only(&["target", "who", "since", "limit", "after"])?;
    let now_ms = admin.app.clock.unix_ms();
    let since_ms = match params.get("since") {
        None => 0,
        Some(text) => When::parse(text)
            .map_err(|fault| AdminError::invalid("since", fault))?
            .ago(now_ms),
    };
    let number = |name: &'static str, message: &'static str| {
        let parse = |text: &str| text.parse().map_err(|_| AdminError::invalid(name, message));
        params.get(name).map(parse).transpose()
    };
    let below: Option<u64> = number("after", "give what the page before says as `next`")?;
    let limit = number("limit", "write a number from 1 to 1000")?.unwrap_or(u64::from(DEFAULT_PAGE));
    let limit = u32::try_from(limit)
        .ok()
        .filter(|limit| (1..=LARGEST_PAGE).contains(limit))
        .ok_or_else(|| AdminError::invalid("limit", "write a number from 1 to 1000"))?;
    let page = AuditPage {
        target: params.get("target").map(str::to_owned),
        who: params.get("who").map(str::to_owned),
        since_ms,
        below,
        // One more says whether there is another page.
        limit: limit.saturating_add(1),
    };
    let mut rows = admin.app.store.audit(&page).await.map_err(AdminError::internal)?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > wanted;
    rows.truncate(wanted);
    let last = rows.last().filter(|_| has_more);
    let next = last.map(|row| row.number.to_string());
    let data = rows.into_iter().map(view).collect();
    Ok(Json(AuditListView { data, next }))
}

fn view(row: AuditRow) -> AuditView {
    let read = |text: Option<String>| {
        let json = text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        json.unwrap_or(Value::Null)
    };
    AuditView {
        number: row.number,
        at: when::show(row.at_ms),
        who: row.who,
        who_name: row.who_name,
        action: row.action,
        target: row.target,
        before: read(row.before),
        after: read(row.after),
        request_id: row.request_id,
    }
}
