//! What another replica changed: accounts, keys, limits and prices are read again when the shared store says so.

use super::App;
use crate::store::{Changes, StoreFault};
use farebox_domain::price::PriceSchedule;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How late a change may be seen where its notice is lost.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// How long the store may take to answer. What did not come in time is asked for again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads again what was changed, until `stop`, whatever it waits for.
pub(super) async fn refresh(app: Arc<App>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = refresh_for_ever(&app) => {}
    }
}

async fn refresh_for_ever(app: &App) {
    // Unknown, so all is read once more: what was changed since it was read at the start has moved the revision already.
    let mut seen = None;
    let mut notices: Option<Changes> = None;
    loop {
        if notices.is_none() {
            notices = in_time(app.store.changes()).await.unwrap_or(None);
        }
        let told = async {
            match &mut notices {
                Some(changes) => changes.next().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let is_there = tokio::select! {
            is_there = told => is_there,
            () = tokio::time::sleep(POLL_EVERY) => true,
        };
        if !is_there {
            notices = None;
            tokio::time::sleep(POLL_EVERY).await;
        }
        match in_time(app.store.revision()).await {
            Ok(now) if now == seen => {}
            Ok(now) => match in_time(read_again(app)).await {
                Ok(()) => seen = now,
                Err(fault) => not_read(&*fault),
            },
            // The database is away, which whoever needs it says. What listens only would never notice.
            Err(_) => notices = None,
        }
    }
}

/// While nobody makes a change here: what was read before it would overrule it, and take away a limit that was just set.
async fn read_again(app: &App) -> Result<(), StoreFault> {
    let _changing = app.changing.lock().await;
    app.directory.read(&app.store).await?;
    app.admin_tokens.refresh(app.store.admin_tokens().await?);
    app.registry().set_drained(&app.store.drained_engines().await?);
    for served in app.registry().models() {
        let prices = app.store.prices(&served.model.id).await?;
        if let Some(schedule) = PriceSchedule::new(prices) {
            served.prices.replace(schedule);
        }
    }
    Ok(())
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn in_time<T>(asked: impl Future<Output = Result<T, StoreFault>>) -> Result<T, Fault> {
    Ok(tokio::time::timeout(ANSWER_TIMEOUT, asked).await??)
}

fn not_read(cause: &(dyn std::error::Error + Send + Sync + 'static)) {
    tracing::warn!(
        cause = crate::telemetry::log::chain(cause),
        "what another replica changed could not be read; it is tried again"
    );
}
