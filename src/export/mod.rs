//! Tells a receiver of every entry and every adjustment, at least once: OpenMeter, Lago, Stripe, or whoever takes
//! CloudEvents. docs/EXPORT.md is for the operator.
//!
//! - the queue is the ledger's (`ledger::export`): what is booked is in it in the same transaction, so a crash loses
//!   nothing, and what was delivered leaves it after the receiver's answer, so a crash between the two repeats it;
//! - [`form`] puts an event into the receiver's form, [`receiver`] sends it and says what the answer means;
//! - [`Exporter`] is the loop: batches in the order of ids, again and again while the receiver is away, and around the
//!   event that it refuses.
//!
//! Architecture invariant: nothing that serves a request waits for this, or knows of it. What leaves here has no
//! content in it, no engine's name and no URL, and nothing that a client wrote.

pub mod form;
pub mod receiver;

use crate::clock::Clock;
use crate::config::ExportSettings;
use crate::ledger::{EventId, ExportItem, ExportQueue, LedgerFault, RefusedEvent};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;
use form::Form;
use parking_lot::Mutex;
use receiver::{Receiver, ReceiverFault, Refusal, Verdict};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the loop waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// Until the queue is looked at again when it was empty.
    pub idle: Duration,
    /// After a first failure; twice as long after each further one.
    pub first: Duration,
    /// After many.
    pub longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(1),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        }
    }
}

/// How deliveries went, since this process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events that were delivered.
    pub delivered: u64,
    /// When the last of them were, in milliseconds since 1970.
    pub last_delivery_ms: Option<u64>,
    /// When the last failure was, and what it was.
    pub last_failure: Option<(u64, String)>,
    /// Whether nothing was delivered since.
    pub failing: bool,
}

/// The loop that delivers.
pub struct Exporter {
    queue: Arc<dyn ExportQueue>,
    receiver: Receiver,
    form: Form,
    batch: u32,
    /// Other replicas leave taken events alone for so long.
    hold: Duration,
    pauses: Pauses,
    clock: Clock,
    metrics: Arc<Metrics>,
    progress: Mutex<Progress>,
}

/// How a round ended.
enum Round {
    /// There was nothing to deliver.
    Idle,
    /// All that was taken from the queue has left it.
    Done,
    /// It was told to stop.
    Stopped,
    /// Something has not: at the soonest after this time.
    Failed(Option<Duration>),
}

/// Why a round ended early.
enum Hindrance {
    /// The receiver is away, or does not take what we are.
    Receiver { why: String, wait: Option<Duration> },
    /// The ledger's database is away.
    Queue(LedgerFault),
}

impl From<LedgerFault> for Hindrance {
    fn from(fault: LedgerFault) -> Self {
        Self::Queue(fault)
    }
}

impl Exporter {
    /// For this receiver. `read_env` finds its key.
    pub fn new(
        settings: &ExportSettings,
        queue: Arc<dyn ExportQueue>,
        pauses: Pauses,
        (clock, metrics): (Clock, Arc<Metrics>),
        read_env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ReceiverFault> {
        Ok(Self {
            queue,
            receiver: Receiver::new(settings, read_env)?,
            form: Form::new(settings),
            batch: settings.batch,
            hold: settings
                .timeout
                .saturating_mul(4)
                .saturating_add(Duration::from_secs(60)),
            pauses,
            clock,
            metrics,
            progress: Mutex::default(),
        })
    }

    /// How deliveries went.
    pub fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    /// Delivers until it is told to stop. What is under way then is given back: it will be delivered again, by another
    /// replica or by the next process.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            let pause = match self.round(&stop).await {
                Round::Stopped => return,
                Round::Done => {
                    failures = 0;
                    continue;
                }
                Round::Idle => {
                    failures = 0;
                    self.pauses.idle
                }
                Round::Failed(asked) => {
                    let backoff = self.pauses.first.saturating_mul(1 << failures.min(16));
                    failures = failures.saturating_add(1);
                    backoff.min(self.pauses.longest).max(asked.unwrap_or_default())
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn round(&self, stop: &CancellationToken) -> Round {
        if stop.is_cancelled() {
            return Round::Stopped;
        }
        let items = match self.queue.undelivered(self.batch, self.hold).await {
            Ok(items) => items,
            Err(fault) => return self.failed(&Hindrance::Queue(fault)),
        };
        self.metrics
            .export_lags(items.first().map_or(Duration::ZERO, |first| {
                Duration::from_millis(self.clock.unix_ms().saturating_sub(first.made_at_ms()))
            }));
        if items.is_empty() {
            return Round::Idle;
        }
        let taken = ids(&items);
        tokio::select! {
            () = stop.cancelled() => {
                // Some of it may have left the queue. If this fails, the rest is free again when its time is over.
                let _ = self.queue.give_back(&taken).await;
                Round::Stopped
            }
            delivered = self.deliver(items) => match delivered {
                Ok(()) => Round::Done,
                Err(hindrance) => self.failed(&hindrance),
            },
        }
    }

    async fn deliver(&self, items: Vec<ExportItem>) -> Result<(), Hindrance> {
        let (told, formless): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| self.form.can_tell(item));
        for item in formless {
            self.refused(&item, Refusal::unreadable()).await?;
        }
        if self.form.is_one_by_one() {
            self.deliver_one_by_one(told).await
        } else {
            self.deliver_together(&told).await
        }
    }

    /// A batch in one request; a batch that is refused in two halves, and so on down to the event that is to blame.
    async fn deliver_together(&self, items: &[ExportItem]) -> Result<(), Hindrance> {
        let mut parts = vec![items];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.receiver.send(self.form.batch(part)).await {
                Verdict::Taken => self.delivered(&ids(part)).await?,
                Verdict::Refused(refusal) => match part {
                    [alone] => self.refused(alone, refusal).await?,
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
                Verdict::Later { why, wait } => {
                    let left: Vec<_> = parts.iter().chain([&part]).flat_map(|part| ids(part)).collect();
                    self.queue.give_back(&left).await?;
                    return Err(Hindrance::Receiver { why, wait });
                }
            }
        }
        Ok(())
    }

    /// Each event in requests of its own.
    async fn deliver_one_by_one(&self, items: Vec<ExportItem>) -> Result<(), Hindrance> {
        let (mut taken, mut left, mut hindrance) = (Vec::new(), Vec::new(), None);
        for (item, verdict) in self.receiver.send_each(&self.form, items).await {
            match verdict {
                Verdict::Taken => taken.push(item.id()),
                Verdict::Refused(refusal) => self.refused(&item, refusal).await?,
                Verdict::Later { why, wait } => {
                    left.push(item.id());
                    hindrance = Some(Hindrance::Receiver { why, wait });
                }
            }
        }
        self.delivered(&taken).await?;
        self.queue.give_back(&left).await?;
        hindrance.map_or(Ok(()), Err)
    }

    async fn delivered(&self, ids: &[EventId]) -> Result<(), Hindrance> {
        if ids.is_empty() {
            return Ok(());
        }
        self.queue.delivered(ids).await?;
        let events = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        self.metrics.exported(events);
        let mut progress = self.progress.lock();
        progress.delivered = progress.delivered.saturating_add(events);
        progress.last_delivery_ms = Some(self.clock.unix_ms());
        if std::mem::take(&mut progress.failing) {
            log::export_recovered();
        }
        Ok(())
    }

    /// A lone event that the receiver refuses is set aside, but for one that it refuses because it has it.
    async fn refused(&self, item: &ExportItem, refusal: Refusal) -> Result<(), Hindrance> {
        if refusal.is_a_repetition {
            return self.delivered(&[item.id()]).await;
        }
        let refused = RefusedEvent {
            id: item.id(),
            status: refusal.status,
            reason: refusal.reason,
            refused_at_ms: self.clock.unix_ms(),
        };
        self.queue.set_aside(&refused).await?;
        log::export_refused(&item.id_text(), refused.status);
        self.metrics.export_refused();
        Ok(())
    }

    fn failed(&self, hindrance: &Hindrance) -> Round {
        let (why, wait) = match hindrance {
            Hindrance::Receiver { why, wait } => (why.clone(), *wait),
            Hindrance::Queue(fault) => (fault.to_string(), None),
        };
        self.metrics.export_failed();
        let mut progress = self.progress.lock();
        progress.last_failure = Some((self.clock.unix_ms(), why.clone()));
        // The first of a row of them is told, and the recovery.
        if !std::mem::replace(&mut progress.failing, true) {
            log::export_failed(&why);
        }
        Round::Failed(wait)
    }
}

fn ids(items: &[ExportItem]) -> Vec<EventId> {
    items.iter().map(ExportItem::id).collect()
}
