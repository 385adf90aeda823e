//! What a corrected price makes of requests that were billed by another: shown, or booked as corrections.
//!
//! A correction is the difference between what an entry costs until now (as booked, less the corrections before) and what
//! it costs at the new price. Its reference names the price version and the request, so that booking again, after a run
//! that was cut or after one that was not, books what is missing and nothing twice.
//!
//! `verify` recomputes corrections in the order of their ids: an id is made above every one that is there, also by a clock
//! that has jumped back.

use super::{AdjustmentPage, EntryPage, Ledger, LedgerFault, MAX_BATCH, MAX_PAGE};
use farebox_domain::ids::{AccountId, AdjustmentId, ModelId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Entry};
use farebox_domain::money::{OutOfRange, Picodollars};
use farebox_domain::price::{Price, PriceVersion};
use std::collections::{BTreeMap, HashMap};

/// What every correction's reference begins with; no other adjustment's may.
pub const REFERENCE_PREFIX: &str = "rerate:";

/// Requests of a model that were admitted in a time, and their corrected price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerate {
    /// The model.
    pub model: ModelId,
    /// The first moment, in milliseconds since 1970.
    pub since_ms: u64,
    /// The first moment that is not rerated any more.
    pub until_ms: u64,
    /// The corrected price.
    pub price: Price,
}

/// How corrections are booked.
pub struct Booking<'a> {
    /// The version of the corrected price. It names the run.
    pub version: PriceVersion,
    /// For people.
    pub note: &'a str,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// Makes an id of this time.
    pub new_id: &'a (dyn Fn(u64) -> AdjustmentId + Send + Sync),
    /// Is told of each batch that was booked.
    pub announce: &'a (dyn Fn(&[Adjustment]) + Send + Sync),
}

/// What was found, and booked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rerated {
    /// The model's entries in that time.
    pub entries: u64,
    /// Those that this version has corrected before.
    pub corrected_before: u64,
    /// Those that differ and were given back: a correction could give back more than was paid.
    pub left_refunded: u64,
    /// Corrections that were booked now.
    pub booked: u64,
    /// What differs, by account.
    pub accounts: BTreeMap<AccountId, Difference>,
}

/// Entries whose cost differs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// How many.
    pub entries: u64,
    /// What they cost until now.
    pub cost: Picodollars,
    /// What they cost at the corrected price.
    pub corrected: Picodollars,
}

impl Difference {
    /// The sum of both.
    pub fn checked_add(self, other: Self) -> Result<Self, OutOfRange> {
        Ok(Self {
            entries: self.entries + other.entries,
            cost: self.cost.checked_add(other.cost)?,
            corrected: self.corrected.checked_add(other.corrected)?,
        })
    }

    /// What is given back; below zero it is asked for.
    pub fn amount(self) -> Result<Picodollars, OutOfRange> {
        self.cost.checked_sub(self.corrected)
    }
}

/// Rerates: with a booking, each batch is booked as it is found; without one, nothing is.
///
/// Errors: those of the ledger; what was booked before one stays, and the same call goes on where it ended.
pub async fn rerate(
    ledger: &dyn Ledger,
    what: &Rerate,
    booking: Option<&Booking<'_>>,
) -> Result<Rerated, LedgerFault> {
    let version = booking.map(|booking| booking.version);
    let (earlier, newest_ms) = earlier(ledger, what, version).await?;
    let mut run = Run {
        what,
        earlier,
        found: Rerated::default(),
        pending: Vec::new(),
    };
    let mut page = EntryPage {
        since_ms: Some(what.since_ms),
        until_ms: Some(what.until_ms),
        limit: MAX_PAGE,
        ..EntryPage::default()
    };
    // Above every id that is there, in the order of time and of this run.
    let mut id_ms = newest_ms.saturating_add(1);
    loop {
        let entries = ledger.entries(&page).await?;
        let Some(last) = entries.last() else { break };
        page.after = Some(last.id);
        for entry in entries.iter().filter(|entry| entry.model == what.model) {
            run.take(entry)?;
            if let Some(booking) = booking.filter(|_| run.pending.len() >= MAX_BATCH) {
                id_ms = id_ms.max(booking.now_ms);
                run.book(ledger, booking, id_ms).await?;
            }
        }
        if booking.is_none() {
            run.pending.clear();
        }
    }
    if let Some(booking) = booking {
        run.book(ledger, booking, id_ms.max(booking.now_ms)).await?;
    }
    Ok(run.found)
}

/// What was adjusted of a request before.
#[derive(Debug, Default, Clone, Copy)]
struct Earlier {
    corrected: Picodollars,
    refunded: Picodollars,
    by_this_version: bool,
}

struct Run<'a> {
    what: &'a Rerate,
    earlier: HashMap<RequestId, Earlier>,
    found: Rerated,
    /// Entries that differ, and by how much.
    pending: Vec<(RequestId, AccountId, Picodollars)>,
}

impl Run<'_> {
    fn take(&mut self, entry: &Entry) -> Result<(), LedgerFault> {
        self.found.entries += 1;
        let earlier = self.earlier.get(&entry.id).copied().unwrap_or_default();
        if earlier.by_this_version {
            self.found.corrected_before += 1;
            return Ok(());
        }
        let overflow = |_| LedgerFault::Overflow;
        let difference = Difference {
            entries: 1,
            cost: entry.cost.checked_sub(earlier.corrected).map_err(overflow)?,
            corrected: entry.cost_at(&self.what.price).map_err(overflow)?,
        };
        let amount = difference.amount().map_err(overflow)?;
        if amount == Picodollars::ZERO {
            return Ok(());
        }
        let kept = difference.cost.min(difference.corrected);
        if earlier.refunded > Picodollars::ZERO && earlier.refunded >= kept {
            self.found.left_refunded += 1;
            return Ok(());
        }
        if amount.to_i64().is_err() {
            return Err(LedgerFault::OutOfRange {
                id: entry.id.to_string(),
                column: "correction",
            });
        }
        let of_account = self.found.accounts.entry(entry.account.clone()).or_default();
        *of_account = of_account.checked_add(difference).map_err(overflow)?;
        self.pending.push((entry.id, entry.account.clone(), amount));
        Ok(())
    }

    async fn book(
        &mut self,
        ledger: &dyn Ledger,
        booking: &Booking<'_>,
        id_ms: u64,
    ) -> Result<(), LedgerFault> {
        let version = booking.version;
        let correction = |(request, account, amount): (RequestId, AccountId, Picodollars)| Adjustment {
            id: (booking.new_id)(id_ms),
            account,
            kind: AdjustmentKind::Correction,
            amount,
            request: Some(request),
            price_version: Some(version),
            reference: format!("{REFERENCE_PREFIX}{}:{request}", version.0),
            note: booking.note.to_owned(),
            booked_at_ms: booking.now_ms,
        };
        let corrections: Vec<Adjustment> = self.pending.drain(..).map(correction).collect();
        for batch in corrections.chunks(MAX_BATCH) {
            let booked = ledger.adjust(batch).await?;
            (booking.announce)(&booked);
            self.found.booked += u64::try_from(booked.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }
}

/// Of every request that may be meant, what was adjusted before; and the time of the newest adjustment's id.
async fn earlier(
    ledger: &dyn Ledger,
    what: &Rerate,
    version: Option<PriceVersion>,
) -> Result<(HashMap<RequestId, Earlier>, u64), LedgerFault> {
    let end = RequestId::lowest_at_ms(what.until_ms.saturating_add(1));
    let mut earlier: HashMap<RequestId, Earlier> = HashMap::new();
    let mut page = AdjustmentPage {
        limit: MAX_PAGE,
        ..AdjustmentPage::default()
    };
    let mut newest_ms = 0;
    loop {
        let adjustments = ledger.adjustments(&page).await?;
        let Some(last) = adjustments.last() else { break };
        page.after = Some(last.id);
        newest_ms = newest_ms.max(last.id.made_at_ms());
        for adjustment in &adjustments {
            let Some(request) = adjustment.request.filter(|&request| request < end) else {
                continue;
            };
            let sum = earlier.entry(request).or_default();
            let add = |to: Picodollars| {
                to.checked_add(adjustment.amount)
                    .map_err(|_| LedgerFault::Overflow)
            };
            match adjustment.kind {
                AdjustmentKind::Correction => {
                    sum.corrected = add(sum.corrected)?;
                    sum.by_this_version |= version.is_some() && adjustment.price_version == version;
                }
                AdjustmentKind::Refund => sum.refunded = add(sum.refunded)?,
                AdjustmentKind::Credit | AdjustmentKind::WriteOff => {}
            }
        }
    }
    Ok((earlier, newest_ms))
}
