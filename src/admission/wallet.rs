//! The ceilings: what an account and its keys may still spend, and what is held of it by requests in flight.
//!
//! A request holds the most that it can cost before an engine is called, and settles for what it did cost. All of its
//! ceilings (the account's balance, the account's month, the key's month) move under one lock, together.
//!
//! On one process a ceiling is known here whole. Where several share a ledger, each has leases: money of a ceiling that
//! was granted to it and that nobody else may spend. A wallet then allows what was granted, whatever the limit is.
//!
//! Invariant: for each ceiling, spent + held is never above what is allowed by anything that is done here: only a
//! limit that is lowered, or a correction, can leave it there. A hold that exists is counted, and one that is settled
//! or dropped is not.

use crate::admission::purse::PurseHold;
use farebox_domain::ids::KeyId;
use farebox_domain::ledger::Leased;
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use farebox_domain::refusal::Ceiling;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::time::Instant;

/// One account's ceilings.
#[derive(Debug, Default)]
pub struct Wallet {
    state: Mutex<State>,
    /// Held by whoever asks for more lease, with what the last one was told that did not get it: those who came before
    /// it asked need not ask again.
    pub asking: tokio::sync::Mutex<Option<ToldShort>>,
}

/// What somebody was told who asked for lease and got none.
#[derive(Debug, Clone, Copy)]
pub struct ToldShort {
    /// When it began to ask.
    pub asked_at: Instant,
    /// What there was, over all replicas.
    pub left: Left,
}

/// Months whose spending is remembered: a clock that jumps back by a day finds its month.
const MONTHS_KEPT: usize = 3;

#[derive(Debug, Default)]
struct State {
    /// Whether only what was granted is allowed.
    leased: bool,
    /// What the account may owe; `None` is without a ceiling.
    credit_limit: Option<Picodollars>,
    /// What was paid in, given back or corrected.
    adjusted: Picodollars,
    balance: Meter,
    months: Monthly,
    keys: HashMap<KeyId, Monthly>,
}

/// What counts against one ceiling.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Meter {
    /// Of a leased ceiling: what used up its lease, on this process. It stays when the limit goes and comes, as `granted` does.
    spent: Picodollars,
    held: Picodollars,
    /// What was granted of a leased ceiling and not given back, spent or not.
    granted: Picodollars,
    /// The last of it.
    last_grant: Picodollars,
}

#[derive(Debug, Default)]
struct Monthly {
    limit: Option<Picodollars>,
    /// The newest months that were asked for.
    meters: BTreeMap<Month, Meter>,
}

impl Meter {
    fn left_of(&self, allowed: Picodollars) -> Picodollars {
        allowed.saturating_sub(self.spent).saturating_sub(self.held)
    }

    fn hold(&mut self, amount: Picodollars) {
        self.held = self.held.saturating_add(amount);
    }

    fn release(&mut self, amount: Picodollars) {
        // Not below nothing: the month of a request may have been forgotten while it ran.
        self.held = self.held.saturating_sub(amount).max(Picodollars::ZERO);
    }

    fn spend(&mut self, cost: Picodollars) {
        self.spent = self.spent.saturating_add(cost);
    }
}

impl Monthly {
    fn meter(&mut self, month: Month) -> &mut Meter {
        if !self.meters.contains_key(&month) && self.meters.len() >= MONTHS_KEPT {
            self.meters.pop_first();
        }
        self.meters.entry(month).or_default()
    }
}

/// What an account or key has left under one of its ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Which ceiling.
    pub ceiling: Ceiling,
    /// Where it is: for the balance, what was paid in and what may be owed.
    pub allowed: Picodollars,
    /// What is left of it; below zero if it was lowered.
    pub available: Picodollars,
}

/// Why a hold does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// The ceiling that has the least left.
    pub left: Left,
    /// What would have had to fit.
    pub needed: Picodollars,
    /// What the request could have cost at the most.
    pub most: Picodollars,
}

/// Which ceilings there were when a hold was taken: those whose lease it uses up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Under {
    balance: bool,
    account_month: bool,
    key_month: bool,
}

/// Who is to pay: by which key, in which month.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    /// The key.
    pub key: &'a KeyId,
    /// The month of admission.
    pub month: Month,
}

impl State {
    fn each(&mut self, payer: Payer<'_>, mut act: impl FnMut(Kind, &mut Meter)) {
        act(Kind::Balance, &mut self.balance);
        act(Kind::AccountMonth, self.months.meter(payer.month));
        let key = match self.keys.get_mut(payer.key) {
            Some(key) => key,
            None => self.keys.entry(payer.key.clone()).or_default(),
        };
        act(Kind::KeyMonth, key.meter(payer.month));
    }

    fn under(&self, key: &KeyId) -> Under {
        Under {
            balance: self.credit_limit.is_some(),
            account_month: self.months.limit.is_some(),
            key_month: self.keys.get(key).is_some_and(|key| key.limit.is_some()),
        }
    }

    /// What is left under each ceiling that there is.
    fn left(&mut self, payer: Payer<'_>) -> [Option<Left>; 3] {
        let (leased, adjusted) = (self.leased, self.adjusted);
        let left = |ceiling, meter: &Meter, limit: Picodollars| {
            let allowed = if leased { meter.granted } else { limit };
            Left {
                ceiling,
                allowed,
                available: meter.left_of(allowed),
            }
        };
        let balance = self
            .credit_limit
            .map(|limit| left(Ceiling::Balance, &self.balance, limit.saturating_add(adjusted)));
        let of_month = |monthly: &mut Monthly, ceiling| {
            let limit = monthly.limit?;
            Some(left(ceiling, monthly.meter(payer.month), limit))
        };
        let account = of_month(&mut self.months, Ceiling::AccountMonth(payer.month));
        let key = self
            .keys
            .get_mut(payer.key)
            .and_then(|key| of_month(key, Ceiling::KeyMonth(payer.month)));
        [balance, account, key]
    }

    /// The ceiling that has the least left, if there is any ceiling.
    fn least_left(&mut self, payer: Payer<'_>) -> Option<Left> {
        self.left(payer)
            .into_iter()
            .flatten()
            .min_by_key(|left| left.available)
    }

    /// The meter of a ceiling.
    fn meter_of(&mut self, key: &KeyId, ceiling: Ceiling) -> &mut Meter {
        match ceiling {
            Ceiling::Balance => &mut self.balance,
            Ceiling::AccountMonth(month) => self.months.meter(month),
            Ceiling::KeyMonth(month) => self.keys.entry(key.clone()).or_default().meter(month),
        }
    }
}

/// A ceiling without its month.
#[derive(Clone, Copy)]
enum Kind {
    Balance,
    AccountMonth,
    KeyMonth,
}

impl Under {
    const fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Balance => self.balance,
            Kind::AccountMonth => self.account_month,
            Kind::KeyMonth => self.key_month,
        }
    }

    const fn any(self) -> bool {
        self.balance || self.account_month || self.key_month
    }
}

impl Wallet {
    /// Holds as much as there is of `most`, and at least `least`; or says which ceiling it meets, and holds nothing.
    pub fn try_hold(
        self: &Arc<Self>,
        payer: Payer<'_>,
        least: Picodollars,
        most: Picodollars,
    ) -> Result<Hold, Short> {
        let mut state = self.state.lock();
        let left = state.least_left(payer);
        let amount = match left {
            // What costs nothing needs nothing, even where the balance is below its limit.
            Some(left) if least > Picodollars::ZERO && left.available < least => {
                return Err(Short {
                    left,
                    needed: least,
                    most,
                });
            }
            Some(left) => most.min(left.available.max(Picodollars::ZERO)),
            None => most,
        };
        state.each(payer, |_, meter| meter.hold(amount));
        let (under, leased) = (state.under(payer.key), state.leased);
        drop(state);
        Ok(Hold {
            wallet: Arc::clone(self),
            key: payer.key.clone(),
            month: payer.month,
            amount,
            under,
            leased,
            purse: None,
        })
    }

    /// Allows from now on only what is granted: this process is one of several.
    pub fn lease(&self) {
        self.state.lock().leased = true;
    }

    /// The ceilings under which less than `amount` is left.
    pub fn short_of(&self, payer: Payer<'_>, amount: Picodollars) -> Vec<Left> {
        let left = self.state.lock().left(payer);
        left.into_iter()
            .flatten()
            .filter(|left| left.available < amount)
            .collect()
    }

    /// More lease of a ceiling.
    pub fn grant(&self, key: &KeyId, ceiling: Ceiling, amount: Picodollars) {
        let mut state = self.state.lock();
        let meter = state.meter_of(key, ceiling);
        meter.granted = meter.granted.saturating_add(amount);
        // Nothing is what somebody else was told of first.
        if amount > Picodollars::ZERO {
            meter.last_grant = amount;
        }
    }

    /// Takes back what of a ceiling's lease is neither spent nor held, and returns it.
    pub fn take_idle(&self, key: &KeyId, ceiling: Ceiling) -> Picodollars {
        let mut state = self.state.lock();
        let meter = state.meter_of(key, ceiling);
        let idle = meter.left_of(meter.granted).max(Picodollars::ZERO);
        meter.granted = meter.granted.saturating_sub(idle);
        // Others need it more: it is not asked for again before a request needs it.
        meter.last_grant = Picodollars::ZERO;
        idle
    }

    /// Takes back what is idle of every lease, by key and ceiling; the account's own have an empty key.
    pub fn take_all_idle(&self) -> Vec<(KeyId, Ceiling, Picodollars)> {
        let leases: Vec<(KeyId, Ceiling)> = {
            let state = self.state.lock();
            let of_keys = state.keys.iter().flat_map(|(key, monthly)| {
                let months = monthly.meters.keys();
                months.map(|month| (key.clone(), Ceiling::KeyMonth(*month)))
            });
            let of_months = state.months.meters.keys();
            let of_months = of_months.map(|month| (KeyId::from(""), Ceiling::AccountMonth(*month)));
            let balance = (KeyId::from(""), Ceiling::Balance);
            std::iter::once(balance).chain(of_months).chain(of_keys).collect()
        };
        let taken = leases.into_iter().map(|(key, ceiling)| {
            let idle = self.take_idle(&key, ceiling);
            (key, ceiling, idle)
        });
        taken.filter(|(_, _, idle)| *idle > Picodollars::ZERO).collect()
    }

    /// The ceilings of which a quarter of the last grant, or less, is left: worth asking for more before a request must wait.
    pub fn running_low(&self) -> Vec<(Option<KeyId>, Ceiling)> {
        let state = self.state.lock();
        let low = |meter: &Meter| {
            let quarter = Picodollars::new(meter.last_grant.get() / 4);
            meter.last_grant > Picodollars::ZERO && meter.left_of(meter.granted) <= quarter
        };
        let of_months = |monthly: &Monthly, ceiling: fn(Month) -> Ceiling| {
            let newest = monthly.limit.and(monthly.meters.last_key_value());
            newest
                .filter(|(_, meter)| low(meter))
                .map(|(month, _)| ceiling(*month))
        };
        let mut found = Vec::new();
        if state.credit_limit.is_some() && low(&state.balance) {
            found.push((None, Ceiling::Balance));
        }
        found.extend(of_months(&state.months, Ceiling::AccountMonth).map(|ceiling| (None, ceiling)));
        for (key, monthly) in &state.keys {
            found.extend(of_months(monthly, Ceiling::KeyMonth).map(|ceiling| (Some(key.clone()), ceiling)));
        }
        found
    }

    /// What the account may owe from now on; `None` is without a ceiling, zero is prepaid.
    pub fn set_credit_limit(&self, limit: Option<Picodollars>) {
        self.state.lock().credit_limit = limit;
    }

    /// What the account may spend in a month from now on.
    pub fn set_monthly_limit(&self, limit: Option<Picodollars>) {
        self.state.lock().months.limit = limit;
    }

    /// What a key may spend in a month from now on.
    pub fn set_key_monthly_limit(&self, key: &KeyId, limit: Option<Picodollars>) {
        let mut state = self.state.lock();
        match state.keys.get_mut(key) {
            Some(known) => known.limit = limit,
            // Most keys have no limit: of those that are not used nothing is kept.
            None if limit.is_none() => {}
            None => state.keys.entry(key.clone()).or_default().limit = limit,
        }
    }

    /// Money that no request moved: it adds to the balance, or takes away.
    pub fn adjust(&self, amount: Picodollars) {
        let mut state = self.state.lock();
        state.adjusted = state.adjusted.saturating_add(amount);
    }

    /// What the ledger holds at start: all that was ever spent and adjusted.
    pub fn load_balance(&self, spent: Picodollars, adjusted: Picodollars) {
        let mut state = self.state.lock();
        state.balance.spent = spent;
        state.adjusted = adjusted;
    }

    /// What the ledger holds at start: what a key spent in a month.
    pub fn load_month(&self, payer: Payer<'_>, spent: Picodollars) {
        let mut state = self.state.lock();
        state.months.meter(payer.month).spend(spent);
        let key = state.keys.entry(payer.key.clone()).or_default();
        key.meter(payer.month).spend(spent);
    }

    /// What there is to see of it in this month.
    pub fn read(&self, month: Month) -> WalletReading {
        let state = self.state.lock();
        let month_of = |monthly: &Monthly| monthly.meters.get(&month).copied().unwrap_or_default();
        let account = month_of(&state.months);
        WalletReading {
            spent: state.balance.spent,
            adjusted: state.adjusted,
            held: state.balance.held,
            credit_limit: state.credit_limit,
            month: MonthReading {
                spent: account.spent,
                held: account.held,
                limit: state.months.limit,
            },
        }
    }

    /// What there is to see of a key in this month.
    pub fn read_key(&self, key: &KeyId, month: Month) -> MonthReading {
        let state = self.state.lock();
        let Some(monthly) = state.keys.get(key) else {
            return MonthReading::default();
        };
        let meter = monthly.meters.get(&month).copied().unwrap_or_default();
        MonthReading {
            spent: meter.spent,
            held: meter.held,
            limit: monthly.limit,
        }
    }
}

/// What an account has, has spent and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletReading {
    /// What its requests cost until now, those in flight left out.
    pub spent: Picodollars,
    /// What was paid in, given back or corrected.
    pub adjusted: Picodollars,
    /// What requests in flight may cost at the most.
    pub held: Picodollars,
    /// What it may owe; `None` is without a ceiling.
    pub credit_limit: Option<Picodollars>,
    /// This month.
    pub month: MonthReading,
}

impl WalletReading {
    /// Adjustments less costs; below zero it owes.
    pub fn balance(&self) -> Picodollars {
        self.adjusted.saturating_sub(self.spent)
    }

    /// What it may still spend by its balance; `None` is without a ceiling.
    pub fn available(&self) -> Option<Picodollars> {
        let limit = self.credit_limit?;
        Some(limit.saturating_add(self.balance()).saturating_sub(self.held))
    }
}

/// What was spent in a month, and what may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MonthReading {
    /// What the month's requests cost until now.
    pub spent: Picodollars,
    /// What those in flight may cost at the most.
    pub held: Picodollars,
    /// What may be spent; `None` is without a ceiling.
    pub limit: Option<Picodollars>,
}

/// Money that a request in flight may cost. Dropped unsettled it is given back.
#[derive(Debug)]
pub struct Hold {
    wallet: Arc<Wallet>,
    key: KeyId,
    month: Month,
    amount: Picodollars,
    under: Under,
    leased: bool,
    purse: Option<PurseHold>,
}

impl Hold {
    /// The same, with what is held of the token that the caller came with: the two are settled together.
    pub fn with_purse(mut self, purse: Option<PurseHold>) -> Self {
        self.purse = purse;
        self
    }

    /// How much.
    pub fn amount(&self) -> Picodollars {
        self.amount
    }

    /// Whether there was any ceiling when it was taken.
    pub fn has_ceiling(&self) -> bool {
        self.under.any()
    }

    /// The ceilings whose lease it uses up, for whoever books it.
    pub fn leased(&self) -> Leased {
        let under = self.under;
        Leased {
            credit: self.leased && under.balance,
            account_month: self.leased && under.account_month,
            key_month: self.leased && under.key_month,
        }
    }

    /// Gives back what is above `amount`: the request can no longer cost more than that.
    pub fn shrink_to(&mut self, amount: Picodollars) {
        if amount >= self.amount {
            return;
        }
        let released = self.amount.saturating_sub(amount);
        self.amount = amount;
        self.with_meters(|_, meter| meter.release(released));
    }

    /// Puts what the request did cost in its place.
    pub fn settle(mut self, cost: Picodollars) {
        let held = std::mem::take(&mut self.amount);
        let (under, leased) = (self.under, self.leased);
        if let Some(purse) = self.purse.take() {
            purse.settle(cost);
        }
        self.with_meters(|kind, meter| {
            meter.release(held);
            if !leased || under.has(kind) {
                meter.spend(cost);
            }
        });
    }

    fn with_meters(&self, act: impl FnMut(Kind, &mut Meter)) {
        let payer = Payer {
            key: &self.key,
            month: self.month,
        };
        self.wallet.state.lock().each(payer, act);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.amount != Picodollars::ZERO {
            let held = self.amount;
            self.with_meters(|_, meter| meter.release(held));
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JANUARY: Month = Month::from_index(600);

    fn payer(key: &KeyId) -> Payer<'_> {
        Payer { key, month: JANUARY }
    }

    fn usd(amount: i128) -> Picodollars {
        Picodollars::new(amount)
    }

    #[test]
    fn a_limit_that_goes_and_comes_again_gives_no_lease_twice() {
        let (wallet, key) = (Arc::new(Wallet::default()), KeyId::from("key"));
        wallet.lease();
        let set = |limit: Option<Picodollars>| {
            wallet.set_credit_limit(limit);
            wallet.set_monthly_limit(limit);
            wallet.set_key_monthly_limit(&key, limit);
        };
        set(Some(usd(1_000)));
        for ceiling in [
            Ceiling::Balance,
            Ceiling::AccountMonth(JANUARY),
            Ceiling::KeyMonth(JANUARY),
        ] {
            wallet.grant(&key, ceiling, usd(100));
        }
        let hold = wallet.try_hold(payer(&key), usd(100), usd(100)).unwrap();
        hold.settle(usd(100));
        set(None);
        set(Some(usd(1_000)));
        assert_eq!(wallet.short_of(payer(&key), usd(1)).len(), 3);
        assert!(wallet.try_hold(payer(&key), usd(1), usd(1)).is_err());
    }

    /// new-api#6609 (FACTS.md): fifty requests of 100 against 1,000.
    #[test]
    fn of_fifty_requests_of_100_against_1000_exactly_ten_are_let_in() {
        let (wallet, key) = (Arc::new(Wallet::default()), KeyId::from("key"));
        wallet.set_credit_limit(Some(usd(0)));
        wallet.adjust(usd(1_000));
        let held: Vec<_> = std::thread::scope(|scope| {
            let ask = || scope.spawn(|| wallet.try_hold(payer(&key), usd(100), usd(100)).ok());
            let asked: Vec<_> = (0..50).map(|_| ask()).collect();
            asked
                .into_iter()
                .filter_map(|asked| asked.join().unwrap())
                .collect()
        });
        assert_eq!(held.len(), 10);
        assert_eq!(wallet.read(JANUARY).available(), Some(usd(0)));
        for hold in held {
            hold.settle(usd(100));
        }
        assert_eq!(wallet.read(JANUARY).balance(), usd(0));
    }

    #[test]
    fn what_is_held_is_capped_by_what_there_is() {
        let (wallet, key) = (Arc::new(Wallet::default()), KeyId::from("key"));
        wallet.set_credit_limit(Some(usd(70)));
        wallet.set_key_monthly_limit(&key, Some(usd(50)));
        let mut hold = wallet.try_hold(payer(&key), usd(1), usd(1_000)).unwrap();
        assert_eq!(hold.amount(), usd(50));
        let short = wallet.try_hold(payer(&key), usd(1), usd(1)).unwrap_err();
        assert_eq!(short.left.ceiling, Ceiling::KeyMonth(JANUARY));
        hold.shrink_to(usd(30));
        // Another month has its own, and another key its own.
        let february = Payer {
            key: &key,
            month: JANUARY.next(),
        };
        let another = wallet.try_hold(february, usd(1), usd(1_000)).unwrap();
        assert_eq!(another.amount(), usd(40), "what the balance has left");
        drop((hold, another));
        let reading = wallet.read(JANUARY);
        assert_eq!((reading.held, reading.month.held), (usd(0), usd(0)));
    }

    #[test]
    fn what_costs_nothing_is_never_refused() {
        let (wallet, key) = (Arc::new(Wallet::default()), KeyId::from("key"));
        wallet.set_credit_limit(Some(usd(0)));
        wallet.adjust(usd(-5));
        assert!(wallet.try_hold(payer(&key), usd(0), usd(0)).is_ok());
        assert!(wallet.try_hold(payer(&key), usd(1), usd(1)).is_err());
    }

    proptest! {
        /// Whatever is held, shrunk, settled and dropped, no ceiling is passed, nobody is refused who fits, and in the
        /// end nothing is held.
        #[test]
        fn no_ceiling_is_passed_and_nobody_who_fits_is_refused(
            limits in prop::array::uniform3(prop::option::of(0..500i128)),
            steps in prop::collection::vec((0..5u8, 0..2usize, 1..200i128, 0..200i128), 0..200),
        ) {
            let (wallet, keys) = (Arc::new(Wallet::default()), ["a", "b"].map(KeyId::from));
            wallet.set_credit_limit(limits[0].map(usd));
            wallet.set_monthly_limit(limits[1].map(usd));
            wallet.set_key_monthly_limit(&keys[0], limits[2].map(usd));
            let mut held: Vec<(usize, Hold)> = Vec::new();
            let mut spent = [0i128; 2];
            for (step, key, least, more) in steps {
                let holds = |held: &[(usize, Hold)], of: Option<usize>| -> i128 {
                    held.iter().filter(|(key, _)| of.is_none_or(|of| of == *key))
                        .map(|(_, hold)| hold.amount().get()).sum()
                };
                match step {
                    0..=2 => {
                        let all = spent[0] + spent[1] + holds(&held, None);
                        let room = [limits[0].map(|limit| limit - all), limits[1].map(|limit| limit - all),
                            limits[2].filter(|_| key == 0).map(|limit| limit - spent[0] - holds(&held, Some(0)))];
                        let room = room.into_iter().flatten().min();
                        match wallet.try_hold(payer(&keys[key]), usd(least), usd(least + more)) {
                            Ok(hold) => {
                                prop_assert_eq!(hold.amount().get(), room.unwrap_or(i128::MAX).min(least + more));
                                held.push((key, hold));
                            }
                            Err(short) => {
                                prop_assert!(room.is_some_and(|room| room < least));
                                prop_assert_eq!(Some(short.left.available.get()), room);
                            }
                        }
                    }
                    3 => if let Some((key, hold)) = held.pop() {
                        let cost = hold.amount().get().min(more);
                        spent[key] += cost;
                        hold.settle(usd(cost));
                    },
                    _ => if let Some((_, hold)) = held.last_mut() { hold.shrink_to(usd(more)) },
                }
                let reading = wallet.read(JANUARY);
                prop_assert_eq!(reading.spent.get(), spent[0] + spent[1]);
                prop_assert_eq!(reading.held.get(), holds(&held, None));
                prop_assert!(limits[0].is_none_or(|limit| reading.spent.get() + reading.held.get() <= limit));
                prop_assert!(limits[1].is_none_or(|limit| reading.month.spent.get() + reading.month.held.get() <= limit));
            }
            drop(held);
            prop_assert_eq!(wallet.read(JANUARY).held, usd(0));
        }
    }
}
