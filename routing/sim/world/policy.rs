//! Who chooses: farebox's own routing, in each of its ways, and an oracle.

use farebox_domain::catalog::Routing;
use farebox_domain::route::{Candidate, Choice, choose};
use farebox_routing::{Dispatched, ModelRouter, Prompt, Seat};
use serde::Serialize;
use std::sync::Arc;

/// A way to route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    RoundRobin,
    LeastLoaded,
    Prefix,
    /// `prefix`, where every engine has one infinite cache in common: nobody can do better.
    Oracle,
}

impl Policy {
    pub const ALL: [Self; 4] = [Self::RoundRobin, Self::LeastLoaded, Self::Prefix, Self::Oracle];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastLoaded => "least_loaded",
            Self::Prefix => "prefix",
            Self::Oracle => "oracle",
        }
    }

    const fn routing(self) -> Routing {
        match self {
            Self::RoundRobin => Routing::RoundRobin,
            Self::LeastLoaded => Routing::LeastLoaded,
            Self::Prefix | Self::Oracle => Routing::Prefix,
        }
    }
}

/// The gateway's side: what it knows of the engines.
pub struct Gateway {
    routing: Routing,
    router: ModelRouter,
    seats: Vec<Arc<Seat>>,
    turn: usize,
}

impl Gateway {
    pub fn new(policy: Policy, engines: usize, cache_blocks: usize) -> Self {
        let router = ModelRouter::default();
        let seats = (0..engines).filter_map(|engine| {
            let view = router.index().model(&engine.to_string(), cache_blocks).ok()?;
            Some(Arc::new(router.seat(view, Arc::default())))
        });
        Self {
            routing: policy.routing(),
            seats: seats.collect(),
            router,
            turn: 0,
        }
    }

    /// Where a request goes.
    pub fn place(&mut self, prompt: &Prompt, now_us: u64) -> (usize, Dispatched) {
        self.turn += 1;
        let seats = self.seats.iter().map(|seat| &**seat);
        let weighing = (self.routing == Routing::Prefix).then(|| self.router.weigh(prompt, seats, now_us));
        let candidate = |index: usize| {
            let seat = &self.seats[index];
            let load = &seat.load;
            Candidate {
                in_flight: u32::try_from(load.waiting() + load.streams()).unwrap_or(u32::MAX),
                usable: true,
                estimated_us: weighing
                    .as_ref()
                    .map_or(0, |weighing| weighing.score(index, seat).estimate.total_us()),
                ..Candidate::default()
            }
        };
        let chosen = match choose(self.routing, self.seats.len(), candidate, self.turn) {
            Choice::Engine(index) => index,
            Choice::AllFull | Choice::NoneUsable => 0,
        };
        (
            chosen,
            self.router
                .dispatch(Arc::clone(&self.seats[chosen]), prompt, now_us),
        )
    }
}
