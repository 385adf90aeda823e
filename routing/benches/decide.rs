//! What it costs to decide where a request goes, and to note that it went there: by engines, blocks in cache and prompt
//! length, and after a million requests.
#![allow(
    clippy::float_arithmetic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures, and prints what it measured"
)]

use farebox_domain::catalog::Routing;
use farebox_domain::route::{Candidate, Choice, choose};
use farebox_routing::{Answered, ModelRouter, Prompt, Seat};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BLOCK_TOKENS: usize = 64;
/// Requests that are under way at once.
const UNDER_WAY: usize = 256;
/// Blocks of a system prompt: every prompt begins with one of a hundred.
const SYSTEM_BLOCKS: usize = 16;

fn main() {
    println!("scores and choose: where a request goes, before it is sent");
    println!("dispatch: that it went there, block by block, after the choice");
    println!("microseconds by the clock on the wall\n");
    println!("                                          scores and choose            dispatch, p50");
    println!("engines    blocks held  prompt blocks      p50     p90     p99      known    half new");
    for engines in [1, 8, 64, 512] {
        for blocks in [0, 100_000, 1_000_000] {
            let mut gateway = Gateway::new(engines, blocks);
            gateway.fill(blocks);
            for length in [32, 256, 1_000] {
                gateway.measure(length);
            }
        }
    }
    a_million_requests();
}

/// The same decision again and again: what was seen must not make it dearer.
fn a_million_requests() {
    println!("\n64 engines that hold 1,000,000 blocks; prompts of 32 blocks, half of them new");
    println!("                scores and choose, of 10,000");
    println!("requests seen      p50     p90     p99    blocks held    resident MB");
    let mut gateway = Gateway::new(64, 1_000_000);
    let mut spent = Vec::new();
    for seen in 1..=1_000_000_u32 {
        let prompt = gateway.prompts.half_new(32);
        spent.push(gateway.serve(&prompt).decided);
        if seen % 10_000 == 0 {
            if [10_000, 100_000, 500_000, 1_000_000].contains(&seen) {
                let [p50, p90, p99] = percentiles(&mut spent);
                let (held, resident) = (gateway.router.index().blocks(), resident_mb());
                println!("{seen:>13} {p50:>8.1} {p90:>7.1} {p99:>7.1} {held:>14} {resident:>14}");
            }
            spent.clear();
        }
    }
}

struct Gateway {
    router: ModelRouter,
    seats: Vec<Arc<Seat>>,
    prompts: Prompts,
    under_way: VecDeque<farebox_routing::Dispatched>,
    turn: usize,
}

struct Took {
    decided: Duration,
    dispatched: Duration,
}

impl Gateway {
    fn new(engines: usize, blocks: usize) -> Self {
        let router = ModelRouter::default();
        let seats = (0..engines).filter_map(|engine| {
            let view = router.index().model(&engine.to_string(), blocks / engines).ok()?;
            Some(Arc::new(router.seat(view, Arc::default())))
        });
        Self {
            seats: seats.collect(),
            router,
            prompts: Prompts::default(),
            under_way: VecDeque::new(),
            turn: 0,
        }
    }

    /// Until the engines hold nearly as many blocks as they can.
    fn fill(&mut self, blocks: usize) {
        let mut left = blocks / 8;
        while self.router.index().blocks() < blocks * 95 / 100 && left > 0 {
            let prompt = self.prompts.half_new(256);
            self.serve(&prompt);
            left -= 1;
        }
    }

    fn measure(&mut self, length: usize) {
        let count = 400_000 / length;
        let (mut decided, mut known, mut half_new) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let prompt = self.prompts.half_new(length);
            let first = self.serve(&prompt);
            let again = self.serve(&prompt);
            decided.extend([first.decided, again.decided]);
            half_new.push(first.dispatched);
            known.push(again.dispatched);
        }
        let [p50, p90, p99] = percentiles(&mut decided);
        println!(
            "{:>7} {:>14} {length:>14} {p50:>8.1} {p90:>7.1} {p99:>7.1} {:>10.1} {:>11.1}",
            self.seats.len(),
            self.router.index().blocks(),
            percentiles(&mut known)[0],
            percentiles(&mut half_new)[0],
        );
    }

    fn serve(&mut self, prompt: &Prompt) -> Took {
        self.turn += 1;
        let now_us = self.turn as u64 * 1_000;
        let begun = Instant::now();
        let seats = self.seats.iter().map(|seat| &**seat);
        let weighing = self.router.weigh(prompt, seats, now_us);
        let candidate = |index: usize| {
            let seat = &self.seats[index];
            let load = &seat.load;
            Candidate {
                in_flight: u32::try_from(load.waiting() + load.streams()).unwrap_or(u32::MAX),
                usable: true,
                estimated_us: weighing.score(index, seat).estimate.total_us(),
                ..Candidate::default()
            }
        };
        let Choice::Engine(chosen) = choose(Routing::Prefix, self.seats.len(), candidate, self.turn) else {
            unreachable!("every engine is usable");
        };
        let decided = begun.elapsed();
        let seat = Arc::clone(&self.seats[chosen]);
        let begun = Instant::now();
        let dispatched = self.router.dispatch(seat, prompt, now_us);
        let took = Took {
            decided,
            dispatched: begun.elapsed(),
        };
        self.under_way.push_back(dispatched);
        self.end_one(now_us);
        took
    }

    fn end_one(&mut self, now_us: u64) {
        if self.under_way.len() < UNDER_WAY {
            return;
        }
        if let Some(mut oldest) = self.under_way.pop_front() {
            oldest.first_token(now_us);
            let answered = Answered {
                prompt_tokens: 1,
                cached_tokens: None,
                output_tokens: 100,
            };
            oldest.ended(answered, now_us);
        }
    }
}

/// Conversations under a hundred system prompts.
#[derive(Default)]
struct Prompts {
    made: u64,
    recent: VecDeque<Vec<u64>>,
}

impl Prompts {
    /// One of which half goes on from an earlier one or from a system prompt, and half is new.
    fn half_new(&mut self, length: usize) -> Prompt {
        self.made += 1;
        let made = self.made;
        let system = mix(made) % 100;
        let mut names: Vec<u64> = match self.recent.get(usize::try_from(mix(!made) % 512).unwrap_or(0)) {
            Some(earlier) if made.is_multiple_of(2) => earlier.clone(),
            _ => (0..SYSTEM_BLOCKS as u64)
                .map(|block| mix(system << 8 | block))
                .collect(),
        };
        names.truncate(length / 2);
        let new = length - names.len();
        names.extend((0..new as u64).map(|block| mix(made << 20 | block | 1 << 60)));
        let prompt = Prompt::of_names(names.iter().copied(), BLOCK_TOKENS, length * BLOCK_TOKENS);
        self.recent.push_back(names);
        if self.recent.len() > 512 {
            self.recent.pop_front();
        }
        prompt
    }
}

/// splitmix64.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The 50th, the 90th and the 99th, in microseconds.
fn percentiles(took: &mut [Duration]) -> [f64; 3] {
    took.sort();
    [50, 90, 99].map(|percent| took[took.len() * percent / 100].as_secs_f64() * 1e6)
}

/// Of this process; zero where the system does not say it.
fn resident_mb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096 / 1_000_000
}
