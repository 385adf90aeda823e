//! The one task that talks to the server: what is asked of it goes out in order, many at a time in one round trip.
//!
//! It alone knows what this replica has in flight, so nothing is let in or given back between the moment at which that
//! is copied and the one at which the server has it.

use super::link::{
    Answer, Link, Script, Standing, ValkeyFault, ValkeyUrl, put_levels, put_place, read_in_flight,
};
use super::round::Round;
use super::table::{Peers, Table};
use super::{Ask, Granted, Levels, Message, Met, PlaceGuard, Shared, SharedRates, Taken};
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;
use redis::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Between two signs of life.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to connect.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// Calls in a round trip: a server is busy with so many for a few milliseconds.
const ROUND: usize = 128;

type Connecting = Pin<Box<dyn Future<Output = Result<Link, ValkeyFault>> + Send>>;

/// See the module.
pub struct Keeper {
    url: ValkeyUrl,
    /// This process among all that ever were.
    name: String,
    clock: Clock,
    metrics: Arc<Metrics>,
    table: Table,
    inbox: mpsc::UnboundedReceiver<Message>,
    /// For the guards that it hands out.
    to: mpsc::UnboundedSender<Message>,
    is_up: watch::Sender<bool>,
    link: Option<Link>,
    /// The last session that was begun, or may have been.
    session: String,
    sessions_begun: u64,
    /// The data set that the server had.
    born: String,
    /// Whether it was said that the server is away.
    is_told: bool,
}

impl Keeper {
    /// A keeper, and the way to it. `name` is no other process's, not even an earlier one's of the same replica.
    pub fn new(url: ValkeyUrl, name: String, clock: Clock, metrics: Arc<Metrics>) -> (Arc<Shared>, Self) {
        let (to, inbox) = mpsc::unbounded_channel();
        let (is_up, up) = watch::channel(false);
        let table = Table::new(clock.now());
        let shared = Arc::new(Shared {
            to: to.clone(),
            is_up: up,
        });
        let keeper = Self {
            url,
            name,
            clock,
            metrics,
            table,
            inbox,
            to,
            is_up,
            link: None,
            session: String::new(),
            sessions_begun: 0,
            born: String::new(),
            is_told: false,
        };
        (shared, keeper)
    }

    /// Serves until `stop`, which comes after the last request; then its session is over.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut beat = tokio::time::interval(BEAT_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connecting = Some(self.connect(Duration::ZERO));
        let mut told = Vec::with_capacity(ROUND);
        loop {
            tokio::select! {
                _ = self.inbox.recv_many(&mut told, ROUND) => self.serve(told.drain(..)).await,
                _ = beat.tick() => self.beat().await,
                linked = until(&mut connecting) => {
                    connecting = None;
                    match linked {
                        Ok(link) => self.register(link).await,
                        Err(fault) => self.tell_away(&fault),
                    }
                }
                () = stop.cancelled() => break,
            }
            if self.link.is_none() && connecting.is_none() {
                connecting = Some(self.connect(RETRY_EVERY));
            }
        }
        self.leave().await;
    }

    fn connect(&self, after: Duration) -> Connecting {
        let url = self.url.clone();
        Box::pin(async move {
            tokio::time::sleep(after).await;
            Link::open(&url).await
        })
    }

    /// Begins a session with all that is in flight here.
    async fn register(&mut self, mut link: Link) {
        self.sessions_begun += 1;
        let session = format!("{}:{}", self.name, self.sessions_begun);
        let mut call = link.call_of(Script::Register);
        call.arg(&self.session).arg(&session).arg(&self.born);
        let places = self.table.places();
        call.arg(places.len());
        for (place, count) in places {
            put_place(&mut call, place, count);
        }
        for (bucket, unit, limit, levels) in self.table.levels(self.clock.now()) {
            put_levels(&mut call, bucket, unit, limit, levels);
        }
        // It may have begun even where nothing is heard of it.
        self.session = session;
        let begun = async {
            let mut answers = link.run(vec![call]).await?;
            Standing::read(answers.pop().unwrap_or(Value::Nil))
        };
        match begun.await {
            Ok(standing) => {
                self.link = Some(link);
                self.born = standing.born.clone().unwrap_or_default();
                self.heard(&standing);
                self.metrics.valkey_up.set(1);
                self.is_up.send_replace(true);
                self.is_told = false;
                tracing::info!(
                    replicas = standing.sessions.len(),
                    "Valkey counts for all replicas"
                );
            }
            Err(fault) => self.tell_away(&fault),
        }
    }

    async fn beat(&mut self) {
        self.table.tidy(self.clock.now());
        let Some(link) = &self.link else { return };
        let mut call = link.call_of(Script::Beat);
        call.arg(&self.session);
        let heard = self.call(vec![call]).await;
        match heard.and_then(|mut answers| Standing::read(answers.pop().unwrap_or(Value::Nil))) {
            Ok(standing) => self.heard(&standing),
            Err(fault) => self.fall_back(&fault),
        }
    }

    fn heard(&mut self, standing: &Standing) {
        let rank = standing
            .sessions
            .iter()
            .position(|session| *session == self.session);
        let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(rank) = rank {
            let peers = Peers {
                replicas: whole(standing.sessions.len()),
                rank: whole(rank),
            };
            self.table.heard_peers(peers, standing.settles_in.is_zero());
        }
    }

    async fn call(&mut self, calls: Vec<redis::Cmd>) -> Result<Vec<Value>, ValkeyFault> {
        let Some(link) = &mut self.link else {
            return Err(ValkeyFault::SessionOver);
        };
        let begun = self.clock.now();
        let answers = link.run(calls).await;
        let took = self.clock.now().saturating_duration_since(begun);
        self.metrics.valkey_seconds.observe(took.as_secs_f64());
        answers
    }

    /// The session is over, and this replica goes by its shares until the next one.
    fn fall_back(&mut self, fault: &ValkeyFault) {
        self.link = None;
        self.table.fall_back(self.clock.now());
        self.metrics.valkey_up.set(0);
        self.is_up.send_replace(false);
        self.tell_away(fault);
    }

    fn tell_away(&mut self, fault: &ValkeyFault) {
        if !std::mem::replace(&mut self.is_told, true) {
            let cause: &(dyn std::error::Error + 'static) = fault;
            tracing::warn!(
                cause = crate::telemetry::log::chain(cause),
                "Valkey is away: this replica goes by its share of every limit and rate"
            );
        }
    }

    async fn serve(&mut self, told: impl Iterator<Item = Message>) {
        let round = Round::of(told, &mut self.table, self.clock.now());
        match self.ask(&round).await {
            Ok(answers) => self.answer(round, answers),
            Err(fault) => {
                if self.link.is_some() {
                    self.fall_back(&fault);
                }
                self.answer_by_share(round);
            }
        }
    }

    /// One round trip.
    async fn ask(&mut self, round: &Round) -> Result<Vec<Value>, ValkeyFault> {
        let Some(link) = &self.link else {
            return Err(ValkeyFault::SessionOver);
        };
        let calls = round.calls(link, &self.session, &self.table, self.clock.now());
        let answers = self.call(calls).await?;
        match answers.first() {
            Some(Value::Int(1)) => Ok(answers),
            _ => Err(ValkeyFault::SessionOver),
        }
    }

    fn answer(&mut self, round: Round, answers: Vec<Value>) {
        let mut answers = answers.into_iter().skip(1);
        let mut fault = None;
        for (ask, reply) in round.asks {
            match Answer::read(answers.next().unwrap_or(Value::Nil)) {
                Ok(answer) => match self.verdict(&ask, answer) {
                    Some(verdict) => drop(reply.send(verdict)),
                    None => fault = Some((ValkeyFault::SessionOver, ask, reply)),
                },
                Err(unreadable) => fault = Some((unreadable, ask, reply)),
            }
            if let Some((fault, ask, reply)) = fault.take() {
                if self.link.is_some() {
                    self.fall_back(&fault);
                }
                let verdict = self.by_share(&ask);
                let _ = reply.send(verdict);
            }
        }
        for (_, reply) in round.reads {
            let read = answers.next().and_then(|answer| read_in_flight(answer).ok());
            let _ = reply.send(read);
        }
    }

    /// What the server's answer means; `None` where the session was over.
    fn verdict(&mut self, ask: &Ask, answer: Answer) -> Option<Result<Granted, Met>> {
        match answer {
            Answer::SessionOver => None,
            Answer::Granted { counts, levels } => {
                self.table.take(&ask.place);
                for (which, count) in counts.into_iter().enumerate() {
                    if let (Some(count), Some(limit)) = (count, ask.limits[which]) {
                        self.table.heard_count(&ask.place, which, count, limit);
                    }
                }
                self.table.heard_levels(ask, &levels, self.clock.now());
                let taken = ask.rates.iter().map(|rate| Taken {
                    bucket: Arc::clone(&rate.bucket),
                    limits: rate.limits,
                    tokens: rate.limits.tokens.map_or(0, |limit| ask.tokens.min(limit)),
                });
                Some(Ok(self.grant(ask, taken.collect(), levels)))
            }
            Answer::Full {
                which,
                in_flight,
                limit,
            } => {
                let is_share = ask.limits.get(which).is_some_and(|asked| *asked != Some(limit));
                if !is_share {
                    self.table.heard_count(&ask.place, which, in_flight, limit);
                }
                Some(Err(Met::Full {
                    which,
                    in_flight,
                    limit,
                    is_share,
                }))
            }
            Answer::Rate {
                which,
                unit,
                used,
                wait,
            } => Some(Err(Met::Rate {
                which,
                unit,
                used,
                wait,
            })),
        }
    }

    fn answer_by_share(&mut self, round: Round) {
        for (ask, reply) in round.asks {
            let verdict = self.by_share(&ask);
            let _ = reply.send(verdict);
        }
        for (_, reply) in round.reads {
            let _ = reply.send(None);
        }
    }

    fn by_share(&mut self, ask: &Ask) -> Result<Granted, Met> {
        self.metrics.valkey_fallback.inc();
        let taken = self.table.take_share(ask, self.clock.now())?;
        Ok(self.grant(ask, taken, Vec::new()))
    }

    fn grant(&self, ask: &Ask, taken: Vec<Taken>, levels: Vec<Levels>) -> Granted {
        Granted {
            place: PlaceGuard {
                place: Arc::clone(&ask.place),
                to: self.to.clone(),
            },
            rates: SharedRates {
                taken,
                to: self.to.clone(),
            },
            levels,
        }
    }

    async fn leave(&mut self) {
        if let Some(link) = &self.link {
            let mut call = link.call_of(Script::Leave);
            call.arg(&self.session);
            let _ = self.call(vec![call]).await;
        }
        self.metrics.valkey_up.set(0);
    }
}

/// What it resolves to, if there is one; or never.
async fn until(connecting: &mut Option<Connecting>) -> Result<Link, ValkeyFault> {
    match connecting {
        Some(connecting) => connecting.as_mut().await,
        None => std::future::pending().await,
    }
}
