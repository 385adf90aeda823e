//! The audit log, as it is read.

use crate::admin_api::when::{self, When};
use crate::admin_api::{AuditView, Page};
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::admin::page::{PageOf, no_such_place};
use crate::http::admin::read::Params;
use crate::store::{AuditPage, AuditRow};
use axum::Json;
use axum::extract::State;
use serde_json::Value;

/// The parameters of [`list`].
pub const LIST_PARAMS: &[&str] = &["target", "who", "since", "limit", "after"];

/// `GET /admin/v1/audit?target=&who=&since=&limit=&after=`: the newest first.
pub async fn list(State(admin): State<Admin>, params: Params) -> Result<Json<Page<AuditView>>, AdminError> {
    let params = params.only(LIST_PARAMS)?;
    let asked = PageOf::read(&params)?;
    let now_ms = admin.app.clock.unix_ms();
    let since_ms = match params.get("since") {
        None => 0,
        Some(text) => When::parse(text)
            .map_err(|fault| AdminError::invalid("since", fault))?
            .ago(now_ms),
    };
    let below = asked
        .after
        .map(|number| number.parse::<u64>().map_err(|_| no_such_place()));
    let read = async |below, most| {
        let page = AuditPage {
            target: params.get("target").map(str::to_owned),
            who: params.get("who").map(str::to_owned),
            since_ms,
            below,
            limit: u32::try_from(most).unwrap_or(u32::MAX),
        };
        admin.app.store.audit(&page).await.map_err(AdminError::internal)
    };
    let (rows, has_more) = asked
        .of(below.transpose()?, read, |row| row.number, |_| true)
        .await?;
    let data = rows.into_iter().map(view).collect();
    Ok(Json(Page::new(data, has_more, |last: &AuditView| {
        last.number.to_string()
    })))
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
