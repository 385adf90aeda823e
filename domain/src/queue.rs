//! Whose turn it is, among those that wait: by tier, and fairly between accounts.

use crate::ids::AccountId;
use crate::units::ServiceTier;
use alloc::collections::{BTreeMap, VecDeque};

/// The tiers, in the order in which they are served.
const IN_TURN: [ServiceTier; 3] = [ServiceTier::Priority, ServiceTier::Default, ServiceTier::Flex];

/// A place in a queue: what it takes to leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    tier: ServiceTier,
    account: AccountId,
    number: u64,
}

/// Those that wait. A higher tier goes first; within one the accounts take turns, whatever number of requests each has;
/// within an account the oldest goes first.
#[derive(Debug)]
pub struct FairQueue<T> {
    tiers: [Tier<T>; 3],
    next_number: u64,
    len: usize,
}

/// Those of one tier.
#[derive(Debug)]
struct Tier<T> {
    /// Each account that waits, once: the one in front is next.
    turns: VecDeque<AccountId>,
    /// What it waits with, the oldest first; never empty.
    waiting: BTreeMap<AccountId, VecDeque<(u64, T)>>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            tiers: core::array::from_fn(|_| Tier {
                turns: VecDeque::new(),
                waiting: BTreeMap::new(),
            }),
            next_number: 0,
            len: 0,
        }
    }
}

impl<T> FairQueue<T> {
    /// How many wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts one at its place.
    pub fn push(&mut self, tier: ServiceTier, account: &AccountId, item: T) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        self.len += 1;
        let of_tier = &mut self.tiers[turn(tier)];
        match of_tier.waiting.get_mut(account) {
            Some(own) => own.push_back((number, item)),
            None => {
                of_tier.turns.push_back(account.clone());
                let own = VecDeque::from([(number, item)]);
                of_tier.waiting.insert(account.clone(), own);
            }
        }
        Ticket {
            tier,
            account: account.clone(),
            number,
        }
    }

    /// The one whose turn it is.
    pub fn peek(&self) -> Option<&T> {
        let of_tier = self.tiers.iter().find(|of_tier| !of_tier.turns.is_empty())?;
        let own = of_tier.waiting.get(of_tier.turns.front()?)?;
        own.front().map(|(_, item)| item)
    }

    /// Takes the one whose turn it is; its account's next turn comes after everybody else's.
    pub fn pop(&mut self) -> Option<T> {
        let of_tier = self.tiers.iter_mut().find(|of_tier| !of_tier.turns.is_empty())?;
        let account = of_tier.turns.pop_front()?;
        let own = of_tier.waiting.get_mut(&account)?;
        let (_, item) = own.pop_front()?;
        if own.is_empty() {
            of_tier.waiting.remove(&account);
        } else {
            of_tier.turns.push_back(account);
        }
        self.len -= 1;
        Some(item)
    }

    /// Takes one out of turn, if it is still there.
    pub fn remove(&mut self, ticket: &Ticket) -> Option<T> {
        let of_tier = &mut self.tiers[turn(ticket.tier)];
        let own = of_tier.waiting.get_mut(&ticket.account)?;
        // An account's own are in the order of their numbers.
        let at = own
            .binary_search_by_key(&ticket.number, |(number, _)| *number)
            .ok()?;
        let (_, item) = own.remove(at)?;
        if own.is_empty() {
            of_tier.waiting.remove(&ticket.account);
            of_tier.turns.retain(|account| *account != ticket.account);
        }
        self.len -= 1;
        Some(item)
    }
}

/// When a tier is served: 0 is first.
pub fn turn(tier: ServiceTier) -> usize {
    IN_TURN.iter().position(|each| *each == tier).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn one_that_waits_beside_a_hundred_and_ninety_waits_one_turn() {
        let (many, one) = (AccountId::from("many"), AccountId::from("one"));
        let mut queue = FairQueue::default();
        for number in 0..190 {
            queue.push(ServiceTier::Default, &many, ("many", number));
        }
        queue.push(ServiceTier::Default, &one, ("one", 0));
        let turns: Vec<_> = core::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(turns[..3], [("many", 0), ("one", 0), ("many", 1)]);
        assert_eq!(turns.len(), 191);
    }

    #[test]
    fn tiers_go_first_and_who_leaves_is_not_served() {
        let account = AccountId::from("a");
        let mut queue = FairQueue::default();
        let mut tickets = Vec::new();
        for tier in [
            ServiceTier::Flex,
            ServiceTier::Default,
            ServiceTier::Priority,
            ServiceTier::Priority,
        ] {
            tickets.push(queue.push(tier, &account, (tier, tickets.len())));
        }
        assert_eq!(queue.remove(&tickets[2]), Some((ServiceTier::Priority, 2)));
        assert_eq!(queue.remove(&tickets[2]), None);
        let turns: Vec<_> = core::iter::from_fn(|| queue.pop()).collect();
        let expected = [
            (ServiceTier::Priority, 3),
            (ServiceTier::Default, 1),
            (ServiceTier::Flex, 0),
        ];
        assert_eq!(turns, expected);
        assert_eq!(queue.remove(&tickets[0]), None);
    }

    proptest! {
        /// Whatever comes and goes: nobody is lost or served twice, no lower tier is served while a higher one waits, and
        /// between two turns of an account every other one that waits in its tier has had one.
        #[test]
        fn everybody_is_served_once_and_in_turn(steps in prop::collection::vec((0..5u8, 0..4usize, 0..3usize), 0..200)) {
            let accounts = ["a", "b", "c", "d"].map(AccountId::from);
            let mut queue = FairQueue::default();
            // What waits, by a model of its own: tier, account, arrival, when the account was last served in that tier.
            let mut waiting: Vec<(usize, usize, usize, Ticket)> = Vec::new();
            let mut since = [[0usize; 4]; 3];
            let mut time = 0;
            for (arrival, (step, account, tier)) in steps.into_iter().enumerate() {
                time += 1;
                match step {
                    0..=2 => {
                        if !waiting.iter().any(|each| (each.0, each.1) == (tier, account)) {
                            since[tier][account] = time;
                        }
                        let ticket = queue.push(IN_TURN[tier], &accounts[account], arrival);
                        waiting.push((tier, account, arrival, ticket));
                    }
                    3 => {
                        let expected = waiting.iter().min_by_key(|each| (each.0, since[each.0][each.1], each.2)).map(|each| each.2);
                        prop_assert_eq!(queue.peek().copied(), expected);
                        prop_assert_eq!(queue.pop(), expected);
                        if let Some(at) = waiting.iter().position(|each| Some(each.2) == expected) {
                            let (tier, account, ..) = waiting.remove(at);
                            since[tier][account] = time;
                        }
                    }
                    _ if !waiting.is_empty() => {
                        let left = waiting.remove((account * 7 + tier) % waiting.len());
                        prop_assert_eq!(queue.remove(&left.3), Some(left.2));
                    }
                    _ => {}
                }
                prop_assert_eq!(queue.len(), waiting.len());
            }
        }
    }
}
