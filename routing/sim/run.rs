//! One policy under one load, from the first request to the last token.

use crate::engine::{BlockCache, Came, Engine};
use crate::policy::{Gateway, Policy};
use crate::trace::{Request, ratio};
use farebox_routing::{Answered, Dispatched};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub policy: Policy,
    pub engines: usize,
    /// Percent of the capacity.
    pub load: u32,
    /// Of the prompts' tokens, the share that was cached.
    pub hit_rate: f64,
    /// The same of one cache as large as all of theirs together, for which the requests come in their order.
    pub bound: f64,
    pub prefill_tokens: u64,
    pub spared_tokens: u64,
    /// Milliseconds to the first token.
    pub ttft_ms: [f64; 3],
    /// The most that an engine had to do, of the mean.
    pub imbalance: f64,
    /// Of predicted cached tokens, how many were.
    pub foretold: f64,
}

/// What all engines together do of the trace in a second, with one infinite cache: as a share of the whole trace.
pub fn capacity(trace: &[Request], engines: usize) -> f64 {
    let mut world = World::new(trace, Policy::Oracle, engines, usize::MAX / 2, 0.0);
    world.run();
    let busy: u64 = world.busy_ns.iter().sum();
    ratio(1_000_000_000, busy / engines as u64)
}

/// Runs a trace at so many percent of the capacity.
pub fn run(
    trace: &[Request],
    policy: Policy,
    engines: usize,
    cache_blocks: usize,
    capacity: f64,
    load: u32,
) -> Outcome {
    let span_ms = trace.last().map_or(1.0, |last| last.at_ms).max(1.0);
    let scale = 1_000.0 / (capacity * f64::from(load) / 100.0) / span_ms;
    let each = if policy == Policy::Oracle {
        usize::MAX / 2
    } else {
        cache_blocks / engines
    };
    let mut world = World::new(trace, policy, engines, each, scale);
    world.run();
    let all: u64 = trace.iter().map(|request| request.prompt.cut().tokens).sum();
    let spared: u64 = world.cached.iter().sum();
    let mut ttft = world.ttft_ms;
    ttft.sort_by(f64::total_cmp);
    let at = |percent: usize| ttft.get(ttft.len() * percent / 100).copied().unwrap_or_default();
    let work: Vec<u64> = world.engines.iter().map(|engine| engine.work_ns).collect();
    let most = work.iter().copied().max().unwrap_or(0) * engines as u64;
    Outcome {
        policy,
        engines,
        load,
        hit_rate: ratio(spared, all),
        bound: crate::trace::bound(trace, cache_blocks),
        prefill_tokens: all - spared,
        spared_tokens: spared,
        ttft_ms: [at(50), at(90), at(99)],
        imbalance: ratio(most, work.iter().sum()),
        foretold: ratio(world.came_true, world.predicted),
    }
}

struct World<'a> {
    trace: &'a [Request],
    scale: f64,
    gateway: Gateway,
    engines: Vec<Engine>,
    caches: Vec<BlockCache>,
    /// Requests that are at their engines.
    placed: Vec<Option<Dispatched>>,
    arrived_us: Vec<u64>,
    cached: Vec<u64>,
    ttft_ms: Vec<f64>,
    busy_ns: Vec<u64>,
    predicted: u64,
    came_true: u64,
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a> World<'a> {
    fn new(trace: &'a [Request], policy: Policy, engines: usize, cache_blocks: usize, scale: f64) -> Self {
        let caches = if policy == Policy::Oracle { 1 } else { engines };
        Self {
            trace,
            scale,
            gateway: Gateway::new(policy, engines, cache_blocks),
            engines: (0..engines).map(|_| Engine::default()).collect(),
            caches: (0..caches).map(|_| BlockCache::new(cache_blocks)).collect(),
            placed: trace.iter().map(|_| None).collect(),
            arrived_us: vec![0; trace.len()],
            cached: vec![0; trace.len()],
            ttft_ms: Vec::with_capacity(trace.len()),
            busy_ns: vec![0; engines],
            predicted: 0,
            came_true: 0,
            due: BinaryHeap::new(),
        }
    }

    fn run(&mut self) {
        let mut next = 0;
        let mut came = Vec::new();
        loop {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an hour is far below 2^53 ns"
            )]
            let arrival = self
                .trace
                .get(next)
                .map(|request| (request.at_ms * self.scale * 1e6) as u64);
            let step = self.due.peek().map(|Reverse((at, _))| *at);
            match (arrival, step) {
                (Some(arrival), step) if step.is_none_or(|step| arrival <= step) => {
                    self.arrive(next, arrival);
                    next += 1;
                }
                (_, Some(now)) => {
                    let Some(Reverse((_, engine))) = self.due.pop() else {
                        return;
                    };
                    self.engines[engine].stepped(&mut came);
                    for came in came.drain(..) {
                        self.came(came, now / 1_000);
                    }
                    self.step(engine, now);
                }
                (_, None) => return,
            }
        }
    }

    fn arrive(&mut self, index: usize, now: u64) {
        let request = &self.trace[index];
        let (engine, dispatched) = self.gateway.place(&request.prompt, now / 1_000);
        self.arrived_us[index] = now / 1_000;
        self.placed[index] = Some(dispatched);
        self.engines[engine].push(index, request.output);
        self.step(engine, now);
    }

    fn step(&mut self, engine: usize, now: u64) {
        let cache = engine % self.caches.len();
        let trace = self.trace;
        let took = self.engines[engine].step(&mut self.caches[cache], |request| &trace[request].prompt);
        if let Some(took) = took {
            self.busy_ns[engine] += took;
            self.due.push(Reverse((now + took, engine)));
        }
    }

    fn came(&mut self, came: Came, now_us: u64) {
        match came {
            Came::First { request, cached } => {
                self.cached[request] = cached;
                let took = now_us - self.arrived_us[request];
                self.ttft_ms.push(ratio(took, 1_000));
                if let Some(dispatched) = &mut self.placed[request] {
                    self.predicted += dispatched.predicted_tokens;
                    self.came_true += dispatched.predicted_tokens.min(cached);
                    dispatched.first_token(now_us);
                }
            }
            Came::Last { request } => {
                let Some(dispatched) = self.placed[request].take() else {
                    return;
                };
                let answered = Answered {
                    prompt_tokens: self.trace[request].prompt.cut().tokens,
                    cached_tokens: Some(self.cached[request]),
                    output_tokens: u64::from(self.trace[request].output),
                };
                dispatched.ended(answered, now_us);
            }
        }
    }
}
