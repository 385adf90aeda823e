//! What a request costs by how much there is of one thing: all sizes run at once and are visited in turn, several times.

use crate::gateway::{Gateway, Place, SMALL, Shape};
use crate::made::Size;
use crate::options::{Options, Part};
use farebox_bench_support::Outcome;
use farebox_bench_support::asks::{Ask, Kind};
use farebox_bench_support::cpu::{CpuReading, resident_bytes};
use farebox_bench_support::load::{Load, Numbered};
use farebox_bench_support::reading::{Reading, quantile};
use farebox_bench_support::spread::Spread;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// As the gateway benchmark's request phase: 32 clients in a closed loop, an answer of 32 tokens.
const ASK: Ask = Ask {
    clients: 32,
    of: Kind::Chat { tokens: 32 },
    spread: Duration::ZERO,
};
/// A closed loop runs this long before it is measured.
const SETTLING: Duration = Duration::from_millis(300);
const WINDOW: Duration = Duration::from_millis(1_000);
/// What all do while nobody asks is measured over this long.
const IDLE: Duration = Duration::from_secs(5);
const BEGUN_WITHIN: Duration = Duration::from_secs(10);
/// What counts as flat, as a multiple of the smallest size.
pub const FLAT: f64 = 1.1;

/// One thing that grows while all else stays.
pub struct Dimension {
    /// Its name in the JSON.
    pub key: &'static str,
    /// Its name in tables and drawings.
    pub title: &'static str,
    /// Ascending.
    sizes: Vec<u64>,
    shape: Grows,
    /// How many of the keys ask, and how many of the models are asked for, in turn.
    asking: fn(u64) -> (u64, u64),
}

/// What is started for a size.
#[derive(Clone, Copy)]
enum Grows {
    /// A farebox of this shape.
    Farebox(fn(u64) -> Shape),
    /// The pass-through with so many clients.
    Passthrough,
}

/// Those of a part.
pub fn dimensions(part: Part, options: &Options) -> Vec<Dimension> {
    let keys = |keys| Shape {
        data: Size { keys, entries: 0 },
        ..SMALL
    };
    let dimension = |key, title, sizes: &[u64], small, shape, asking| Dimension {
        key,
        title,
        sizes: options.sizes(sizes, small),
        shape: Grows::Farebox(shape),
        asking,
    };
    let key_sizes = [10, 1_000, 100_000, 1_000_000];
    let engine_sizes = [1, 8, 64, 512];
    match part {
        Part::Keys => vec![
            dimension(
                "keys",
                "keys, each asking in turn",
                &key_sizes,
                1_000,
                keys,
                |keys| (keys, 1),
            ),
            dimension(
                "keys_few_ask",
                "keys, ten of them asking",
                &key_sizes,
                1_000,
                keys,
                |_| (10, 1),
            ),
        ],
        Part::Models => vec![dimension(
            "models",
            "models, each asked for in turn",
            &[1, 10, 100, 1_000],
            10,
            |models| Shape { models, ..SMALL },
            |models| (10, models),
        )],
        Part::Engines => vec![
            dimension(
                "engines",
                "engines of a model, routing: least_loaded",
                &engine_sizes,
                8,
                |engines| Shape { engines, ..SMALL },
                |_| (10, 1),
            ),
            dimension(
                "engines_prefix",
                "engines of a model, routing: prefix",
                &engine_sizes,
                8,
                |engines| Shape {
                    engines,
                    routing: "prefix",
                    ..SMALL
                },
                |_| (10, 1),
            ),
            Dimension {
                key: "engines_passthrough",
                title: "upstreams of the pass-through, in turn",
                sizes: options.sizes(&engine_sizes, 8),
                shape: Grows::Passthrough,
                asking: |_| (1, 1),
            },
        ],
        Part::Entries => vec![dimension(
            "entries",
            "entries in the ledger, of 1,000 keys",
            &[0, 10_000, 1_000_000, 10_000_000],
            10_000,
            |entries| Shape {
                data: Size { keys: 1_000, entries },
                ..SMALL
            },
            |_| (1_000, 1),
        )],
        Part::Settlements | Part::Streams => Vec::new(),
    }
}

/// What a visit to one size gives.
type Figures = BTreeMap<&'static str, f64>;

/// What one size came to.
#[derive(Serialize)]
pub struct Sized {
    /// How much of it.
    pub size: u64,
    /// CPU microseconds a request.
    pub cpu_us: Spread,
    /// To the smallest size of the same round.
    pub ratio: Spread,
    /// From a request to its whole answer, in microseconds.
    pub p50_us: Spread,
    /// Likewise.
    pub p99_us: Spread,
    /// Requests a second.
    pub rate: Spread,
    /// What of a core it uses while nobody asks, in percent.
    pub idle_percent: f64,
    /// From its start to its word that it is ready.
    pub start_seconds: f64,
    /// Resident then, in MiB.
    pub resident_mib: f64,
    /// Resident after all rounds, in MiB.
    pub resident_after_mib: f64,
}

/// What a dimension came to.
#[derive(Serialize)]
pub struct Grown {
    /// Its name in the JSON.
    pub key: &'static str,
    /// Its name elsewhere.
    pub title: &'static str,
    /// Ascending.
    pub sizes: Vec<Sized>,
}

impl Grown {
    /// Whether no size costs more than the smallest, but for [`FLAT`].
    pub fn is_flat(&self) -> bool {
        self.sizes.iter().all(|sized| sized.ratio.median <= FLAT)
    }
}

impl Dimension {
    /// Starts a gateway of each size and visits them in turn.
    pub async fn run(&self, options: &Options, place: &Place<'_>) -> Outcome<Grown> {
        let mut gateways = Vec::new();
        for &size in &self.sizes {
            let name = format!("{}-{size}", self.key);
            let gateway = match self.shape {
                Grows::Farebox(shape) => place.start(&name, shape(size)).await?,
                Grows::Passthrough => place.start_passthrough(size).await?,
            };
            gateways.push((size, gateway));
        }
        let idle = idle(&gateways).await?;
        let mut rounds: Vec<BTreeMap<u64, Figures>> = Vec::new();
        for number in 0..options.rounds() {
            eprintln!("{}: round {} of {}", self.title, number + 1, options.rounds());
            gateways.rotate_left(1);
            let mut round = BTreeMap::new();
            for (size, gateway) in &gateways {
                round.insert(*size, self.visit(*size, gateway, options.window(WINDOW)).await?);
            }
            rounds.push(round);
        }
        gateways.sort_by_key(|(size, _)| *size);
        let sizes = gateways.iter().zip(idle).map(|((size, gateway), idle_percent)| {
            let all = |what| figures(&rounds, *size, what);
            Ok(Sized {
                size: *size,
                cpu_us: all("cpu_us")?,
                ratio: self.ratios(&rounds, *size)?,
                p50_us: all("p50_us")?,
                p99_us: all("p99_us")?,
                rate: all("rate")?,
                idle_percent,
                start_seconds: gateway.start_seconds,
                resident_mib: gateway.resident_mib,
                resident_after_mib: crate::gateway::mib(resident_bytes(gateway.process.id())?),
            })
        });
        Ok(Grown {
            key: self.key,
            title: self.title,
            sizes: sizes.collect::<Outcome<_>>()?,
        })
    }

    async fn visit(&self, size: u64, gateway: &Gateway, window: Duration) -> Outcome<Figures> {
        let target = &gateway.target;
        let request = ASK.of.request(target);
        let (keys, models) = (self.asking)(size);
        let numbered = vec![
            Numbered::at(&request, &target.key, keys)?,
            Numbered::at(&request, target.chat_model, models)?,
        ];
        let load = Load::start_numbered(target, ASK, numbered);
        load.all_begun(ASK.clients, BEGUN_WITHIN).await?;
        tokio::time::sleep(SETTLING).await;
        load.seen.timing.store(true, Ordering::Relaxed);
        let before = Reading::take(&load, Some(gateway.process.id()))?;
        tokio::time::sleep(window).await;
        let after = Reading::take(&load, Some(gateway.process.id()))?;
        let answers = after.answers_since(&before);
        let cpu_us = after.cpu_us_since(&before).ok_or("no CPU time")?;
        let seen = std::sync::Arc::clone(&load.seen);
        load.drain().await;
        if let Some(fault) = seen.fault.lock().take() {
            return Err(format!("{} {size}: {fault}", self.title).into());
        }
        let mut waits = std::mem::take(&mut *seen.waits.lock());
        waits.sort_unstable();
        let waited = |percent| quantile(&waits, percent).ok_or("no answer in a window");
        Ok(Figures::from([
            ("cpu_us", cpu_us / answers),
            ("rate", answers / after.seconds_since(&before)),
            ("p50_us", waited(50)?),
            ("p99_us", waited(99)?),
        ]))
    }

    fn ratios(&self, rounds: &[BTreeMap<u64, Figures>], size: u64) -> Outcome<Spread> {
        let smallest = *self.sizes.first().ok_or("no size")?;
        let ratio = |round: &BTreeMap<u64, Figures>| Some(cpu(round, size)? / cpu(round, smallest)?);
        Ok(Spread::of(rounds.iter().filter_map(ratio).collect()).ok_or("no round")?)
    }
}

fn cpu(round: &BTreeMap<u64, Figures>, size: u64) -> Option<f64> {
    round.get(&size)?.get("cpu_us").copied()
}

fn figures(rounds: &[BTreeMap<u64, Figures>], size: u64, what: &str) -> Outcome<Spread> {
    let of = |round: &BTreeMap<u64, Figures>| round.get(&size)?.get(what).copied();
    Ok(Spread::of(rounds.iter().filter_map(of).collect()).ok_or("no round")?)
}

/// Percent of a core that each has while nobody asks: probes, timers.
async fn idle(gateways: &[(u64, Gateway)]) -> Outcome<Vec<f64>> {
    let read = || -> Outcome<Vec<CpuReading>> {
        let ids = gateways.iter().map(|(_, gateway)| gateway.process.id());
        ids.map(CpuReading::of).collect()
    };
    let before = read()?;
    tokio::time::sleep(IDLE).await;
    let used = read()?;
    let percent =
        |(now, then): (&CpuReading, &CpuReading)| now.microseconds_since(then) / IDLE.as_secs_f64() / 1e4;
    Ok(used.iter().zip(&before).map(percent).collect())
}
