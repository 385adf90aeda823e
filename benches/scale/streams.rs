//! Many streams at once: how many are whole, what one takes, and how even its events come.

use crate::gateway::{Gateway, Place, SMALL, mib, target};
use crate::options::Options;
use farebox_bench_support::Outcome;
use farebox_bench_support::asks::{Ask, Kind};
use farebox_bench_support::children::files;
use farebox_bench_support::cpu::resident_bytes;
use farebox_bench_support::load::Load;
use farebox_bench_support::reading::{Reading, quantile};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Those of a size that the limit of open files does not carry are fewer: each takes two of a gateway's.
const STREAMS: [u64; 4] = [1_000, 2_000, 5_000, 10_000];
/// Files of a gateway's for all else.
const OTHER_FILES: u64 = 256;
/// Between the events of one stream.
const PACE: Duration = Duration::from_millis(50);
/// Streams are opened so fast, and no faster.
const OPENED_A_SECOND: u32 = 1_000;
const SETTLING: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);
/// Every stream has had its first event so long after the last was opened.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);
/// Every stream has had its last event so long after the window. Where the cores do not carry them all, they take longer than paced.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);

/// What the streams go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Through {
    /// farebox with everything on.
    Farebox,
    /// The pass-through.
    Passthrough,
    /// Nothing: what clients and engine carry on their one core.
    Direct,
}

impl Through {
    /// In the order of the table.
    pub const ALL: [Self; 3] = [Self::Farebox, Self::Passthrough, Self::Direct];

    /// As in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Farebox => "farebox",
            Self::Passthrough => "passthrough",
            Self::Direct => "direct",
        }
    }
}

/// What one number of streams came to.
#[derive(Serialize)]
pub struct Streamed {
    /// Through what.
    pub through: Through,
    /// At once.
    pub streams: u32,
    /// Those that had every event and their end.
    pub whole: u64,
    /// What went wrong first with those that were not.
    pub fault: Option<String>,
    /// Events that clients had a second, of `streams` x 20 that an engine that keeps its pace has.
    pub events_a_second: f64,
    /// CPU microseconds of the gateway an event.
    pub cpu_us: Option<f64>,
    /// What of its core the gateway had, in percent.
    pub core_percent: Option<f64>,
    /// Resident with all open, in MiB.
    pub resident_mib: Option<f64>,
    /// What of that came with the streams, KiB each.
    pub stream_kib: Option<f64>,
    /// Between events of a stream, in milliseconds.
    pub gap_p50_ms: f64,
    /// Likewise.
    pub gap_p99_ms: f64,
}

/// Runs each number of streams through each, one after the other, each on a fresh process.
pub async fn run(options: &Options, place: &Place<'_>) -> Outcome<Vec<Streamed>> {
    let mut all = Vec::new();
    let most = files()?.saturating_sub(OTHER_FILES) / 2;
    for streams in options.sizes(&STREAMS, 1_000) {
        let streams = streams.min(most);
        for through in Through::ALL {
            eprintln!("{streams} streams, {}", through.name());
            let gateway = match through {
                Through::Farebox => Some(place.start(&format!("streams-{streams}"), SMALL).await?),
                Through::Passthrough => Some(place.start_passthrough(1).await?),
                Through::Direct => None,
            };
            let streams = u32::try_from(streams)?;
            all.push(carry(options, place, through, gateway.as_ref(), streams).await?);
        }
    }
    Ok(all)
}

async fn carry(
    options: &Options,
    place: &Place<'_>,
    through: Through,
    gateway: Option<&Gateway>,
    streams: u32,
) -> Outcome<Streamed> {
    let process = gateway.map(|gateway| gateway.process.id());
    let (spread, window) = (
        Duration::from_secs(1) * streams / OPENED_A_SECOND,
        options.window(WINDOW),
    );
    // The first is not to end before the window does.
    let lasting = spread + SETTLING + window + SETTLING;
    let ask = Ask {
        clients: streams,
        of: Kind::Stream {
            events: u32::try_from(lasting.as_millis() / PACE.as_millis())?,
            pace: PACE,
            include_usage: true,
        },
        spread,
    };
    let idle = process.map(resident_bytes).transpose()?;
    let load = match gateway {
        Some(gateway) => Load::start(&gateway.target, ask),
        None => Load::start(&target(place.upstream), ask),
    };
    // One answer each.
    load.seen.stop();
    // What is not whole in the end is counted then.
    let _late = load.all_begun(streams, spread + BEGUN_WITHIN).await;
    tokio::time::sleep(SETTLING).await;
    load.seen.spacing.store(true, Ordering::Relaxed);
    let before = Reading::take(&load, process)?;
    tokio::time::sleep(window).await;
    let after = Reading::take(&load, process)?;
    load.seen.spacing.store(false, Ordering::Relaxed);
    let resident = process.map(resident_bytes).transpose()?;
    let seen = Arc::clone(&load.seen);
    load.drain_within(WHOLE_WITHIN).await;
    let mut gaps = std::mem::take(&mut *seen.gaps.lock());
    gaps.sort_unstable();
    let gap_ms = |percent| quantile(&gaps, percent).map(|us| us / 1e3);
    let (events, seconds) = (after.events_since(&before), after.seconds_since(&before));
    let used = after.cpu_us_since(&before);
    Ok(Streamed {
        through,
        streams,
        whole: seen.answers.load(Ordering::Relaxed),
        fault: seen.fault.lock().take(),
        events_a_second: events / seconds,
        cpu_us: used.map(|used| used / events),
        core_percent: used.map(|used| used / seconds / 1e4),
        resident_mib: resident.map(mib),
        stream_kib: resident
            .zip(idle)
            .map(|(now, then)| (now - then) / f64::from(streams) / 1024.0),
        gap_p50_ms: gap_ms(50).ok_or("no events in a window")?,
        gap_p99_ms: gap_ms(99).ok_or("no events in a window")?,
    })
}
