//! What another replica changed: accounts, keys, limits and prices are read again when the shared store says so.

use super::App;
use crate::store::{Changes, StoreFault};
use farebox_domain::price::PriceSchedule;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How late a change may be seen where its notice is lost.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Reads again what was changed, until `stop`. Where nobody else changes anything it ends at once.
pub(super) async fn refresh(app: Arc<App>, stop: CancellationToken) {
    if let Ok(None) = app.store.revision().await {
        return;
    }
    // Unknown, so all is read once more: what was changed since it was read at the start has moved the revision already.
    let mut seen = None;
    let mut notices: Option<Changes> = None;
    while !stop.is_cancelled() {
        if notices.is_none() {
            notices = app.store.changes().await.unwrap_or(None);
        }
        let told = async {
            match &mut notices {
                Some(changes) => changes.next().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let is_there = tokio::select! {
            () = stop.cancelled() => return,
            is_there = told => is_there,
            () = tokio::time::sleep(POLL_EVERY) => true,
        };
        if !is_there {
            notices = None;
            tokio::time::sleep(POLL_EVERY).await;
        }
        match app.store.revision().await {
            Ok(now) if now == seen => {}
            Ok(now) => match read_again(&app).await {
                Ok(()) => seen = now,
                Err(fault) => not_read(&fault),
            },
            // The database is away, which whoever needs it says.
            Err(_) => {}
        }
    }
}

async fn read_again(app: &App) -> Result<(), StoreFault> {
    let accounts = app.store.accounts().await?;
    let (keys, limits) = (app.store.keys().await?, app.store.limits().await?);
    app.directory.refresh(accounts, keys, limits);
    for served in app.registry.models() {
        let prices = app.store.prices(&served.model.id).await?;
        if let Some(schedule) = PriceSchedule::new(prices) {
            served.prices.replace(schedule);
        }
    }
    Ok(())
}

fn not_read(fault: &StoreFault) {
    let cause: &(dyn std::error::Error + 'static) = fault;
    tracing::warn!(
        cause,
        "what another replica changed could not be read; it is tried again"
    );
}
