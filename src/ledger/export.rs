//! What is still to be told to a receiver: the queue of `farebox export`, kept beside the ledger.

use super::LedgerFault;
use farebox_domain::ids::{AdjustmentId, RequestId};
use farebox_domain::ledger::{Adjustment, Entry};
use std::time::Duration;

/// An entry's or an adjustment's id. Both are 16 bytes that sort by time, with random bits enough to tell them apart.
pub type EventId = [u8; 16];

/// Something to tell a receiver of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportItem {
    /// A request was settled.
    Entry(Entry),
    /// Money moved that no request moved.
    Adjustment(Adjustment),
    /// The ledger has no row with this id that can be read. It must not hold up the others.
    Unreadable(EventId),
}

impl ExportItem {
    /// Its id.
    pub fn id(&self) -> EventId {
        match self {
            Self::Entry(entry) => *entry.id.as_bytes(),
            Self::Adjustment(adjustment) => *adjustment.id.as_bytes(),
            Self::Unreadable(id) => *id,
        }
    }

    /// Its id as text: `req_...` or `adj_...`.
    pub fn id_text(&self) -> String {
        match self {
            Self::Entry(entry) => entry.id.to_string(),
            Self::Adjustment(adjustment) => adjustment.id.to_string(),
            Self::Unreadable(id) => RequestId::from_bytes(*id).to_string(),
        }
    }

    /// When it was made, by its id: milliseconds since 1970.
    pub fn made_at_ms(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.id();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

/// An event that the receiver refused, or that cannot be put into its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEvent {
    /// Which.
    pub id: EventId,
    /// The receiver's HTTP status; 0 where it was never sent.
    pub status: u16,
    /// What the receiver said, the first of it.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub refused_at_ms: u64,
}

impl RefusedEvent {
    /// Its id as an entry's text, `req_...`, or as an adjustment's, `adj_...`.
    pub fn id_text(&self, is_adjustment: bool) -> String {
        if is_adjustment {
            AdjustmentId::from_bytes(self.id).to_string()
        } else {
            RequestId::from_bytes(self.id).to_string()
        }
    }
}

/// How the queue stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Whether what is booked is put into the queue.
    pub switched_on: bool,
    /// Events that are still to be delivered.
    pub pending: u64,
    /// Events that were refused.
    pub refused: u64,
    /// The first of those, by id, each with its id as text.
    pub first_refused: Vec<(String, RefusedEvent)>,
}

/// The events that are still to be delivered. What is booked while it is switched on is in it in the same transaction,
/// by whatever hand; nothing else is, until [`ExportQueue::backfill`] asks for it.
#[async_trait::async_trait]
pub trait ExportQueue: Send + Sync + 'static {
    /// Whether what is booked is put into the queue.
    async fn is_switched_on(&self) -> Result<bool, LedgerFault>;

    /// From now on what is booked is put into the queue. Does nothing where that is so.
    async fn switch_on(&self) -> Result<(), LedgerFault>;

    /// From now on it is not, and the queue is emptied. What was refused is forgotten.
    async fn switch_off(&self) -> Result<(), LedgerFault>;

    /// The next events in the order of their ids, at most `limit`. They are this caller's for as long as `hold`:
    /// where several replicas deliver, no other is given them meanwhile.
    async fn undelivered(&self, limit: u32, hold: Duration) -> Result<Vec<ExportItem>, LedgerFault>;

    /// The receiver has them: they leave the queue, durably.
    async fn delivered(&self, ids: &[EventId]) -> Result<(), LedgerFault>;

    /// They could not be delivered now: whoever asks next is given them.
    async fn give_back(&self, ids: &[EventId]) -> Result<(), LedgerFault>;

    /// The receiver refused it: it leaves the queue and is kept beside it.
    async fn set_aside(&self, refused: &RefusedEvent) -> Result<(), LedgerFault>;

    /// Puts what was refused back into the queue, and returns how many that was.
    async fn retry_refused(&self) -> Result<u64, LedgerFault>;

    /// Puts into the queue what was admitted or booked at this time or later, delivered before or not, and returns how
    /// many that was. What was refused stays where it is.
    async fn backfill(&self, since_ms: u64) -> Result<u64, LedgerFault>;

    /// How it stands.
    async fn counts(&self) -> Result<QueueCounts, LedgerFault>;
}
