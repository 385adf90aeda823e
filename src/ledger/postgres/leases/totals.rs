//! What a replica knows of its leases: all that it was told of, and all that it gave back, since each lease's row is there.

use super::super::super::Scope;
use farebox_domain::money::Picodollars;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Of every lease.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<HashMap<Scope, Total>>);

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    /// All that it was told of. The database may have granted more, and the answer was lost.
    granted: Picodollars,
    /// All that it gave back. The database may not have heard of all.
    returned: Picodollars,
}

impl Totals {
    pub(super) fn granted(&self, scope: &Scope) -> Picodollars {
        self.0
            .lock()
            .get(scope)
            .map_or(Picodollars::ZERO, |known| known.granted)
    }

    pub(super) fn returned(&self, scope: &Scope) -> Picodollars {
        self.0
            .lock()
            .get(scope)
            .map_or(Picodollars::ZERO, |known| known.returned)
    }

    /// Tells the replica of all that was ever granted, and returns what it did not know of. Whoever asks at once is told of
    /// each picodollar once.
    pub(super) fn tell(&self, scope: &Scope, granted: Picodollars) -> Picodollars {
        let mut totals = self.0.lock();
        let known = totals.entry(scope.clone()).or_default();
        let untold = granted.saturating_sub(known.granted).max(Picodollars::ZERO);
        known.granted = known.granted.max(granted);
        untold
    }

    /// From now on so much less is this replica's.
    pub(super) fn give_back(&self, scope: &Scope, amount: Picodollars) {
        let mut totals = self.0.lock();
        let known = totals.entry(scope.clone()).or_default();
        known.returned = known.returned.saturating_add(amount);
    }

    /// Gives back what it was not told of, and returns all that it has given back by then.
    pub(super) fn give_back_untold(&self, scope: &Scope, granted: Picodollars) -> Picodollars {
        let untold = self.tell(scope, granted);
        self.give_back(scope, untold);
        self.returned(scope)
    }

    /// There is no such lease: the next one begins at nothing.
    pub(super) fn forget(&self, scope: &Scope) {
        self.0.lock().remove(scope);
    }

    /// There are no others.
    pub(super) fn keep_only(&self, left: &[Scope]) {
        self.0.lock().retain(|scope, _| left.contains(scope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(amount: i128) -> Picodollars {
        Picodollars::new(amount)
    }

    #[test]
    fn each_picodollar_is_told_once_and_given_back_once() {
        let (totals, scope) = (Totals::default(), Scope::Credit("a".into()));
        // Two that ask at once; the answer of the first comes last.
        assert_eq!(totals.tell(&scope, usd(15)), usd(15));
        assert_eq!(totals.tell(&scope, usd(10)), usd(0));
        totals.give_back(&scope, usd(4));
        // A grant of five whose answer was lost is given back when the rest is.
        assert_eq!(totals.give_back_untold(&scope, usd(20)), usd(9));
        assert_eq!(totals.tell(&scope, usd(20)), usd(0));
        totals.forget(&scope);
        assert_eq!(
            (totals.granted(&scope), totals.returned(&scope)),
            (usd(0), usd(0))
        );
    }
}
