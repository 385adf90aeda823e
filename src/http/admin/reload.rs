//! `POST /admin/v1/reload`: models.yaml is read again, by this process.

use crate::admin_api::reload::{ChangeView, Reload, ReloadView};
use crate::app::reload::ReloadFault;
use crate::config::{Change, How, Plan};
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Body;
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// Says what would change, and unless it is a dry run puts it in force.
pub async fn reload(
    State(admin): State<Admin>,
    who: Who,
    Body(asked): Body<Reload>,
) -> Result<Json<ReloadView>, AdminError> {
    if asked.dry_run {
        let plan = admin.app.plan_reload().await.map_err(refusal)?;
        return Ok(Json(view(plan, true)));
    }
    let app = Arc::clone(&admin.app);
    let reloading = async move {
        let done = view(app.reload().await.map_err(refusal)?, false);
        Changed::of("models.yaml", done.clone()).after(&done)
    };
    Ok(Json(admin.change(&who, "models.reload", reloading).await?))
}

fn refusal(fault: ReloadFault) -> AdminError {
    let message = match fault {
        ReloadFault::Store(fault) => return AdminError::internal(fault),
        ReloadFault::NotRead(fault) => return AdminError::internal(fault),
        ReloadFault::NoFile => ReloadFault::NoFile.to_string(),
        fault => format!("models.yaml does not hold, and the old one stays in force:\n{fault}"),
    };
    AdminError::Invalid { message, param: None }
}

fn view(plan: Plan, dry_run: bool) -> ReloadView {
    let names = |names: Vec<&str>| names.into_iter().map(Into::into).collect();
    ReloadView {
        dry_run,
        models: plan.models.into_iter().map(change_view).collect(),
        engines: plan.engines.into_iter().map(change_view).collect(),
        settings: names(plan.settings),
        needs_restart: names(plan.needs_restart),
    }
}

fn change_view(change: Change) -> ChangeView {
    let (how, keys) = match change.how {
        How::Added => ("added", Vec::new()),
        How::Removed => ("removed", Vec::new()),
        How::Changed(keys) => ("changed", keys),
    };
    ChangeView {
        name: change.name,
        change: how.into(),
        keys: keys.into_iter().map(Into::into).collect(),
    }
}
