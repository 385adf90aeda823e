//! The phases: what each asks for, and what is read from it.

use crate::Outcome;
use crate::calls::CallCount;
use crate::ledger::LedgerReading;
use crate::metric::Metric;
use crate::options::{Options, Phase};
use crate::proxies::Gateway;
use farebox_bench_support::asks::{Ask, Kind, Target};
use farebox_bench_support::cpu::resident_bytes;
use farebox_bench_support::load::Load;
use farebox_bench_support::reading::{Reading, quantile};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A closed loop runs this long before it is measured.
const SETTLING: Duration = Duration::from_millis(400);
/// Every client must have had its first event by then.
const BEGUN_WITHIN: Duration = Duration::from_secs(20);
/// A standing stream has events for this long: longer than its phase can be.
const STANDING: Duration = Duration::from_secs(60);

/// What one phase of one subject gave.
pub type Figures = Vec<(Metric, f64)>;

fn ask(options: &Options, phase: Phase) -> Ask {
    let events_in =
        |pace: Duration| u32::try_from(STANDING.as_millis() / pace.as_millis().max(1)).unwrap_or(u32::MAX);
    let (step, paced, open, ttft) = (
        Duration::from_millis(1),
        Duration::from_millis(50),
        Duration::from_secs(1),
        Duration::from_millis(10),
    );
    let stream = |events, pace| Kind::Stream {
        events,
        pace,
        include_usage: !options.no_usage,
    };
    let (clients, of, spread) = match phase {
        Phase::Request | Phase::RequestCalls => (32, Kind::Chat { tokens: 32 }, Duration::ZERO),
        Phase::Burst => (8, stream(500, Duration::ZERO), Duration::ZERO),
        Phase::Stepped | Phase::ChunkCalls => (64, stream(500, step), Duration::ZERO),
        Phase::Paced => (64, stream(events_in(paced), paced), Duration::ZERO),
        Phase::Ttft => (32, stream(20, ttft), ttft * 20),
        Phase::Open => (options.open_streams(), stream(events_in(open), open), open),
        Phase::Embeddings => (8, Kind::Embeddings, Duration::ZERO),
    };
    Ask { clients, of, spread }
}

/// What a phase is measured on.
pub struct Place<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// Where clients go.
    pub target: &'a Target,
    /// What stands there; `None` is the upstream itself.
    pub gateway: Option<&'a Gateway>,
    /// For files that are wanted meanwhile.
    pub folder: &'a Path,
}

/// Runs `phase`.
pub async fn measure(place: &Place<'_>, phase: Phase) -> Outcome<Figures> {
    let window = place.options.window(phase);
    let bound = BEGUN_WITHIN + window + Duration::from_secs(20);
    tokio::time::timeout(bound, measure_unbounded(place, phase, window))
        .await
        .unwrap_or_else(|_| Err(format!("not done within {bound:?}").into()))
}

async fn measure_unbounded(place: &Place<'_>, phase: Phase, window: Duration) -> Outcome<Figures> {
    let process = place.gateway.map(|gateway| gateway.process.id());
    let ask = ask(place.options, phase);
    let idle = process.map(resident_bytes).transpose()?;
    let load = Load::start(place.target, ask);
    settle(&load, ask).await?;
    let mut figures = match process {
        Some(process) if phase.counts_calls() => calls(place, process, phase, &load, window).await?,
        _ => cost(place, process, phase, &load, window).await?,
    };
    if let (Phase::Open, Some(process), Some(idle)) = (phase, process, idle) {
        let resident = resident_bytes(process)?;
        figures.push((Metric::Resident, resident / f64::from(1 << 20)));
        let came = (resident - idle) / f64::from(ask.clients);
        figures.push((Metric::StreamMemory, came / f64::from(1 << 10)));
    }
    let seen = Arc::clone(&load.seen);
    if matches!(phase, Phase::Paced | Phase::Open) {
        drop(load);
    } else {
        load.drain().await;
    }
    match seen.fault.lock().take() {
        Some(fault) => Err(fault.into()),
        None => Ok(figures),
    }
}

/// CPU and waits in the window; the ledger's rates from just before it to just after.
async fn cost(
    place: &Place<'_>,
    process: Option<u32>,
    phase: Phase,
    load: &Load,
    window: Duration,
) -> Outcome<Figures> {
    let ledger = place.gateway.and_then(|gateway| gateway.metrics);
    let ledger = ledger.filter(|_| phase == Phase::Request);
    let booked_before = match ledger {
        Some(admin) => Some(LedgerReading::of(admin).await?),
        None => None,
    };
    load.seen.timing.store(true, Ordering::Relaxed);
    let before = Reading::take(load, process)?;
    tokio::time::sleep(window).await;
    let after = Reading::take(load, process)?;
    load.seen.timing.store(false, Ordering::Relaxed);
    let mut figures = figures(phase, &before, &after, &mut load.seen.waits.lock());
    if let (Some(admin), Some(before)) = (ledger, booked_before) {
        figures.extend(LedgerReading::of(admin).await?.rates_since(&before));
    }
    Ok(figures)
}

/// System calls in the window, and nothing else: a gateway that is traced is slower.
async fn calls(
    place: &Place<'_>,
    process: u32,
    phase: Phase,
    load: &Load,
    window: Duration,
) -> Outcome<Figures> {
    let (core, folder) = (place.options.load_core, place.folder.to_owned());
    // Waiting for perf must not stop the clients.
    let count = tokio::task::spawn_blocking(move || -> Outcome<_> {
        let mut count = CallCount::attach(process, core, &folder)?;
        count.start()?;
        Ok(count)
    })
    .await??;
    let before = Reading::take(load, None)?;
    tokio::time::sleep(window).await;
    let after = Reading::take(load, None)?;
    let calls = tokio::task::spawn_blocking(move || count.stop()).await??;
    let figure = match phase {
        Phase::RequestCalls => (Metric::RequestCalls, calls / after.answers_since(&before)),
        _ => (Metric::ChunkCalls, calls / after.events_since(&before)),
    };
    Ok(vec![figure])
}

async fn settle(load: &Load, ask: Ask) -> Outcome<()> {
    load.all_begun(ask.clients, BEGUN_WITHIN).await?;
    tokio::time::sleep(SETTLING).await;
    Ok(())
}

fn figures(phase: Phase, before: &Reading, after: &Reading, waits: &mut [Duration]) -> Figures {
    let cpu_us = after.cpu_us_since(before);
    let (answers, events) = (after.answers_since(before), after.events_since(before));
    let elapsed = after.seconds_since(before);
    waits.sort_unstable();
    let waited = |[p50, p99]: [Metric; 2]| {
        let of = |metric, percent| quantile(waits, percent).map(|wait| (metric, wait));
        [of(p50, 50), of(p99, 99)].into_iter().flatten()
    };
    let cpu = |metric, among: f64| cpu_us.map(|used| (metric, used / among));
    let mut figures = Figures::new();
    match phase {
        Phase::Request => {
            figures.extend(cpu(Metric::RequestCpu, answers));
            figures.push((Metric::RequestRate, answers / elapsed));
            // Microseconds in a second, and percent.
            figures.extend(cpu(Metric::CoreBusy, elapsed * 10_000.0));
            figures.extend(waited([Metric::RequestP50, Metric::RequestP99]));
        }
        Phase::Burst => figures.extend(cpu(Metric::BurstChunkCpu, events)),
        Phase::Stepped => figures.extend(cpu(Metric::SteppedChunkCpu, events)),
        Phase::Paced => figures.extend(cpu(Metric::PacedChunkCpu, events)),
        Phase::Embeddings => figures.extend(cpu(Metric::EmbeddingsCpu, answers)),
        Phase::Ttft => figures.extend(waited([Metric::TtftP50, Metric::TtftP99])),
        // Their figures are no quotients of CPU or time.
        Phase::Open | Phase::RequestCalls | Phase::ChunkCalls => {}
    }
    figures
}
