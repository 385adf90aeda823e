//! What is spent with signed tokens that have a spending limit of their own, on this process.
//!
//! Invariant: spent + held of a token is never above its limit by anything that is done here.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use super::jwt::ScopedToken;
use farebox_domain::money::Picodollars;

/// Purses above which those are looked for that are of no use any more.
const PRUNE_ABOVE: usize = 1024;

/// Every token's purse.
#[derive(Debug, Default, Clone)]
pub struct Purses(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    purses: HashMap<[u8; 32], Purse>,
    prune_above: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Purse {
    spent: Picodollars,
    held: Picodollars,
    expires_at_ms: u64,
}

/// What is left of a token, where that is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenShort {
    /// What is left of it.
    pub left: Picodollars,
    /// Its limit.
    pub limit: Picodollars,
}

impl Purses {
    /// Holds this amount, where the token has a limit; or says what is left of it, and holds nothing.
    pub fn try_hold(
        &self,
        token: &ScopedToken,
        amount: Picodollars,
        now_ms: u64,
    ) -> Result<Option<PurseHold>, TokenShort> {
        let Some(limit) = token.spending_limit else {
            return Ok(None);
        };
        let mut state = self.0.lock();
        state.prune(now_ms);
        let purse = state.purses.entry(token.id).or_default();
        purse.expires_at_ms = token.expires_at_ms;
        let left = limit.saturating_sub(purse.spent).saturating_sub(purse.held);
        if amount > left {
            return Err(TokenShort { left, limit });
        }
        purse.held = purse.held.saturating_add(amount);
        drop(state);
        Ok(Some(PurseHold {
            purses: self.clone(),
            token: token.id,
            amount,
        }))
    }
}

impl State {
    /// Forgets tokens that no longer hold, and those that were never paid with.
    fn prune(&mut self, now_ms: u64) {
        if self.purses.len() <= self.prune_above.max(PRUNE_ABOVE) {
            return;
        }
        let zero = Picodollars::ZERO;
        self.purses
            .retain(|_, purse| purse.held > zero || (purse.spent > zero && now_ms < purse.expires_at_ms));
        // Not at every request, where nearly all of them are of use.
        self.prune_above = self.purses.len().saturating_mul(2);
    }
}

/// What a request holds of a token. It is given back when it ends unsettled.
#[derive(Debug)]
pub struct PurseHold {
    purses: Purses,
    token: [u8; 32],
    amount: Picodollars,
}

impl PurseHold {
    /// Puts what the request did cost in its place.
    pub fn settle(self, cost: Picodollars) {
        let mut state = self.purses.0.lock();
        if let Some(purse) = state.purses.get_mut(&self.token) {
            purse.spent = purse.spent.saturating_add(cost);
        }
        // Before `self` is dropped, which takes the lock again to give back what was held.
        drop(state);
    }
}

impl Drop for PurseHold {
    fn drop(&mut self) {
        let mut state = self.purses.0.lock();
        if let Some(purse) = state.purses.get_mut(&self.token) {
            purse.held = purse.held.saturating_sub(self.amount);
        }
    }
}
