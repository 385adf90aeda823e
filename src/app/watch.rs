//! What happens now, each second, on this process and, where there are several, on all of them; and what is kept of it for
//! charts.
//!
//! Each process notes in the shared store what it is doing, and reads what the others noted: so whichever is asked tells of all.
//! No request waits for any of it, and where the store is away each tells of itself alone.

use super::App;
use crate::store::{ProcessRow, SeriesRow, StoreFault};
use crate::telemetry::tally::{Counted, RefusedFor, Slice, TtftBy};
use farebox_domain::ids::{AccountId, EngineName, ModelId};
use farebox_domain::money::Picodollars;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);
/// What the figures by the second are taken over, and those by the minute.
const RECENT_SECONDS: usize = 10;
const MINUTE_SECONDS: usize = 60;
/// What the engines' times to the first token are taken over.
const TTFT_MINUTES: usize = 15;
/// A process that said nothing for so long is not counted, and for so long it is remembered.
const SILENT_MS: u64 = 5_000;
const FORGOTTEN_MS: u64 = 24 * 3_600_000;
/// How long the store may take. What comes later is asked for again a second later.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(900);
/// Rows that wait for a store that is away; the oldest are given up.
const UNSAVED_AT_MOST: usize = 240;

/// The lengths of the steps in which counts are kept, and for how long each is.
pub const MINUTE: Step = Step {
    seconds: 60,
    kept_ms: 2 * 24 * 3_600_000,
};
/// The longer one.
pub const HOUR: Step = Step {
    seconds: 3600,
    kept_ms: 32 * 24 * 3_600_000,
};

/// A length of steps in which counts are kept.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// How long each is.
    pub seconds: u64,
    kept_ms: u64,
}

/// What one process is doing, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Doing {
    /// Requests in flight.
    pub in_flight: u64,
    /// Those that wait for a place at an engine.
    pub waiting: u64,
    /// What was counted in the last ten seconds: requests, tokens and refusals.
    pub recent: [u64; 3],
    /// What was booked in the last minute.
    pub minute_cost: Picodollars,
    /// Requests in flight of each account that has any, and what it was refused in the last minute.
    pub accounts: BTreeMap<AccountId, (u64, RefusedFor)>,
    /// Requests in flight at each engine.
    pub engines: BTreeMap<EngineName, u64>,
    /// Requests in flight for each model, and those of them that wait.
    pub models: BTreeMap<ModelId, (u64, u64)>,
    /// Times to the first token in the last quarter of an hour.
    pub ttft: TtftBy,
}

impl Doing {
    /// Puts what another process is doing beside it.
    fn beside(&mut self, other: &Self) {
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.waiting = self.waiting.saturating_add(other.waiting);
        for (own, others) in self.recent.iter_mut().zip(other.recent) {
            *own = own.saturating_add(others);
        }
        self.minute_cost = self
            .minute_cost
            .checked_add(other.minute_cost)
            .unwrap_or(self.minute_cost);
        for (account, (in_flight, refused)) in &other.accounts {
            let own = self.accounts.entry(account.clone()).or_default();
            own.0 = own.0.saturating_add(*in_flight);
            own.1.add(*refused);
        }
        for (engine, in_flight) in &other.engines {
            let own = self.engines.entry(engine.clone()).or_default();
            *own = own.saturating_add(*in_flight);
        }
        for (model, (in_flight, waiting)) in &other.models {
            let own = self.models.entry(model.clone()).or_default();
            own.0 = own.0.saturating_add(*in_flight);
            own.1 = own.1.saturating_add(*waiting);
        }
        self.ttft.then(&other.ttft);
    }
}

/// A moment: what is done, by all and by each.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// All processes together.
    pub all: Doing,
    /// Each of them, this one too.
    pub processes: Vec<ProcessRow>,
}

/// What is seen, for whoever wants to know.
#[derive(Debug)]
pub struct Seen {
    now: watch::Sender<Arc<Moment>>,
    /// What this process counted in the minute and the hour that are not over.
    unfinished: Mutex<Unfinished>,
}

#[derive(Debug, Clone, Default)]
struct Unfinished {
    minute: (u64, Counted),
    hour: (u64, Counted),
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            now: watch::Sender::new(Arc::default()),
            unfinished: Mutex::default(),
        }
    }
}

impl Seen {
    /// Each moment from now on.
    pub fn moments(&self) -> watch::Receiver<Arc<Moment>> {
        self.now.subscribe()
    }

    /// The last moment.
    pub fn last(&self) -> Arc<Moment> {
        Arc::clone(&self.now.borrow())
    }

    /// What this process counted in the step of this length that is not over, and when that began.
    pub fn unfinished(&self, step: Step) -> (u64, Counted) {
        let unfinished = self.unfinished.lock();
        if step.seconds == MINUTE.seconds {
            unfinished.minute.clone()
        } else {
            unfinished.hour.clone()
        }
    }
}

/// Looks each second, until `stop`; what was counted until then is noted.
pub(super) async fn watch(app: Arc<App>, stop: CancellationToken) {
    let mut watching = Watching::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => watching.look(&app).await,
        }
    }
    let now_ms = app.clock.unix_ms();
    watching.count(&app, app.metrics.tally.take(), now_ms);
    watching.note_unfinished(&app);
    watching.save(&app).await;
    if app.replica.is_some() {
        // One that stays is forgotten by the others in time.
        let _ = in_time(app.store.forget_process(&app.process)).await;
    }
}

/// What is kept from one second to the next.
#[derive(Default)]
struct Watching {
    seconds: VecDeque<Slice>,
    /// Times to the first token of each of the last minutes, the newest last.
    ttft_minutes: VecDeque<TtftBy>,
    unsaved: VecDeque<SeriesRow>,
    /// Whether the store answered when it was last asked.
    is_away: bool,
    forgot_at_ms: u64,
}

impl Watching {
    async fn look(&mut self, app: &App) {
        let now_ms = app.clock.unix_ms();
        self.count(app, app.metrics.tally.take(), now_ms);
        let own = self.doing(app);
        let mut moment = Moment {
            at_ms: now_ms,
            all: own.clone(),
            processes: Vec::new(),
        };
        let row = ProcessRow {
            process: app.process.clone(),
            started_at_ms: app.started_at_ms,
            seen_at_ms: now_ms,
            live: serde_json::to_string(&own).unwrap_or_default(),
        };
        if app.replica.is_some() {
            match in_time(exchange(app, &row)).await {
                Ok(others) => {
                    self.is_away = false;
                    for other in others {
                        if let Ok(doing) = serde_json::from_str(&other.live) {
                            moment.all.beside(&doing);
                            moment.processes.push(other);
                        }
                    }
                }
                Err(cause) if !self.is_away => {
                    self.is_away = true;
                    tracing::warn!(
                        cause,
                        "what the other replicas do cannot be read; it is tried again"
                    );
                }
                Err(_) => {}
            }
        }
        moment.processes.push(row);
        count_over_replicas(app, &mut moment.all).await;
        app.seen.now.send_replace(Arc::new(moment));
        self.save(app).await;
    }

    /// Takes a second over, into the minute and the hour that it is of.
    fn count(&mut self, app: &App, mut slice: Slice, now_ms: u64) {
        slice.counted.in_flight = u64::try_from(app.pipeline.in_flight.len()).unwrap_or(u64::MAX);
        let begun = |step: Step| now_ms - now_ms % (step.seconds * 1000);
        let mut unfinished = app.seen.unfinished.lock();
        let Unfinished { minute, hour } = &mut *unfinished;
        let minute_is_over = begun(MINUTE) != minute.0;
        if minute_is_over {
            let rows = [series_row(app, MINUTE, minute), series_row(app, HOUR, hour)];
            self.unsaved.extend(rows.into_iter().flatten());
            *minute = (begun(MINUTE), Counted::default());
            self.ttft_minutes.push_back(TtftBy::default());
            while self.ttft_minutes.len() > TTFT_MINUTES {
                self.ttft_minutes.pop_front();
            }
        }
        if begun(HOUR) != hour.0 {
            *hour = (begun(HOUR), Counted::default());
        }
        minute.1.then(&slice.counted);
        hour.1.then(&slice.counted);
        drop(unfinished);
        if let Some(newest) = self.ttft_minutes.back_mut() {
            newest.then(&slice.ttft);
        }
        self.seconds.push_back(slice);
        while self.seconds.len() > MINUTE_SECONDS {
            self.seconds.pop_front();
        }
    }

    fn doing(&self, app: &App) -> Doing {
        let mut doing = Doing::default();
        for slice in &self.seconds {
            let cost = slice.counted.cost;
            doing.minute_cost = doing.minute_cost.checked_add(cost).unwrap_or(cost);
            for (account, refused) in &slice.refused {
                doing.accounts.entry(account.clone()).or_default().1.add(*refused);
            }
        }
        for Slice { counted, .. } in self.seconds.iter().rev().take(RECENT_SECONDS) {
            let counts = [counted.requests, counted.tokens(), counted.refused()];
            for (sum, count) in doing.recent.iter_mut().zip(counts) {
                *sum = sum.saturating_add(count);
            }
        }
        for minute in &self.ttft_minutes {
            doing.ttft.then(minute);
        }
        for live in app.pipeline.in_flight.all() {
            doing.in_flight += 1;
            doing.accounts.entry(live.account.clone()).or_default().0 += 1;
            doing.models.entry(live.model.model.id.clone()).or_default().0 += 1;
        }
        for engine in app.registry().engines() {
            doing
                .engines
                .insert(engine.name.clone(), engine.in_flight().into());
        }
        for served in app.registry().models() {
            let waiting = u64::try_from(served.room.waiting()).unwrap_or(u64::MAX);
            doing.waiting = doing.waiting.saturating_add(waiting);
            doing.models.entry(served.model.id.clone()).or_default().1 = waiting;
        }
        doing
    }

    fn note_unfinished(&mut self, app: &App) {
        let unfinished = app.seen.unfinished.lock().clone();
        let rows = [
            series_row(app, MINUTE, &unfinished.minute),
            series_row(app, HOUR, &unfinished.hour),
        ];
        self.unsaved.extend(rows.into_iter().flatten());
    }

    /// Writes what is to be kept. What could not be written is tried again a second later.
    async fn save(&mut self, app: &App) {
        while let Some(row) = self.unsaved.front() {
            if in_time(app.store.note_series(row)).await.is_err() {
                break;
            }
            self.unsaved.pop_front();
        }
        while self.unsaved.len() > UNSAVED_AT_MOST {
            self.unsaved.pop_front();
        }
        let now_ms = app.clock.unix_ms();
        if now_ms.saturating_sub(self.forgot_at_ms) >= HOUR.seconds * 1000 {
            self.forgot_at_ms = now_ms;
            for step in [MINUTE, HOUR] {
                // An hour later it is tried again.
                let _ = in_time(
                    app.store
                        .forget_series(step.seconds, now_ms.saturating_sub(step.kept_ms)),
                )
                .await;
            }
        }
    }
}

/// Processes look at different moments, and requests go from one to another meanwhile: where the places of accounts are
/// counted over all of them, that count is told.
async fn count_over_replicas(app: &App, all: &mut Doing) {
    let Some(shared) = &app.pipeline.shared else {
        return;
    };
    let accounts: Vec<AccountId> = all.accounts.keys().cloned().collect();
    let counting = tokio::time::timeout(ANSWER_TIMEOUT, shared.read(accounts.clone()));
    let Ok(Some(counted)) = counting.await else {
        return;
    };
    for (account, counted) in accounts.iter().zip(counted) {
        if let Some(told) = all.accounts.get_mut(account) {
            told.0 = counted.all.into();
        }
    }
}

/// A row of what was counted, unless nothing was.
fn series_row(app: &App, step: Step, (at_ms, counted): &(u64, Counted)) -> Option<SeriesRow> {
    if *counted == Counted::default() {
        return None;
    }
    Some(SeriesRow {
        step_seconds: step.seconds,
        at_ms: *at_ms,
        // Of one start: what a replica counted in an hour before it was started again stays beside what it counts now.
        process: format!("{}/{}", app.process, app.started_at_ms),
        counted: serde_json::to_string(counted).ok()?,
    })
}

/// Notes what this process does, and reads what the others noted.
async fn exchange(app: &App, row: &ProcessRow) -> Result<Vec<ProcessRow>, StoreFault> {
    let forget_before_ms = row.seen_at_ms.saturating_sub(FORGOTTEN_MS);
    app.store.note_process(row, forget_before_ms).await?;
    let mut others = app
        .store
        .processes(row.seen_at_ms.saturating_sub(SILENT_MS))
        .await?;
    others.retain(|other| other.process != row.process);
    Ok(others)
}

async fn in_time<T>(asked: impl Future<Output = Result<T, StoreFault>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answered) => answered.map_err(|fault| crate::telemetry::log::chain(&fault)),
        Err(_) => Err("it did not answer in time".into()),
    }
}
