//! The stages of the bill: what a request came to, and how it becomes a row. The disk is not part of them.

use crate::gateway::{Booking, Gateway, refused};
use crate::run::{Fault, Run, Staged, ensure};
use crate::texts::{USAGE, chat_request};
use farebox::ledger::{Journal, LedgerFault, sqlite};
use farebox::pipeline::admit::Admitted;
use farebox::pipeline::request::InferenceRequest;
use farebox::pipeline::watch::watch_one;
use farebox_domain::catalog::EngineKind;
use farebox_domain::ledger::{Endpoint, EntryState, Settlement};
use farebox_domain::money::Picodollars;
use futures_util::FutureExt as _;
use std::hint::black_box;

/// Makes the rows that the embedded ledger writes, and leaves it at that.
pub struct Encoding;

#[async_trait::async_trait]
impl Journal for Encoding {
    async fn record(&self, settled: &[Settlement]) -> Result<(), LedgerFault> {
        let entries = settled.iter().map(|settled| &settled.entry);
        black_box(sqlite::insert::arguments(entries)?);
        Ok(())
    }

    async fn checkpoint(&self, _open: &[Settlement]) -> Result<(), LedgerFault> {
        Ok(())
    }

    async fn recover(&self) -> Result<u64, LedgerFault> {
        Ok(0)
    }
}

/// Polls of the loop within which a batch is booked: it gathers for sixteen turns at the most.
const POLLS: usize = 32;

/// Has the loop book what is queued.
fn book(gateway: &Gateway, booking: &mut Booking) -> Result<(), Fault> {
    for _ in 0..POLLS {
        if gateway.pipeline.settler.queued() == 0 {
            return Ok(());
        }
        ensure(booking.now_or_never().is_none(), "the settler has ended")?;
    }
    Err("the settler does not book".into())
}

struct Bill {
    gateway: Gateway,
    booking: Booking,
    request: InferenceRequest,
}

impl Bill {
    fn new() -> Result<Self, Fault> {
        let (gateway, booking) = Gateway::new(1)?;
        let body = chat_request(1 << 10);
        Ok(Self {
            gateway,
            booking,
            request: InferenceRequest::read(Endpoint::ChatCompletions, body).map_err(refused)?,
        })
    }

    /// A request that an engine has answered.
    fn answered(&mut self) -> Result<Admitted, Fault> {
        // What earlier runs left is not this one's.
        book(&self.gateway, &mut self.booking)?;
        self.gateway.drain_log();
        let admitted = self.gateway.admit(self.request.clone())?;
        let now = self.gateway.pipeline.clock.now();
        let mut progress = admitted.live().progress.lock();
        progress.engine = Some(("engine-0".into(), EngineKind::Vllm));
        progress.called_at = Some(now);
        progress.first_event_at = Some(now);
        progress.usage = Some(USAGE.into());
        progress.usage_is_final = true;
        drop(progress);
        Ok(admitted)
    }

    /// What it would be booked as.
    fn settlement(&mut self) -> Result<Settlement, Fault> {
        let admitted = self.answered()?;
        let seen = watch_one(&self.gateway.pipeline, admitted.id()).ok_or("it is not in flight")?;
        drop(admitted);
        ensure(self.gateway.take_abandoned(), "it was not given back")?;
        Ok(Settlement::unleased(seen.so_far))
    }
}

/// An answered request to its entry: usage, price and cost, hold and rates given back, counted and queued.
pub fn settle() -> Result<Box<dyn Run>, Fault> {
    let run = |_: &mut Bill, admitted: Admitted| {
        let settling = admitted.settle(EntryState::Completed);
        ensure(
            black_box(settling).receipt.cost > Picodollars::ZERO,
            "it cost nothing",
        )
    };
    Ok(Staged::boxed(Bill::new()?, Bill::answered, run))
}

/// 64 entries: queued, gathered by the loop, made into rows, and each told that it is booked.
pub fn commit() -> Result<Box<dyn Run>, Fault> {
    let make = |bill: &mut Bill| (0..64).map(|_| bill.settlement()).collect();
    let run = |bill: &mut Bill, settlements: Vec<Settlement>| {
        let settler = &bill.gateway.pipeline.settler;
        let queued: Vec<_> = settlements
            .into_iter()
            .map(|settled| settler.settle(settled))
            .collect();
        book(&bill.gateway, &mut bill.booking)?;
        let all = queued
            .into_iter()
            .all(|mut receipt| matches!(receipt.try_recv(), Ok(Ok(()))));
        ensure(all, "an entry was not booked")
    };
    Ok(Staged::boxed(Bill::new()?, make, run))
}
