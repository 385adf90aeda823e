//! What goes to the server in one round trip: what is given back first, so that whoever asks finds it.

use super::link::{Link, Script, put_accounts, put_ask, put_change, put_place};
use super::table::Table;
use super::{Ask, Granted, InFlightOf, Message, Met, Place, RateChange};
use farebox_domain::ids::AccountId;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

type AskReply = oneshot::Sender<Result<Granted, Met>>;
type ReadReply = oneshot::Sender<Option<Vec<InFlightOf>>>;

/// See the module.
#[derive(Default)]
pub(super) struct Round {
    pub(super) asks: Vec<(Ask, AskReply)>,
    places: HashMap<Arc<Place>, u32>,
    changes: Vec<RateChange>,
    pub(super) reads: Vec<(Vec<AccountId>, ReadReply)>,
}

impl Round {
    /// Of what was told. What is given back is gone from the table already.
    pub(super) fn of(told: impl Iterator<Item = Message>, table: &mut Table, now: Instant) -> Self {
        let mut round = Self::default();
        for message in told {
            match message {
                // Whoever has left in the meantime is not let in.
                Message::Acquire(ask, reply) if !reply.is_closed() => round.asks.push((ask, reply)),
                Message::Acquire(..) => {}
                Message::GiveBack(place) => {
                    table.give_back(&place);
                    *round.places.entry(place).or_default() += 1;
                }
                Message::TrueUp(change) => {
                    table.true_up(&change, now);
                    round.changes.push(change);
                }
                Message::Read(accounts, reply) => round.reads.push((accounts, reply)),
            }
        }
        round
    }

    /// The calls: one for all that is given back, and then one for each who asks.
    pub(super) fn calls(&self, link: &Link, session: &str, table: &Table, now: Instant) -> Vec<redis::Cmd> {
        let mut call = link.call_of(Script::Return);
        call.arg(session).arg(self.places.len());
        for (place, count) in &self.places {
            put_place(&mut call, place, *count);
        }
        for change in &self.changes {
            put_change(&mut call, change);
        }
        let mut calls = vec![call];
        for (ask, _) in &self.asks {
            let mut call = link.call_of(Script::Acquire);
            put_ask(&mut call, session, ask, table.shares(ask, now));
            calls.push(call);
        }
        for (accounts, _) in &self.reads {
            let mut call = link.call_of(Script::Read);
            put_accounts(&mut call, accounts);
            calls.push(call);
        }
        calls
    }
}
