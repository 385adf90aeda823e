//! Money on several replicas: asking for more lease when a request does not fit, and giving back what is idle.
//!
//! Most requests fit into the lease that is there and ask nobody. docs/LEDGER.md has the rule; `ledger/lease.rs` is what
//! the shared ledger does.

use crate::admission::directory::{Account, Directory};
use crate::admission::wallet::{Left, Payer, Wallet};
use crate::clock::Clock;
use crate::ledger::{Beat, LeaseAnswer, LedgerFault, Lessor, Scope};
use farebox_domain::ids::KeyId;
use farebox_domain::money::Picodollars;
use farebox_domain::refusal::{Ceiling, Refusal};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a request waits for other replicas to give back what they do not hold.
const RECALL_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at whether they have.
const RECALL_POLL: Duration = Duration::from_millis(5);
/// Between two signs of life.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// When a client that came while there was neither lease nor ledger may come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// This replica's leases.
pub struct Leases {
    lessor: Arc<dyn Lessor>,
    directory: Arc<Directory>,
    clock: Clock,
    /// How long the ledger keeps the leases of a replica that says nothing.
    deadline: Duration,
    /// When this replica last said that it lives, by its own clock, from before it said so.
    beaten_at: Mutex<Instant>,
    /// The last question was not answered, nor a sign of life since: nobody else waits to find that out.
    is_away: AtomicBool,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Leases {
    /// For the replica that this lessor speaks for.
    pub fn new(lessor: Arc<dyn Lessor>, directory: Arc<Directory>, clock: Clock, deadline: Duration) -> Self {
        let beaten_at = Mutex::new(clock.now());
        Self {
            lessor,
            directory,
            clock,
            deadline,
            beaten_at,
            is_away: AtomicBool::new(false),
        }
    }

    /// Where leases are kept.
    pub fn lessor(&self) -> &Arc<dyn Lessor> {
        &self.lessor
    }

    /// Whether this replica may spend of its leases no more: somebody else may have them soon. A tenth of the deadline is
    /// left for clocks that run apart.
    pub fn are_over(&self) -> bool {
        let silent = self.clock.now().saturating_duration_since(*self.beaten_at.lock());
        silent >= self.deadline - self.deadline / 10
    }

    /// What time it is.
    pub(in crate::pipeline) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Gets lease for a hold of at least `least`, and `most` if there is so much; or says what is left where that is less.
    /// What it got may be gone by the time that it is used: the hold is tried again, and so is this.
    pub async fn get(
        &self,
        wallet: &Wallet,
        account: &Account,
        payer: Payer<'_>,
        least: Picodollars,
        most: Picodollars,
    ) -> Result<Option<Left>, Refusal> {
        for left in wallet.short_of(payer, most) {
            let scope = scope_of(account, payer.key, left.ceiling);
            let available = left.available.max(Picodollars::ZERO);
            let missing = |amount: Picodollars| amount.saturating_sub(available).max(Picodollars::ZERO);
            let answer = self.ask_until_sure(&scope, missing(most)).await;
            let answer = match answer {
                // Not all of it is there. What must be may be.
                Ok(LeaseAnswer::Short { room, .. }) if room >= missing(least) && room > Picodollars::ZERO => {
                    self.ask(&scope, room, false).await
                }
                other => other,
            };
            match answer {
                Ok(LeaseAnswer::Granted(amount)) => wallet.grant(payer.key, left.ceiling, amount),
                Ok(LeaseAnswer::Short { .. }) if available >= least => {}
                Ok(LeaseAnswer::Short { room, allowed, .. }) => {
                    return Ok(Some(Left {
                        ceiling: left.ceiling,
                        allowed,
                        available: room.saturating_add(available),
                    }));
                }
                // What it has is enough to begin with.
                Err(Away) if available >= least => {}
                Err(Away) => {
                    return Err(Refusal::LedgerUnavailable {
                        retry_after: RETRY_AFTER,
                    });
                }
            }
        }
        Ok(None)
    }

    /// Asks until it is granted, or nobody has any left to give back.
    async fn ask_until_sure(&self, scope: &Scope, need: Picodollars) -> Result<LeaseAnswer, Away> {
        let until = self.clock.now() + RECALL_PATIENCE;
        let mut recall = true;
        loop {
            let answer = self.ask(scope, need, recall).await?;
            // Once is enough: who has answered holds the rest.
            recall = false;
            match answer {
                LeaseAnswer::Short { recalled: true, .. } if self.clock.now() < until => {
                    tokio::time::sleep(RECALL_POLL).await;
                }
                answer => return Ok(answer),
            }
        }
    }

    /// Asks, unless somebody has just asked in vain: a question takes seconds where nobody answers, and those behind it wait.
    async fn ask(&self, scope: &Scope, need: Picodollars, recall: bool) -> Result<LeaseAnswer, Away> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Away);
        }
        self.lessor.ask(scope, need, recall).await.map_err(|fault| {
            self.is_now_away(&fault);
            Away
        })
    }

    fn is_now_away(&self, fault: &LedgerFault) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            let cause: &(dyn std::error::Error + 'static) = fault;
            tracing::warn!(
                cause,
                "the shared ledger is away; requests go on within this replica's leases"
            );
        }
    }

    /// Gives up the leases that nobody holds: the ledger may have given them to others. What requests in flight hold is
    /// spent all the same, and its entries come in late.
    async fn forget(&self) {
        tracing::warn!("this replica said nothing until its deadline; it begins without leases");
        let mut idle = Vec::new();
        for account in self.directory.accounts() {
            for (key, ceiling, amount) in account.wallet.take_all_idle() {
                idle.push((scope_of(&account, &key, ceiling), amount));
            }
        }
        for (scope, amount) in idle {
            // An error leaves it to the next question.
            let _ = self.lessor.give_back(&scope, amount).await;
        }
    }

    /// Gives back what other replicas wait for.
    pub async fn answer_recalls(&self) -> Result<(), LedgerFault> {
        for scope in self.lessor.recalled().await? {
            let Some((wallet, key, ceiling)) = self.wallet_of(&scope) else {
                self.lessor.give_back(&scope, Picodollars::ZERO).await?;
                continue;
            };
            let idle = wallet.take_idle(&key, ceiling);
            if let Err(fault) = self.lessor.give_back(&scope, idle).await {
                // Whether it was given back is not known. It is no longer this replica's, and the next question says so.
                tracing::warn!(?scope, idle = %idle, "what was to be given back may not have been; it is told again");
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Gets more of what is running low, so that requests need not wait for it.
    async fn top_up(&self) -> Result<(), LedgerFault> {
        for account in self.directory.accounts() {
            for (key, ceiling) in account.wallet.running_low() {
                let key = key.unwrap_or_else(|| "".into());
                let scope = scope_of(&account, &key, ceiling);
                // As little as can be is needed: what is granted is a part of what there is.
                if let LeaseAnswer::Granted(amount) =
                    self.lessor.ask(&scope, Picodollars::new(1), false).await?
                {
                    account.wallet.grant(&key, ceiling, amount);
                }
            }
        }
        Ok(())
    }

    /// Says that this replica lives, answers recalls and tops up, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.beat().await {
                Ok(()) => self.is_away.store(false, Ordering::Relaxed),
                Err(fault) => self.is_now_away(&fault),
            }
            let is_there = !self.is_away.load(Ordering::Relaxed);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(BEAT_EVERY) => {}
                () = self.lessor.told(), if is_there => {}
            }
        }
    }

    async fn beat(&self) -> Result<(), LedgerFault> {
        let before = self.clock.now();
        let beat = self.lessor.beat(self.deadline).await?;
        // A sign of life may have come in without this replica knowing.
        if beat == Beat::Late || self.are_over() {
            self.forget().await;
        }
        *self.beaten_at.lock() = before;
        self.answer_recalls().await?;
        self.top_up().await
    }

    fn wallet_of(&self, scope: &Scope) -> Option<(Arc<Wallet>, KeyId, Ceiling)> {
        let of = |account: Arc<Account>| Arc::clone(&account.wallet);
        match scope {
            Scope::Credit(account) => {
                let wallet = of(self.directory.account(account)?);
                Some((wallet, "".into(), Ceiling::Balance))
            }
            Scope::AccountMonth(account, month) => {
                let wallet = of(self.directory.account(account)?);
                Some((wallet, "".into(), Ceiling::AccountMonth(*month)))
            }
            Scope::KeyMonth(key, month) => {
                let found = self.directory.key(key)?;
                let wallet = Arc::clone(&found.account.wallet);
                Some((wallet, key.clone(), Ceiling::KeyMonth(*month)))
            }
        }
    }
}

fn scope_of(account: &Account, key: &KeyId, ceiling: Ceiling) -> Scope {
    match ceiling {
        Ceiling::Balance => Scope::Credit(account.id.clone()),
        Ceiling::AccountMonth(month) => Scope::AccountMonth(account.id.clone(), month),
        Ceiling::KeyMonth(month) => Scope::KeyMonth(key.clone(), month),
    }
}

/// The shared ledger does not answer, which whoever found out has said.
struct Away;

#[cfg(test)]
mod tests;
