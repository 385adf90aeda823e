//! One policy under one load, from the first request to the last token.

use super::engine::{BlockCache, Came, Engine};
use super::policy::{Gateway, Policy};
use super::trace::{Request, bound, ratio};
use farebox_routing::{Answered, Dispatched};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Setting {
    pub policy: Policy,
    pub engines: usize,
    /// Percent of the capacity.
    pub load: u32,
    /// Blocks that all caches hold together.
    pub cache_blocks: usize,
    /// How much of that the gateway thinks they hold, in percent.
    pub believed_percent: usize,
    /// The engines say how many tokens were cached.
    pub told: bool,
    /// How many times slower the first engine is.
    pub slow: u64,
}

impl Setting {
    /// One in which the gateway is right about everything.
    pub const fn plain(policy: Policy, engines: usize, load: u32, cache_blocks: usize) -> Self {
        Self {
            policy,
            engines,
            load,
            cache_blocks,
            believed_percent: 100,
            told: true,
            slow: 1,
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    #[serde(flatten)]
    pub setting: Setting,
    /// Of the prompts' tokens, the share that was cached.
    pub hit_rate: f64,
    /// The same of one cache as large as all of theirs together, for which the requests come in their order.
    pub bound: f64,
    pub spared_tokens: u64,
    /// Milliseconds to the first token.
    pub ttft_ms: Ttft,
    /// The most that an engine had to do, of the mean.
    pub imbalance: f64,
    /// Of predicted cached tokens, how many were.
    pub foretold: f64,
}

impl Outcome {
    /// The hit rate, of the bound.
    pub fn of_bound(&self) -> f64 {
        self.hit_rate / self.bound
    }
}

/// Milliseconds to the first token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ttft {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

/// What all engines together do of the trace in a second, with one infinite cache: as a share of the whole trace.
pub fn capacity(trace: &[Request], engines: usize) -> f64 {
    let setting = Setting::plain(Policy::Oracle, engines, 100, 0);
    let mut world = World::new(trace, setting, 0.0);
    world.run();
    let busy: u64 = world.busy_ns.iter().sum();
    ratio(1_000_000_000, busy / engines as u64)
}

/// Runs a trace. `capacity` is what so many engines of equal speed do.
pub fn run(trace: &[Request], setting: Setting, capacity: f64) -> Outcome {
    let span_ms = trace.last().map_or(1.0, |last| last.at_ms).max(1.0);
    let engines = setting.engines as u64;
    // Of all engines, what is there where one is slow.
    let there = ratio((engines - 1) * setting.slow + 1, engines * setting.slow);
    let scale = 1_000.0 / (capacity * there * f64::from(setting.load) / 100.0) / span_ms;
    let mut world = World::new(trace, setting, scale);
    world.run();
    world.outcome()
}

struct World<'a> {
    trace: &'a [Request],
    setting: Setting,
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
    fn new(trace: &'a [Request], setting: Setting, scale: f64) -> Self {
        let engines = setting.engines;
        let (caches, each) = match setting.policy {
            Policy::Oracle => (1, usize::MAX / 256),
            _ => (engines, setting.cache_blocks / engines),
        };
        let believed = each * setting.believed_percent / 100;
        Self {
            trace,
            setting,
            scale,
            gateway: Gateway::new(setting.policy, engines, believed),
            engines: (0..engines)
                .map(|engine| Engine::new(if engine == 0 { setting.slow } else { 1 }))
                .collect(),
            caches: (0..caches).map(|_| BlockCache::new(each)).collect(),
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

    fn outcome(mut self) -> Outcome {
        let all: u64 = self.trace.iter().map(|request| request.prompt.cut().tokens).sum();
        let spared: u64 = self.cached.iter().sum();
        let ttft = &mut self.ttft_ms;
        ttft.sort_by(f64::total_cmp);
        let at = |percent: usize| ttft.get(ttft.len() * percent / 100).copied().unwrap_or_default();
        let work = self.engines.iter().map(|engine| engine.work_ns);
        let most = work.clone().max().unwrap_or(0) * self.engines.len() as u64;
        Outcome {
            setting: self.setting,
            hit_rate: ratio(spared, all),
            bound: bound(self.trace, self.setting.cache_blocks),
            spared_tokens: spared,
            ttft_ms: Ttft {
                p50: at(50),
                p90: at(90),
                p99: at(99),
            },
            imbalance: ratio(most, work.sum()),
            foretold: ratio(self.came_true, self.predicted),
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
                    self.predicted += dispatched.predicted_tokens();
                    self.came_true += dispatched.predicted_tokens().min(cached);
                    dispatched.first_token(now_us);
                }
            }
            Came::Last { request } => {
                let Some(dispatched) = self.placed[request].take() else {
                    return;
                };
                let answered = Answered {
                    prompt_tokens: self.trace[request].prompt.cut().tokens,
                    cached_tokens: self.setting.told.then(|| self.cached[request]),
                    output_tokens: u64::from(self.trace[request].output),
                };
                dispatched.ended(answered, now_us);
            }
        }
    }
}
