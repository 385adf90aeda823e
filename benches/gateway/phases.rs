//! The six phases: what each asks for, and what is read from it.

use crate::Outcome;
use crate::cpu::{CpuReading, resident_mib};
use crate::load::{Ask, Load, Target};
use crate::options::{Options, Phase};
use crate::report::Metric;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
    let (clients, tokens, stream, spread) = match phase {
        Phase::Request => (32, 32, None, Duration::ZERO),
        Phase::Burst => (8, 500, Some(Duration::ZERO), Duration::ZERO),
        Phase::Stepped => (64, 500, Some(step), Duration::ZERO),
        Phase::Paced => (64, events_in(paced), Some(paced), Duration::ZERO),
        Phase::Ttft => (32, 20, Some(ttft), ttft * 20),
        Phase::Open => (options.open_streams(), events_in(open), Some(open), open),
    };
    Ask {
        clients,
        tokens,
        stream,
        include_usage: !options.no_usage,
        spread,
    }
}

/// Runs `phase` against `target`; `process` is the gateway's, if there is one.
pub async fn measure(
    options: &Options,
    phase: Phase,
    target: &Target,
    process: Option<u32>,
) -> Outcome<Figures> {
    let window = options.window(phase);
    let bound = BEGUN_WITHIN + window + Duration::from_secs(20);
    tokio::time::timeout(bound, measure_unbounded(options, phase, target, process, window))
        .await
        .unwrap_or_else(|_| Err(format!("not done within {bound:?}").into()))
}

async fn measure_unbounded(
    options: &Options,
    phase: Phase,
    target: &Target,
    process: Option<u32>,
    window: Duration,
) -> Outcome<Figures> {
    let ask = ask(options, phase);
    let load = Load::start(target, ask);
    settle(&load, ask).await?;
    load.seen.timing.store(true, Ordering::Relaxed);
    let before = Reading::take(&load, process)?;
    tokio::time::sleep(window).await;
    let after = Reading::take(&load, process)?;
    load.seen.timing.store(false, Ordering::Relaxed);
    let resident = process.map(resident_mib).transpose()?;
    let seen = std::sync::Arc::clone(&load.seen);
    if matches!(phase, Phase::Paced | Phase::Open) {
        drop(load)
    } else {
        load.drain().await
    }
    if let Some(fault) = seen.fault.lock().take() {
        return Err(fault.into());
    }
    let mut waits = seen.first_event_after.lock();
    Ok(figures(phase, &before, &after, &mut waits, resident))
}

async fn settle(load: &Load, ask: Ask) -> Outcome<()> {
    let started = Instant::now();
    while load.seen.begun.load(Ordering::Relaxed) < u64::from(ask.clients) {
        if let Some(fault) = load.seen.fault.lock().clone() {
            return Err(fault.into());
        }
        if started.elapsed() > BEGUN_WITHIN {
            return Err(format!("not every client had an event within {BEGUN_WITHIN:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(SETTLING).await;
    Ok(())
}

struct Reading {
    at: Instant,
    cpu: Option<CpuReading>,
    answers: u64,
    events: u64,
}

impl Reading {
    fn take(load: &Load, process: Option<u32>) -> Outcome<Self> {
        let cpu = process.map(CpuReading::of).transpose()?;
        let (answers, events) = (&load.seen.answers, &load.seen.events);
        Ok(Self {
            at: Instant::now(),
            cpu,
            answers: answers.load(Ordering::Relaxed),
            events: events.load(Ordering::Relaxed),
        })
    }
}

fn figures(
    phase: Phase,
    before: &Reading,
    after: &Reading,
    waits: &mut [Duration],
    resident: Option<f64>,
) -> Figures {
    let cpu_us = after
        .cpu
        .as_ref()
        .zip(before.cpu.as_ref())
        .map(|(now, then)| now.microseconds_since(then));
    let answers = (after.answers - before.answers) as f64;
    let events = (after.events - before.events) as f64;
    let elapsed = after.at.duration_since(before.at).as_secs_f64();
    let mut figures = Figures::new();
    match phase {
        Phase::Request => {
            figures.extend(cpu_us.map(|used| (Metric::RequestCpu, used / answers)));
            figures.push((Metric::RequestRate, answers / elapsed));
            figures.extend(cpu_us.map(|used| (Metric::CoreBusy, used / elapsed / 10_000.0)));
        }
        Phase::Burst => figures.extend(cpu_us.map(|used| (Metric::BurstChunkCpu, used / events))),
        Phase::Stepped => figures.extend(cpu_us.map(|used| (Metric::SteppedChunkCpu, used / events))),
        Phase::Paced => figures.extend(cpu_us.map(|used| (Metric::PacedChunkCpu, used / events))),
        Phase::Ttft => {
            waits.sort_unstable();
            figures.extend(quantile(waits, 50).map(|wait| (Metric::TtftP50, wait)));
            figures.extend(quantile(waits, 99).map(|wait| (Metric::TtftP99, wait)));
        }
        Phase::Open => figures.extend(resident.map(|mib| (Metric::Resident, mib))),
    }
    figures
}

/// Of sorted waits, in microseconds.
fn quantile(waits: &[Duration], percent: usize) -> Option<f64> {
    let at = (waits.len() * percent / 100).min(waits.len().checked_sub(1)?);
    waits.get(at).map(|wait| wait.as_secs_f64() * 1e6)
}
