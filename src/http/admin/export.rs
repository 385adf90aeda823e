//! The export: how it stands, and what an administrator may do to its queue.

use crate::admin_api::when::{self, When};
use crate::admin_api::{ExportBackfill, ExportChanged, ExportFailureView, ExportView, RefusedEventView};
use crate::http::admin::auth::Who;
use crate::http::admin::change::{Admin, Changed};
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Body;
use crate::ledger::RefusedEvent;
use axum::Json;
use axum::extract::State;

/// `GET /admin/v1/export`
pub async fn show(State(admin): State<Admin>) -> Result<Json<ExportView>, AdminError> {
    let counts = admin
        .app
        .export_queue
        .counts()
        .await
        .map_err(AdminError::internal)?;
    let exporter = admin.app.exporter.as_ref();
    let progress = exporter.map(|exporter| exporter.progress()).unwrap_or_default();
    let format = admin
        .app
        .settings
        .export
        .as_ref()
        .map(|export| export.format.as_str().to_owned());
    let last_failure = progress.last_failure.map(|(at_ms, why)| ExportFailureView {
        at: when::show(at_ms),
        why,
    });
    Ok(Json(ExportView {
        switched_on: counts.switched_on,
        format,
        pending: counts.pending,
        delivered: progress.delivered,
        last_delivery: progress.last_delivery_ms.map(when::show),
        last_failure,
        failing: progress.failing,
        refused_total: counts.refused,
        refused: counts.first_refused.into_iter().map(refused_view).collect(),
    }))
}

fn refused_view((id, refused): (String, RefusedEvent)) -> RefusedEventView {
    RefusedEventView {
        id,
        status: refused.status,
        reason: refused.reason,
        refused_at: when::show(refused.refused_at_ms),
    }
}

fn noted(events: u64) -> Result<Changed<u64>, AdminError> {
    Changed::of("export", events).after(&ExportChanged { events })
}

/// `POST /admin/v1/export/retry`
pub async fn retry(State(admin): State<Admin>, who: Who) -> Result<Json<ExportChanged>, AdminError> {
    let queue = admin.app.export_queue.clone();
    let retry = async move { noted(queue.retry_refused().await.map_err(AdminError::internal)?) };
    let events = admin.change(&who, "export.retry", retry).await?;
    Ok(Json(ExportChanged { events }))
}

/// `POST /admin/v1/export/backfill`
pub async fn backfill(
    State(admin): State<Admin>,
    who: Who,
    Body(wanted): Body<ExportBackfill>,
) -> Result<Json<ExportChanged>, AdminError> {
    let since = When::parse(&wanted.since).map_err(|fault| AdminError::invalid("since", fault))?;
    if admin.app.exporter.is_none() {
        let message =
            "models.yaml names no receiver: give it an `export` section and start farebox again".into();
        return Err(AdminError::Invalid { message, param: None });
    }
    let since_ms = since.ago(admin.app.clock.unix_ms());
    let queue = admin.app.export_queue.clone();
    let backfill = async move { noted(queue.backfill(since_ms).await.map_err(AdminError::internal)?) };
    let events = admin.change(&who, "export.backfill", backfill).await?;
    Ok(Json(ExportChanged { events }))
}

/// `POST /admin/v1/export/off`
pub async fn off(State(admin): State<Admin>, who: Who) -> Result<Json<ExportChanged>, AdminError> {
    if admin.app.exporter.is_some() {
        let message =
            "models.yaml names a receiver: take its `export` section out and start farebox again first"
                .into();
        return Err(AdminError::Invalid { message, param: None });
    }
    let queue = admin.app.export_queue.clone();
    let off = async move {
        let counts = queue.counts().await.map_err(AdminError::internal)?;
        queue.switch_off().await.map_err(AdminError::internal)?;
        noted(counts.pending.saturating_add(counts.refused))
    };
    let events = admin.change(&who, "export.off", off).await?;
    Ok(Json(ExportChanged { events }))
}
