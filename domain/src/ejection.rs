//! Whether an engine is left out for what it did to requests: a state machine of one engine, without a clock.
//!
//! ```text
//! in --failures, or slow--> out --the pause is over--> half open --a trial succeeds--> in
//!                            ^                             |
//!                            +-------a trial fails---------+
//! ```
//!
//! - Out by failures in a row, by their part of the last half minute's requests, or by being slow among its like.
//! - Half open, one request at a time is let in: the trial. What it comes to decides; an answer to a request that was sent
//!   earlier decides nothing.
//! - Each ejection pauses twice as long as the one before it, unless the engine was in for a while between.
//! - Whoever has just come back is warming: its part of the load grows ([`Ejection::warmth`]).

/// Failures in a row that eject.
const IN_A_ROW: u32 = 5;
/// Requests in the window before their part that failed says anything.
const RATED_REQUESTS: u32 = 10;
/// Percent of the window's requests that may not fail.
const RATED_PERCENT: u32 = 40;
/// The window: so many slots, each so long.
const SLOTS: usize = 6;
const SLOT_MS: u64 = 5_000;
/// The first pause; each later one is twice as long.
const FIRST_PAUSE_MS: u64 = 5_000;
const LONGEST_PAUSE_MS: u64 = 60_000;
/// After so long in, earlier ejections are forgotten.
const FORGET_AFTER_MS: u64 = 60_000;
/// How long an engine that has come back is warming.
const WARMING_MS: u64 = 10_000;
/// The [`Ejection::warmth`] of an engine that is not warming any more would be this.
pub const WARM: u32 = 256;

/// For what an engine is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Failures in a row.
    InARow,
    /// Too many of its requests failed.
    Rate,
    /// It is much slower than the others that serve the same.
    Slow,
}

impl Why {
    /// Its name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InARow => "failures_in_a_row",
            Self::Rate => "failure_rate",
            Self::Slow => "slow",
        }
    }
}

/// An engine that is left out, or half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejected {
    /// For what.
    pub why: Why,
    /// Since when.
    pub at_ms: u64,
    /// For how long; after it the engine is half open.
    pub pause_ms: u64,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It is given requests.
    In,
    /// It is not.
    Out,
    /// It is given one at a time.
    HalfOpen,
}

/// How a request was let in; whoever has it says how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass(Option<u64>);

impl Pass {
    /// That of a request to an engine that is in.
    pub const ORDINARY: Self = Self(None);

    /// Whether it is the one by which the engine is tried.
    pub const fn is_trial(self) -> bool {
        self.0.is_some()
    }
}

/// One engine's state. Every `now_ms` is of the same monotonic clock.
#[derive(Debug, Default)]
pub struct Ejection {
    failures_in_a_row: u32,
    window: Window,
    ejected: Option<Ejected>,
    /// Ejections that were not forgotten.
    ejections: u32,
    came_back_at_ms: Option<u64>,
    /// The trial that is out.
    trial: Option<u64>,
    trials: u64,
}

impl Ejection {
    /// Where it stands.
    pub fn stand(&self, now_ms: u64) -> Stand {
        match self.ejected {
            None => Stand::In,
            Some(ejected) if now_ms < ejected.at_ms.saturating_add(ejected.pause_ms) => Stand::Out,
            Some(_) => Stand::HalfOpen,
        }
    }

    /// For what it is left out, where it is, or half open.
    pub const fn ejected(&self) -> Option<Ejected> {
        self.ejected
    }

    /// Whether it is in and not warming: so it stays, whatever the time, until something happens to it.
    pub fn is_settled(&self, now_ms: u64) -> bool {
        self.ejected.is_none() && self.warmth(now_ms).is_none()
    }

    /// Whether it is being tried.
    pub const fn has_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// How warm it is, of [`WARM`], where it has come back within the last seconds.
    pub fn warmth(&self, now_ms: u64) -> Option<u32> {
        let since_ms = now_ms.saturating_sub(self.came_back_at_ms?);
        let part = since_ms.min(WARMING_MS) * u64::from(WARM) / WARMING_MS;
        (since_ms < WARMING_MS).then(|| u32::try_from(part).unwrap_or(WARM))
    }

    /// Lets a request in. `early`: there is no other engine, so this one may be tried before its pause is over.
    pub fn enter(&mut self, now_ms: u64, early: bool) -> Option<Pass> {
        match self.stand(now_ms) {
            Stand::In => return Some(Pass::ORDINARY),
            Stand::Out if !early => return None,
            Stand::Out | Stand::HalfOpen => {}
        }
        if self.trial.is_some() {
            return None;
        }
        self.trials += 1;
        self.trial = Some(self.trials);
        Some(Pass(self.trial))
    }

    /// The request is gone, whatever came of it: another may be the trial.
    pub fn left(&mut self, pass: Pass) {
        if pass.is_trial() && pass.0 == self.trial {
            self.trial = None;
        }
    }

    /// The engine began to answer. Returns whether it is back in by that.
    pub fn succeeded(&mut self, pass: Pass, now_ms: u64) -> bool {
        if self.ejected.is_none() {
            self.failures_in_a_row = 0;
            self.window.count(now_ms, false);
            return false;
        }
        let is_decided = self.is_of_the_trial(pass);
        if is_decided {
            self.ejected = None;
            self.trial = None;
            self.failures_in_a_row = 0;
            self.window = Window::default();
            self.came_back_at_ms = Some(now_ms);
        }
        is_decided
    }

    /// The request failed by the engine's fault. Returns the ejection that it led to.
    pub fn failed(&mut self, pass: Pass, now_ms: u64) -> Option<Ejected> {
        if self.ejected.is_some() {
            return self.tried_in_vain(pass, now_ms);
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.window.count(now_ms, true);
        if self.failures_in_a_row >= IN_A_ROW {
            Some(self.eject(Why::InARow, now_ms))
        } else if self.window.is_too_bad(now_ms) {
            Some(self.eject(Why::Rate, now_ms))
        } else {
            None
        }
    }

    /// The engine began to answer, much later than others would have: ejects it.
    pub fn was_slow(&mut self, pass: Pass, now_ms: u64) -> Option<Ejected> {
        if self.ejected.is_some() {
            return self.tried_in_vain(pass, now_ms);
        }
        Some(self.eject(Why::Slow, now_ms))
    }

    /// Its process has come up again: what comes is a new one. It is warming, and where it was left out it is half open.
    pub fn came_up(&mut self, now_ms: u64) {
        match &mut self.ejected {
            Some(ejected) => ejected.pause_ms = ejected.pause_ms.min(now_ms.saturating_sub(ejected.at_ms)),
            None => self.came_back_at_ms = Some(now_ms),
        }
    }

    fn is_of_the_trial(&self, pass: Pass) -> bool {
        pass.is_trial() && pass.0 == self.trial
    }

    /// A request that was sent before the ejection says nothing new.
    fn tried_in_vain(&mut self, pass: Pass, now_ms: u64) -> Option<Ejected> {
        let ejected = self.ejected.filter(|_| self.is_of_the_trial(pass))?;
        if self.stand(now_ms) == Stand::Out {
            // It was tried early: its pause begins again, and others may be tried before it.
            self.trial = None;
            let again = Ejected {
                at_ms: now_ms,
                ..ejected
            };
            self.ejected = Some(again);
            return Some(again);
        }
        Some(self.eject(ejected.why, now_ms))
    }

    fn eject(&mut self, why: Why, now_ms: u64) -> Ejected {
        let was_in_for = self.came_back_at_ms.map(|at| now_ms.saturating_sub(at));
        if self.ejected.is_none() && was_in_for.is_none_or(|ms| ms >= FORGET_AFTER_MS) {
            self.ejections = 0;
        }
        let pause_ms = (FIRST_PAUSE_MS << self.ejections.min(8)).min(LONGEST_PAUSE_MS);
        self.ejections = self.ejections.saturating_add(1);
        self.trial = None;
        let ejected = Ejected {
            why,
            at_ms: now_ms,
            pause_ms,
        };
        self.ejected = Some(ejected);
        ejected
    }
}

/// Requests of the last half minute, and those of them that failed.
#[derive(Debug, Default)]
struct Window([Slot; SLOTS]);

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    /// Which one since the clock began.
    number: u64,
    requests: u32,
    failures: u32,
}

impl Window {
    fn count(&mut self, now_ms: u64, failed: bool) {
        let number = now_ms / SLOT_MS;
        let Some(slot) = usize::try_from(number % SLOTS as u64)
            .ok()
            .and_then(|index| self.0.get_mut(index))
        else {
            return;
        };
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot.requests = slot.requests.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }

    fn is_too_bad(&self, now_ms: u64) -> bool {
        let newest = now_ms / SLOT_MS;
        let slots = self
            .0
            .iter()
            .filter(|slot| newest.saturating_sub(slot.number) < SLOTS as u64);
        let (requests, failures) = slots.fold((0_u32, 0_u32), |(requests, failures), slot| {
            (
                requests.saturating_add(slot.requests),
                failures.saturating_add(slot.failures),
            )
        });
        requests >= RATED_REQUESTS
            && u64::from(failures) * 100 >= u64::from(requests) * u64::from(RATED_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(engine: &mut Ejection, now_ms: u64) -> Pass {
        engine.enter(now_ms, false).unwrap()
    }

    /// An engine that five failures have ejected at this time.
    fn ejected_at(now_ms: u64) -> Ejection {
        let mut engine = Ejection::default();
        for turn in 1..=5 {
            let pass = enter(&mut engine, now_ms);
            assert_eq!(engine.failed(pass, now_ms).is_some(), turn == 5);
        }
        engine
    }

    #[test]
    fn five_failures_eject_and_one_trial_at_a_time_decides() {
        let mut engine = ejected_at(1_000);
        assert_eq!(engine.stand(1_000), Stand::Out);
        assert_eq!(engine.enter(5_999, false), None);
        assert_eq!(engine.stand(6_000), Stand::HalfOpen);
        let trial = enter(&mut engine, 6_000);
        assert_eq!(engine.enter(6_000, false), None, "one at a time");
        let again = engine.failed(trial, 6_100).unwrap();
        assert_eq!((again.pause_ms, engine.stand(6_100)), (10_000, Stand::Out));
        engine.left(trial);
        let trial = enter(&mut engine, 16_100);
        assert!(engine.succeeded(trial, 16_200));
        assert_eq!(engine.stand(16_200), Stand::In);
        let pass = enter(&mut engine, 16_200);
        assert_eq!(engine.failed(pass, 16_200), None, "the count starts anew");
    }

    #[test]
    fn a_trial_that_is_gone_makes_room_for_the_next() {
        let mut engine = ejected_at(0);
        let trial = enter(&mut engine, 5_000);
        engine.left(trial);
        let next = enter(&mut engine, 5_000);
        engine.left(trial);
        assert!(engine.has_trial(), "the first one's end is not the second's");
        engine.left(next);
        assert!(!engine.has_trial());
    }

    #[test]
    fn what_was_sent_before_the_ejection_decides_nothing() {
        let mut engine = Ejection::default();
        let early = enter(&mut engine, 0);
        for _ in 0..5 {
            let _ = engine.failed(early, 0);
        }
        assert_eq!(engine.stand(0), Stand::Out);
        assert!(!engine.succeeded(early, 1));
        assert_eq!(engine.failed(early, 1), None);
        assert_eq!(engine.was_slow(early, 1), None);
        assert_eq!(engine.stand(5_000), Stand::HalfOpen, "the pause is as it was");
    }

    #[test]
    fn every_other_failure_ejects_and_every_fourth_does_not() {
        let after = |every: u32| {
            let mut engine = Ejection::default();
            (1..=40).find(|turn| {
                let pass = enter(&mut engine, 0);
                if turn % every == 0 {
                    engine.failed(pass, 0).is_some()
                } else {
                    engine.succeeded(pass, 0)
                }
            })
        };
        assert_eq!(after(2), Some(10));
        assert_eq!(after(4), None);
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let last_of_ten = |now_ms| {
            let mut engine = Ejection::default();
            for turn in 0..8 {
                let pass = enter(&mut engine, 0);
                if turn % 2 == 0 {
                    assert_eq!(engine.failed(pass, 0), None);
                } else {
                    engine.succeeded(pass, 0);
                }
            }
            let pass = enter(&mut engine, now_ms);
            engine.succeeded(pass, now_ms);
            engine.failed(pass, now_ms).map(|ejected| ejected.why)
        };
        assert_eq!(last_of_ten(10_000), Some(Why::Rate));
        assert_eq!(last_of_ten(40_000), None);
    }

    #[test]
    fn the_last_one_may_be_tried_early_and_its_pause_does_not_grow_by_that() {
        let mut engine = ejected_at(0);
        assert_eq!(engine.enter(1_000, false), None);
        let trial = engine.enter(1_000, true).unwrap();
        assert_eq!(engine.enter(1_000, true), None, "one at a time");
        let again = engine.failed(trial, 1_000).unwrap();
        assert_eq!((again.at_ms, again.pause_ms), (1_000, 5_000));
        let trial = engine.enter(2_000, true).unwrap();
        assert!(engine.succeeded(trial, 2_000));
        assert_eq!(engine.stand(2_000), Stand::In);
    }

    #[test]
    fn it_warms_up_after_its_return_and_a_relapse_pauses_longer() {
        let mut engine = ejected_at(0);
        assert_eq!(engine.warmth(0), None);
        let trial = enter(&mut engine, 5_000);
        engine.succeeded(trial, 5_000);
        assert_eq!(engine.warmth(5_000), Some(0));
        assert_eq!(engine.warmth(10_000), Some(WARM / 2));
        assert_eq!(engine.warmth(15_000), None);
        let pass = enter(&mut engine, 15_000);
        assert_eq!(engine.was_slow(pass, 15_000).unwrap().pause_ms, 10_000);
        let trial = enter(&mut engine, 25_000);
        engine.succeeded(trial, 25_000);
        let pass = enter(&mut engine, 85_000);
        assert_eq!(
            engine.was_slow(pass, 85_000).unwrap().pause_ms,
            5_000,
            "it was in for a minute"
        );
    }

    #[test]
    fn a_process_that_comes_up_again_is_tried_at_once() {
        let mut engine = ejected_at(0);
        engine.came_up(2_000);
        assert_eq!(engine.stand(2_000), Stand::HalfOpen);
        let mut well = Ejection::default();
        well.came_up(2_000);
        assert_eq!((well.stand(2_000), well.warmth(2_000)), (Stand::In, Some(0)));
    }
}
