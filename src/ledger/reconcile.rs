//! The ledger held against an engine's own token counters, and every difference explained as far as it can be.
//!
//! An engine's counters say what it made, the ledger what was charged. The two are equal where every request ran to its
//! end in the span between two samples and the engine reported all of it. Each reason why they may differ is a
//! [`Reason`] with the least and the most that it can come to, by what is booked and by what the model allows; what the
//! reasons together cannot come to is unexplained: somebody else uses the engine, or farebox counts wrongly.

use super::counters::CounterSample;
use farebox_domain::ids::ModelId;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::tokens::UsageSource;
use std::collections::BTreeMap;

/// An engine counts what it has just sent within this time.
const COUNTED_WITHIN_MS: u64 = 2_000;
/// OpenAI's and llama.cpp's most choices of a request.
const CHOICES: i128 = 128;
/// A replica that has no sample within so long is not there. It samples each minute, and clocks of two differ by less.
const GONE_AFTER_MS: u64 = 150_000;
/// Engines differ over whether the token that begins or ends a sequence is counted: one of each kind a request.
const TOLERANCE_A_REQUEST: i128 = 1;

/// What an engine of this kind counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountingRule {
    /// Its prompt counter leaves cached tokens out.
    pub prompt_excludes_cached: bool,
    /// It may leave out what it made for a request that was aborted.
    pub may_skip_aborted: bool,
}

/// The most that one request of a model can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelBounds {
    /// Prompt tokens.
    pub prompt: u64,
    /// Tokens of a choice.
    pub completion: u64,
}

/// Why the engine's count and the ledger's may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// They were with the engine at an edge of the span.
    Edges,
    /// They are with the engine still, so the ledger does not have them yet.
    Open,
    /// They wait in a replica's outbox, so the ledger does not have them yet.
    Outbox,
    /// The client, the engine, the ceiling or a shutdown ended them: the engine may have made more than was delivered.
    CutShort,
    /// The engine reported no usage: deltas were counted, and the prompt is unknown or the tokenizer's.
    Deltas,
    /// The engine reported one choice of several, and the others were counted by their deltas.
    Corrected,
    /// The engine reported one choice of several, and the others are unknown.
    Partial,
    /// Tries at the engine that failed, and were made again or given up.
    FailedAttempts,
    /// The engine started anew: what it had counted since the sample before is lost.
    Restart,
}

impl Why {
    const ALL: [Self; 9] = [
        Self::Edges,
        Self::Open,
        Self::Outbox,
        Self::CutShort,
        Self::Deltas,
        Self::Corrected,
        Self::Partial,
        Self::FailedAttempts,
        Self::Restart,
    ];

    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edges => "edges",
            Self::Open => "open",
            Self::Outbox => "outbox",
            Self::CutShort => "cut_short",
            Self::Deltas => "deltas",
            Self::Corrected => "engine_corrected",
            Self::Partial => "engine_partial",
            Self::FailedAttempts => "failed_attempts",
            Self::Restart => "restart",
        }
    }
}

/// What a reason can come to: engine less ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// Why.
    pub why: Why,
    /// How many requests or events it is about.
    pub count: u64,
    /// The least that it can come to.
    pub least: i128,
    /// The most.
    pub most: i128,
}

/// One kind of tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// What the engine counted in the span.
    pub engine: u64,
    /// What the ledger has.
    pub ledger: u64,
    /// Why they may differ; none that comes to nothing.
    pub reasons: Vec<Reason>,
    /// What no reason explains: engine less ledger, beyond the least or the most. Zero where all is explained.
    pub unexplained: i128,
}

/// What came of it for one engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// The first sample's time.
    pub from_ms: u64,
    /// The last one's.
    pub until_ms: u64,
    /// Samples.
    pub samples: u64,
    /// Times that the engine started anew.
    pub restarts: u64,
    /// Requests that the ledger has in the span.
    pub requests: u64,
    /// Prompt tokens, as the engine counts them.
    pub prompt: Compared,
    /// Tokens that were made.
    pub generation: Compared,
    /// Cached tokens by the engine, if it counts them, and by the ledger. Shown and not judged: engines count them in
    /// blocks and again after a preemption.
    pub cached: Option<(u64, u64)>,
}

/// A sum of reasons while entries are read.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u64,
    prompt: (i128, i128),
    generation: (i128, i128),
}

/// One engine's comparison, which is given the entries one by one.
#[derive(Debug)]
pub struct Reconciler {
    rule: CountingRule,
    /// One replica's at a time ([`series`]).
    samples: Vec<CounterSample>,
    /// Requests of every replica that were there at the end.
    in_flight: u64,
    /// Tries of every replica.
    failed_attempts: u64,
    /// From the last sample before a restart to the first one after it, in milliseconds since 1970.
    restarts: Vec<(u64, u64)>,
    /// The most of any model that the engine serves.
    widest: ModelBounds,
    sums: [Sum; Why::ALL.len()],
    requests: u64,
    failed: u64,
    prompt: u64,
    generation: u64,
    cached: u64,
    at_the_end: u64,
}

impl Reconciler {
    /// For these samples of one engine by every replica, by time; `None` where they are fewer than two.
    pub fn new(all: Vec<CounterSample>, rule: CountingRule, widest: ModelBounds) -> Option<Self> {
        let in_flight = in_flight_at_the_end(&all);
        let samples = series(&all);
        let from_ms = samples.first().map_or(0, |first| first.at_ms);
        let later = all.iter().filter(|sample| sample.at_ms > from_ms);
        let failed_attempts = later.map(|sample| sample.failed_attempts).sum();
        let restarts = samples
            .windows(2)
            .filter(|pair| pair[1].is_restarted_since(&pair[0]))
            .map(|pair| (pair[0].at_ms, pair[1].at_ms))
            .collect();
        (samples.len() > 1).then_some(Self {
            rule,
            samples,
            in_flight,
            failed_attempts,
            restarts,
            widest,
            sums: Default::default(),
            requests: 0,
            failed: 0,
            prompt: 0,
            generation: 0,
            cached: 0,
            at_the_end: 0,
        })
    }

    /// From the first sample to the last, in milliseconds since 1970.
    pub fn span_ms(&self) -> (u64, u64) {
        let at = |sample: Option<&CounterSample>| sample.map_or(0, |sample| sample.at_ms);
        (at(self.samples.first()), at(self.samples.last()))
    }

    /// An entry of this engine, in the span or near it.
    pub fn entry(&mut self, entry: &Entry, bounds: impl Fn(&ModelId) -> Option<ModelBounds>) {
        let (from, until) = self.span_ms();
        let began = entry.admitted_at_ms.saturating_add(entry.timings.queue_us / 1000);
        let ended = entry.admitted_at_ms.saturating_add(entry.timings.total_us / 1000);
        let counted = ended.saturating_add(COUNTED_WITHIN_MS);
        if began > until || counted <= from {
            return;
        }
        let prompt = if self.rule.prompt_excludes_cached {
            entry.usage.uncached_tokens()
        } else {
            entry.usage.prompt_tokens
        };
        let generation = entry.usage.completion_tokens;
        self.note_restarts(began, counted, prompt, generation);
        if ended > until {
            self.at_the_end += 1;
        }
        let (p, g) = (i128::from(prompt), i128::from(generation));
        if began <= from {
            self.add(Why::Edges, (0, p), (0, g));
            return;
        }
        self.requests += 1;
        self.prompt = self.prompt.saturating_add(prompt);
        self.generation = self.generation.saturating_add(generation);
        self.cached = self.cached.saturating_add(entry.usage.cached_tokens);
        if counted > until {
            self.add(Why::Edges, (-p, 0), (-g, 0));
        }
        self.note_usage(entry, (p, g), bounds(&entry.model).unwrap_or(self.widest));
    }

    /// What the usage of an entry leaves open.
    fn note_usage(&mut self, entry: &Entry, (p, g): (i128, i128), bounds: ModelBounds) {
        let more_prompt = (i128::from(bounds.prompt) - p).max(0);
        let more = (i128::from(bounds.completion) - g).max(0);
        let all_choices = (i128::from(bounds.completion) * CHOICES - g).max(0);
        let prompt_is_unknown = matches!(entry.usage_source, UsageSource::Deltas | UsageSource::None);
        let prompt_most = if prompt_is_unknown { more_prompt } else { 0 };
        // The tokenizer does not know how much of the prompt was cached.
        let cached_is_unknown =
            entry.usage_source == UsageSource::Tokenizer && self.rule.prompt_excludes_cached;
        let prompt_least = if cached_is_unknown { -p } else { 0 };
        match (entry.state, entry.usage_source) {
            (EntryState::Failed, _) => self.failed += 1,
            (EntryState::Cancelled | EntryState::Interrupted | EntryState::Capped, _) => {
                let least = |booked: i128| if self.rule.may_skip_aborted { -booked } else { 0 };
                let prompt_least = prompt_least.min(least(p));
                self.add(Why::CutShort, (prompt_least, prompt_most), (least(g), more));
            }
            (EntryState::Completed, UsageSource::Engine | UsageSource::EngineContinuous) => {}
            (EntryState::Completed, UsageSource::Tokenizer | UsageSource::Deltas | UsageSource::None) => {
                self.add(Why::Deltas, (prompt_least, prompt_most), (0, all_choices));
            }
            (EntryState::Completed, UsageSource::EngineCorrected) => {
                self.add(Why::Corrected, (0, 0), (0, all_choices));
            }
            (EntryState::Completed, UsageSource::EnginePartial) => {
                self.add(Why::Partial, (0, 0), (0, all_choices));
            }
        }
    }

    /// A request that was there between the last sample before a restart and the first one after it may not be counted.
    fn note_restarts(&mut self, began: u64, counted: u64, prompt: u64, generation: u64) {
        let lost = self
            .restarts
            .iter()
            .any(|&(before, after)| began <= after && counted > before);
        if lost {
            let (p, g) = (i128::from(prompt), i128::from(generation));
            self.add(Why::Restart, (-p, 0), (-g, 0));
        }
    }

    fn add(&mut self, why: Why, prompt: (i128, i128), generation: (i128, i128)) {
        self.add_times(why, 1, prompt, generation);
    }

    fn add_times(&mut self, why: Why, times: u64, prompt: (i128, i128), generation: (i128, i128)) {
        let times_each = |(least, most): (i128, i128)| (least * i128::from(times), most * i128::from(times));
        let plus = |a: (i128, i128), b: (i128, i128)| (a.0 + b.0, a.1 + b.1);
        if let Some(sum) = Why::ALL
            .iter()
            .position(|&other| other == why)
            .and_then(|at| self.sums.get_mut(at))
        {
            sum.count = sum.count.saturating_add(times);
            sum.prompt = plus(sum.prompt, times_each(prompt));
            sum.generation = plus(sum.generation, times_each(generation));
        }
    }

    /// What came of it. So many settlements, of whichever engine, the ledger was known to lack when it was read.
    pub fn finish(mut self, in_outbox: u64) -> Reconciled {
        let (from_ms, until_ms) = self.span_ms();
        let any = |most: u64| (0, i128::from(most));
        let (prompt, completion) = (any(self.widest.prompt), any(self.widest.completion));
        let open = self.in_flight.saturating_sub(self.at_the_end);
        self.add_times(Why::Open, open, prompt, completion);
        self.add_times(Why::Outbox, in_outbox, prompt, completion);
        self.add_times(
            Why::FailedAttempts,
            self.failed_attempts.max(self.failed),
            prompt,
            completion,
        );
        let cached = counted(&self.samples, |sample| sample.cached_tokens);
        let tolerance = TOLERANCE_A_REQUEST * i128::from(self.requests);
        let compare = |engine: Option<u64>, ledger: u64, of: fn(&Sum) -> (i128, i128)| {
            compared(engine.unwrap_or(0), ledger, &self.sums, of, tolerance)
        };
        Reconciled {
            from_ms,
            until_ms,
            samples: u64::try_from(self.samples.len()).unwrap_or(u64::MAX),
            restarts: u64::try_from(self.restarts.len()).unwrap_or(u64::MAX),
            requests: self.requests,
            prompt: compare(
                counted(&self.samples, |sample| Some(sample.prompt_tokens)),
                self.prompt,
                |sum| sum.prompt,
            ),
            generation: compare(
                counted(&self.samples, |sample| Some(sample.generation_tokens)),
                self.generation,
                |sum| sum.generation,
            ),
            cached: cached.map(|cached| (cached, self.cached)),
        }
    }
}

impl Reconciled {
    /// Whether every difference is explained.
    pub fn is_explained(&self) -> bool {
        self.prompt.unexplained == 0 && self.generation.unexplained == 0
    }
}

/// Samples whose counters can be held against each other: those of one replica for as long as it is there, beginning with
/// the last. Between samples of two, a counter may seem to fall that did not, since their clocks differ.
fn series(all: &[CounterSample]) -> Vec<CounterSample> {
    let mut latest_first: Vec<CounterSample> = Vec::new();
    for sample in all.iter().rev() {
        let belongs = latest_first.last().is_none_or(|later| {
            later.replica == sample.replica || later.at_ms.saturating_sub(sample.at_ms) > GONE_AFTER_MS
        });
        if belongs {
            latest_first.push(sample.clone());
        }
    }
    latest_first.reverse();
    latest_first
}

/// The last sample's, and of each other replica that is there the most that it lately had: how many it has now it does
/// not say before its minute is over.
fn in_flight_at_the_end(all: &[CounterSample]) -> u64 {
    let Some(last) = all.last() else { return 0 };
    let mut others: BTreeMap<&str, u64> = BTreeMap::new();
    for sample in all {
        if sample.replica != last.replica && last.at_ms.saturating_sub(sample.at_ms) <= GONE_AFTER_MS {
            let most = others.entry(&sample.replica).or_default();
            *most = sample.in_flight.max(*most);
        }
    }
    others.values().sum::<u64>().saturating_add(last.in_flight)
}

/// What a counter went up by, over restarts: after one, it begins at zero.
fn counted(samples: &[CounterSample], of: fn(&CounterSample) -> Option<u64>) -> Option<u64> {
    let mut total = 0_u64;
    for pair in samples.windows(2) {
        let (before, now) = (of(&pair[0])?, of(&pair[1])?);
        let begins_at = if pair[1].is_restarted_since(&pair[0]) {
            0
        } else {
            before
        };
        total = total.saturating_add(now.saturating_sub(begins_at));
    }
    Some(total)
}

fn compared(
    engine: u64,
    ledger: u64,
    sums: &[Sum; Why::ALL.len()],
    of: fn(&Sum) -> (i128, i128),
    tolerance: i128,
) -> Compared {
    let reason = |(why, sum): (Why, &Sum)| {
        let (least, most) = of(sum);
        let count = sum.count;
        Reason {
            why,
            count,
            least,
            most,
        }
    };
    let reasons: Vec<_> = Why::ALL
        .into_iter()
        .zip(sums)
        .map(reason)
        .filter(|reason| (reason.least, reason.most) != (0, 0))
        .collect();
    let least: i128 = reasons.iter().map(|reason| reason.least).sum();
    let most: i128 = reasons.iter().map(|reason| reason.most).sum();
    let difference = i128::from(engine) - i128::from(ledger);
    let unexplained = if difference > most + tolerance {
        difference - most
    } else if difference < least - tolerance {
        difference - least
    } else {
        0
    };
    Compared {
        engine,
        ledger,
        reasons,
        unexplained,
    }
}
