//! What an engine itself tells of its KV cache: its events, followed into the index of each model that it serves.

use crate::engines::client::Engine;
use crate::telemetry::log;
use crate::telemetry::metrics::Gauges;
use farebox_domain::catalog::{KvEvents, KvFeed};
use farebox_domain::ids::EngineName;
use farebox_kv_events::{Counters, Endpoint, Feed, Source, follow};
use farebox_routing::{CacheView, Told};
use std::borrow::Borrow;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

/// Between two tries to bind an endpoint that is taken, as it is for a moment when its engine was described anew.
const BIND_EVERY: Duration = Duration::from_secs(1);

/// An engine's events.
#[derive(Debug)]
pub struct Events {
    /// What came of them, and whether they are heard now.
    pub counters: Arc<Counters>,
    from: KvEvents,
    /// Held by who follows them.
    following: Mutex<()>,
    changed: Notify,
}

impl Events {
    /// Those of `same`, another way to call the same server, if they come from the same place; else none has been heard yet.
    pub fn of(from: &KvEvents, same: Option<&Engine>) -> Arc<Self> {
        let known = same.and_then(|same| same.events.as_ref());
        match known.filter(|known| known.from == *from) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Self {
                counters: Arc::default(),
                from: from.clone(),
                following: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    /// Its engine may serve other models from now on.
    pub fn models_changed(&self) {
        self.changed.notify_one();
    }

    /// Tells what came of them, and whether they are heard.
    pub fn read_gauges(&self, engine: &EngineName, gauges: &Gauges) {
        let (name, counters) = (engine.as_str(), &*self.counters);
        let heard = gauges.kv_events_heard.with_label_values(&[name]);
        heard.set(i64::from(counters.hearing.is_heard()));
        for (what, counter) in [
            ("events", &counters.events),
            ("stored", &counters.stored),
            ("removed", &counters.removed),
            ("gaps", &counters.gaps),
            ("replays", &counters.replays),
            ("resets", &counters.resets),
            ("undecodable", &counters.undecodable),
            ("orphans", &counters.orphans),
            ("misfits", &counters.misfits),
        ] {
            gauges.kv_events(name, what, counter.load(Ordering::Relaxed));
        }
    }

    async fn source(&self) -> io::Result<Source> {
        let feed = match &self.from.feed {
            KvFeed::Connect(endpoint) => Feed::Connect(parse(endpoint)?),
            KvFeed::Bind(endpoint) => Feed::Listen(parse(endpoint)?.bind().await?),
        };
        Ok(Source {
            feeds: vec![feed],
            replay: self.from.replay.as_deref().map(parse).transpose()?,
            topic: String::new(),
        })
    }
}

fn parse(endpoint: &str) -> io::Result<Endpoint> {
    endpoint
        .parse()
        .map_err(|fault| io::Error::new(io::ErrorKind::InvalidInput, fault))
}

/// A view that the events keep.
struct Kept(Arc<Told>);

impl Borrow<CacheView> for Kept {
    fn borrow(&self) -> &CacheView {
        &self.0.view
    }
}

/// Follows an engine's events for the models that it serves, until `stop` or until it is called otherwise; nothing where it has
/// none. When it is given other models, it is followed anew. To be spawned by the caller.
pub async fn hear(engine: Arc<Engine>, stop: CancellationToken) {
    let Some(events) = &engine.events else { return };
    let following = async {
        // Who followed it before, as it was called otherwise, ends first: only one may keep a view.
        let _one = events.following.lock().await;
        loop {
            follow_once(&engine, events).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = engine.retired.cancelled() => {}
        () = following => {}
    }
    events.counters.hearing.lost();
}

/// Until its models have changed.
async fn follow_once(engine: &Engine, events: &Events) {
    let source = bound(engine, events).await;
    let told = told_of(engine);
    let views = told.iter().cloned().map(Kept).collect();
    let counters = Arc::clone(&events.counters);
    let mut followed = pin!(follow(source, views, counters, CancellationToken::new()));
    loop {
        tokio::select! {
            () = &mut followed => return,
            () = events.changed.notified() => {}
        }
        let now = told_of(engine);
        let is_same = now.len() == told.len() && now.iter().zip(&told).all(|(a, b)| Arc::ptr_eq(a, b));
        if !is_same {
            return;
        }
    }
}

/// What it tells to each model that it serves now.
fn told_of(engine: &Engine) -> Vec<Arc<Told>> {
    let mut all = Vec::new();
    for model in engine.models() {
        let own = model
            .deployments
            .iter()
            .filter(|one| one.engine.is_same_server(engine));
        all.extend(own.filter_map(|one| one.seat.as_ref()?.told.clone()));
    }
    all
}

/// The source, when its endpoint is free.
async fn bound(engine: &Engine, events: &Events) -> Source {
    let mut was_told = false;
    loop {
        match events.source().await {
            Ok(source) => return source,
            Err(fault) if !was_told => log::kv_events_away(&engine.name, &fault),
            Err(_) => {}
        }
        was_told = true;
        tokio::time::sleep(BIND_EVERY).await;
    }
}
