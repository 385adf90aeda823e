//! The ledger held against the engines' own counters.

use crate::admin_api::when::{self, When};
use crate::admin_api::{ComparedView, ReasonView, Reconcile, ReconcileView, ReconciledSpan, ReconciledView};
use crate::engines::counters::prompt_counter_excludes_cached;
use crate::http::admin::change::Admin;
use crate::http::admin::error::{AdminError, Noun};
use crate::http::admin::read::Body;
use crate::ledger::reconcile::{Compared, Reconciled};
use crate::reconcile::{self, EngineReport, Wanted};
use axum::Json;
use axum::extract::State;

const DAY_MS: u64 = 86_400_000;

/// `POST /admin/v1/ledger/reconcile`. The engines are asked first, so that the span reaches up to now.
pub async fn report(
    State(admin): State<Admin>,
    Body(wanted): Body<Reconcile>,
) -> Result<Json<ReconcileView>, AdminError> {
    let app = &admin.app;
    app.sampler.sample().await;
    let now_ms = app.clock.unix_ms();
    let time = |param: &str, text: Option<&String>, otherwise: u64| match text.map(|text| When::parse(text)) {
        None => Ok(otherwise),
        Some(Ok(when)) => Ok(when.ago(now_ms)),
        Some(Err(fault)) => Err(AdminError::invalid(param, fault)),
    };
    // Before the ledger is read: what is booked meanwhile is in both, and nothing is in neither.
    let in_outbox = app.in_outbox();
    let wanted = Wanted {
        since_ms: time("since", wanted.since.as_ref(), now_ms.saturating_sub(DAY_MS))?,
        until_ms: time("until", wanted.until.as_ref(), now_ms)?,
        engine: wanted.engine.map(|name| known_engine(&admin, name)).transpose()?,
        longest_request: app.settings.timeouts.total,
        in_outbox: in_outbox.unwrap_or(0),
    };
    if wanted.until_ms < wanted.since_ms {
        return Err(AdminError::invalid("until", "this is before `since`"));
    }
    let reports = reconcile::reconcile(
        &app.registry(),
        app.ledger.as_ref(),
        app.counters.as_ref(),
        &wanted,
    )
    .await
    .map_err(AdminError::internal)?;
    let explained = reports
        .iter()
        .filter_map(|report| report.reconciled.as_ref())
        .all(Reconciled::is_explained);
    let data = reports.into_iter().map(view).collect();
    Ok(Json(ReconcileView {
        explained,
        in_outbox,
        data,
    }))
}

fn known_engine(admin: &Admin, name: String) -> Result<farebox_domain::ids::EngineName, AdminError> {
    let registry = admin.app.registry();
    let engines = registry.engines();
    match engines.iter().find(|engine| engine.name.as_str() == name) {
        Some(engine) => Ok(engine.name.clone()),
        None => Err(AdminError::NotFound {
            what: Noun::Engine,
            name,
            param: Some("engine"),
            hint: "; `farebox engine list` shows those that there are",
        }),
    }
}

fn view(report: EngineReport) -> ReconciledView {
    let prompt_excludes_cached = prompt_counter_excludes_cached(report.kind);
    let span = report.reconciled.map(|found| ReconciledSpan {
        from: when::show(found.from_ms),
        until: when::show(found.until_ms),
        samples: found.samples,
        restarts: found.restarts,
        requests: found.requests,
        prompt_excludes_cached,
        prompt: compared(&found.prompt),
        generation: compared(&found.generation),
        cached_by_engine: found.cached.map(|(engine, _)| engine),
        cached_by_ledger: found.cached.map(|(_, ledger)| ledger),
    });
    ReconciledView {
        engine: report.engine,
        kind: report.kind.as_str().into(),
        span,
    }
}

fn compared(found: &Compared) -> ComparedView {
    let reasons = found.reasons.iter().map(|reason| ReasonView {
        why: reason.why.as_str().into(),
        count: reason.count,
        least: shown(reason.least),
        most: shown(reason.most),
    });
    ComparedView {
        engine: found.engine,
        ledger: found.ledger,
        difference: shown(i128::from(found.engine) - i128::from(found.ledger)),
        reasons: reasons.collect(),
        unexplained: shown(found.unexplained),
    }
}

/// As a number that JSON has; what is beyond is shown as its end.
fn shown(tokens: i128) -> i64 {
    let end = if tokens < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(tokens).unwrap_or(end)
}
