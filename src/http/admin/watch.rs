//! The dashboard's figures: an event a second of what happens now, and the series that its charts draw.

use crate::admin_api::watch::{
    LiveAccount, LiveEngine, LiveEvent, LiveModel, LiveOverview, ReplicaView, SeriesPoint, SeriesView,
};
use crate::admin_api::{List, Money, when};
use crate::app::App;
use crate::app::watch::{Doing, HOUR, MINUTE, Moment, Step};
use crate::http::admin::auth::staff_of;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Params;
use crate::http::admin::serving::ttft_view;
use crate::telemetry::tally::Counted;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::sse::{Event, Sse};
use futures_util::stream::{self, Stream};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

/// `GET /admin/v1/live`: it ends with the right to see it, and when farebox drains.
pub async fn live(
    State(admin): State<Admin>,
    headers: HeaderMap,
    params: Params,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, AdminError> {
    params.only(&[])?;
    let mut moments = admin.app.seen.moments();
    // The last one comes at once.
    moments.mark_changed();
    let following = Following {
        app: admin.app,
        headers,
        moments,
    };
    Ok(Sse::new(stream::unfold(following, Following::next)))
}

/// Whoever follows what happens.
struct Following {
    app: Arc<App>,
    headers: HeaderMap,
    moments: watch::Receiver<Arc<Moment>>,
}

impl Following {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        tokio::select! {
            changed = self.moments.changed() => changed.ok()?,
            () = self.app.draining.cancelled() => return None,
        }
        let moment = Arc::clone(&self.moments.borrow_and_update());
        staff_of(&self.app, &Method::GET, &self.headers).await.ok()?;
        let text = serde_json::to_string(&event_of(&self.app, &moment)).ok()?;
        Some((Ok(Event::default().data(text)), self))
    }
}

fn event_of(app: &App, moment: &Moment) -> LiveEvent {
    let all = &moment.all;
    let waits_for = |model: &str| all.models.get(&model.into()).map_or(0, |(_, waiting)| *waiting);
    let registry = app.registry();
    let engines = registry.engines().iter().map(|engine| LiveEngine {
        name: engine.name.clone(),
        in_flight: all.engines.get(&engine.name).copied().unwrap_or(0),
        waiting: engine
            .models()
            .map(|served| waits_for(served.model.id.as_str()))
            .sum(),
        usable: engine.is_usable(),
        drained: engine.is_drained(),
    });
    let models = all.models.iter().map(|(id, (in_flight, waiting))| LiveModel {
        id: id.clone(),
        in_flight: *in_flight,
        waiting: *waiting,
    });
    LiveEvent {
        at: when::show(moment.at_ms),
        overview: overview_of(moment),
        accounts: accounts_of(app, all),
        engines: engines.collect(),
        models: models.collect(),
    }
}

fn overview_of(moment: &Moment) -> LiveOverview {
    let [requests, tokens, refusals] = moment.all.recent.map(a_second);
    LiveOverview {
        replicas: u64::try_from(moment.processes.len()).unwrap_or(u64::MAX),
        in_flight: moment.all.in_flight,
        waiting: moment.all.waiting,
        requests_per_second: requests,
        tokens_per_second: tokens,
        refusals_per_second: refusals,
        cost_per_minute: Money(moment.all.minute_cost),
    }
}

/// A tenth of what was counted in ten seconds.
#[expect(
    clippy::float_arithmetic,
    reason = "a figure to look at; nothing is billed by it"
)]
fn a_second(in_ten: u64) -> f64 {
    f64::from(u32::try_from(in_ten).unwrap_or(u32::MAX)) / 10.0
}

fn accounts_of(app: &App, all: &Doing) -> Vec<LiveAccount> {
    let default = app.registry().limits().concurrent_requests;
    let view = |(id, (in_flight, refused)): (&farebox_domain::ids::AccountId, &(u64, _))| {
        let refused: crate::telemetry::tally::RefusedFor = *refused;
        let known = app.directory.account(id);
        LiveAccount {
            id: id.clone(),
            name: known.as_ref().map(|account| account.name.clone()),
            in_flight: *in_flight,
            concurrent_requests: known.map(|account| account.gate.read(default).limit),
            refused_concurrency: refused.concurrency,
            refused_rate: refused.rate,
            refused_other: refused.other,
        }
    };
    all.accounts.iter().map(view).collect()
}

/// `GET /admin/v1/replicas`: those that said within the last seconds that they live.
pub async fn replicas(
    State(admin): State<Admin>,
    params: Params,
) -> Result<Json<List<ReplicaView>>, AdminError> {
    params.only(&[])?;
    let last = admin.app.seen.last();
    let view = |row: &crate::store::ProcessRow| {
        let doing: Doing = serde_json::from_str(&row.live).unwrap_or_default();
        ReplicaView {
            id: row.process.clone(),
            started_at: when::show(row.started_at_ms),
            seen_at: when::show(row.seen_at_ms),
            in_flight: doing.in_flight,
            this: row.process == admin.app.process,
        }
    };
    let data = last.processes.iter().map(view).collect();
    Ok(Json(List { data }))
}

/// What is asked for: how far back, in which steps, of which kept ones.
const SPANS: [(&str, u64, u64, Step); 4] = [
    ("1h", 3600, 60, MINUTE),
    ("24h", 24 * 3600, 900, MINUTE),
    ("7d", 7 * 24 * 3600, 3600, HOUR),
    ("30d", 30 * 24 * 3600, 6 * 3600, HOUR),
];

/// `GET /admin/v1/series`: of all replicas together.
pub async fn series(State(admin): State<Admin>, params: Params) -> Result<Json<SeriesView>, AdminError> {
    let params = params.only(&["span"])?;
    let asked = params.get("span").unwrap_or("1h");
    let span = SPANS.iter().find(|(name, ..)| *name == asked);
    let (_, back_seconds, step_seconds, kept) =
        *span.ok_or_else(|| AdminError::invalid("span", "expected `1h`, `24h`, `7d` or `30d`"))?;
    let step_ms = step_seconds * 1000;
    let now_ms = admin.app.clock.unix_ms();
    let last_ms = now_ms - now_ms % step_ms;
    let from_ms = (last_ms + step_ms).saturating_sub(back_seconds * 1000);
    let counted = counted_since(&admin.app, kept, from_ms).await?;
    let mut steps: BTreeMap<u64, Counted> = BTreeMap::new();
    for (at_ms, counted) in &counted {
        steps.entry(at_ms - at_ms % step_ms).or_default().then(counted);
    }
    let starts = (from_ms..=last_ms).step_by(usize::try_from(step_ms).unwrap_or(usize::MAX));
    let points = starts.map(|at_ms| point(at_ms, steps.get(&at_ms))).collect();
    Ok(Json(SeriesView {
        from: when::show(from_ms),
        step_seconds,
        points,
    }))
}

/// What all processes counted, by the kept step in which they did.
async fn counted_since(app: &App, kept: Step, from_ms: u64) -> Result<BTreeMap<u64, Counted>, AdminError> {
    let rows = app
        .store
        .series(kept.seconds, from_ms)
        .await
        .map_err(AdminError::internal)?;
    let own = format!("{}/{}", app.process, app.started_at_ms);
    let (unfinished_at, unfinished) = app.seen.unfinished(kept);
    let mut all: BTreeMap<u64, Counted> = BTreeMap::new();
    for row in rows {
        // The hour that is not over was noted, and has grown since.
        if (row.process.as_str(), row.at_ms) != (own.as_str(), unfinished_at) {
            let counted = serde_json::from_str(&row.counted).map_err(AdminError::internal)?;
            all.entry(row.at_ms).or_default().beside(&counted);
        }
    }
    if unfinished_at >= from_ms {
        all.entry(unfinished_at).or_default().beside(&unfinished);
    }
    Ok(all)
}

fn point(at_ms: u64, counted: Option<&Counted>) -> SeriesPoint {
    let counted = counted.cloned().unwrap_or_default();
    SeriesPoint {
        at: when::show(at_ms),
        requests: counted.requests,
        refusals: counted.refusals,
        prompt_tokens: counted.prompt_tokens,
        cached_tokens: counted.cached_tokens,
        completion_tokens: counted.completion_tokens,
        cost: Money(counted.cost),
        ttft_ms: ttft_view(Some(&counted.ttft)),
        in_flight: counted.in_flight,
    }
}
