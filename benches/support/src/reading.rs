//! Readings of a load under way: what clients have had, and what it cost whom.

use crate::Outcome;
use crate::cpu::CpuReading;
use crate::load::Load;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A moment of a load, and of the process that serves it.
pub struct Reading {
    at: Instant,
    cpu: Option<CpuReading>,
    answers: u64,
    events: u64,
}

impl Reading {
    /// Now. Without a process there is no CPU time.
    pub fn take(load: &Load, process: Option<u32>) -> Outcome<Self> {
        let cpu = process.map(CpuReading::of).transpose()?;
        let (answers, events) = (&load.seen.answers, &load.seen.events);
        Ok(Self {
            at: Instant::now(),
            cpu,
            answers: answers.load(Ordering::Relaxed),
            events: events.load(Ordering::Relaxed),
        })
    }

    /// CPU microseconds of the process since `earlier`.
    pub fn cpu_us_since(&self, earlier: &Self) -> Option<f64> {
        let (now, then) = self.cpu.as_ref().zip(earlier.cpu.as_ref())?;
        Some(now.microseconds_since(then))
    }

    /// Whole answers since `earlier`.
    pub fn answers_since(&self, earlier: &Self) -> f64 {
        (self.answers - earlier.answers) as f64
    }

    /// SSE events since `earlier`.
    pub fn events_since(&self, earlier: &Self) -> f64 {
        (self.events - earlier.events) as f64
    }

    /// Seconds since `earlier`.
    pub fn seconds_since(&self, earlier: &Self) -> f64 {
        self.at.duration_since(earlier.at).as_secs_f64()
    }
}

/// Of sorted waits, in microseconds.
pub fn quantile(waits: &[Duration], percent: usize) -> Option<f64> {
    let at = (waits.len() * percent / 100).min(waits.len().checked_sub(1)?);
    waits.get(at).map(|wait| wait.as_secs_f64() * 1e6)
}
