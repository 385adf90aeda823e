//! One model's routing: what a request would cost at each of its engines, and what came of the choice.

use crate::dispatched::{Dispatched, predicted};
use crate::estimate::{Estimate, Facts, ONE, estimate};
use crate::index::{CacheView, Held, PrefixIndex};
use crate::lengths::Lengths;
use crate::load::EngineLoad;
use crate::prompt::{Prompt, len, share};
use crate::rates::{Rates, Speed};
use crate::told::{Hearing, Source, Told};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Half of what an engine was given to prefill is forgotten when the model's engines were given so many tokens each.
const REMEMBERED_TOKENS: u64 = 1 << 20;
/// Added to what an engine was given, so that the first requests are not judged by each other.
const SPARE_TOKENS: u64 = 4_096;

/// One model's routing.
#[derive(Debug)]
pub struct ModelRouter {
    index: Arc<PrefixIndex>,
    /// How fast its engines are together.
    rates: Arc<Rates>,
    /// Tokens that its engines were given to prefill since the start.
    given: AtomicU64,
    /// In so many prompts.
    prompts: AtomicU64,
    /// How long a token of text is.
    lengths: Arc<Lengths>,
    /// After how many of them half is forgotten.
    half: AtomicU64,
}

/// An engine in its part as one that serves the model.
#[derive(Debug)]
pub struct Seat {
    /// What it is thought to hold of the model's prompts, from what was sent there.
    pub view: CacheView,
    /// What it tells of that itself, where it does.
    pub told: Option<Arc<Told>>,
    /// What it has to do, for all of its models.
    pub load: Arc<EngineLoad>,
    recent: Mutex<Recent>,
}

/// Tokens that an engine was given to prefill; they fade as the others are given theirs.
#[derive(Debug, Default)]
struct Recent {
    tokens: u64,
    /// The model's `given` at that moment.
    at: u64,
}

impl Recent {
    fn at(&self, given: u64, half: u64) -> u64 {
        let passed = given.saturating_sub(self.at);
        let halves = u32::try_from(passed / half).unwrap_or(u32::MAX);
        let whole = self.tokens.checked_shr(halves).unwrap_or(0);
        // Between two halves it falls in a straight line.
        whole - share(whole / 2, passed % half, half)
    }

    fn add(&mut self, tokens: u64, given: u64, half: u64) {
        self.tokens = self.at(given, half).saturating_add(tokens);
        self.at = given;
    }
}

/// What is thought of one engine for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// The prompt's tokens that the engine is thought to hold, believed in full.
    pub predicted_tokens: u64,
    /// The same, as far as it is believed.
    pub cached_tokens: u64,
    /// Whom that is by.
    pub source: Source,
    /// What it would cost.
    pub estimate: Estimate,
}

impl Seat {
    /// With what it tells of its cache itself: believed rather than the model of it, while its events are heard.
    #[must_use]
    pub fn with_told(mut self, told: Told) -> Self {
        self.told = Some(Arc::new(told));
        self
    }

    /// Whether it is told by these events; or by none.
    pub fn is_told_by(&self, hearing: Option<&Arc<Hearing>>) -> bool {
        match (&self.told, hearing) {
            (None, None) => true,
            (Some(told), Some(hearing)) => told.is_by(hearing),
            _ => false,
        }
    }

    /// It begins anew: what it held is forgotten, and what it told does not count until it tells more.
    pub fn forget(&self) {
        self.view.cleared();
        if let Some(told) = &self.told {
            told.lost();
        }
    }
}

/// What each engine holds of one prompt, in each way that it is cut.
struct Looked<'a> {
    prompt: &'a Prompt,
    held: Held,
    by_tokens: Vec<Held>,
}

impl<'a> Looked<'a> {
    fn up(prompt: &'a Prompt, index: &PrefixIndex) -> Self {
        let cuts = prompt.by_tokens().iter();
        Self {
            prompt,
            held: index.held(prompt),
            by_tokens: cuts.map(|(_, cut)| index.held(cut)).collect(),
        }
    }

    /// The prompt's tokens that an engine is thought to hold.
    fn predicted(&self, seat: &Seat) -> (u64, Source) {
        let told = seat.told.as_ref().and_then(|told| {
            let size = told.block_size()?;
            let mut cuts = self.prompt.by_tokens().iter().zip(&self.by_tokens);
            let ((_, cut), held) = cuts.find(|((of, _), _)| *of == size)?;
            let blocks = told.views().map(|view| held.by(view)).into_iter().max()?;
            Some(cut.cut().tokens_of(blocks))
        });
        match told {
            Some(tokens) => (tokens, Source::Events),
            None => {
                let blocks = self.held.by(&seat.view);
                (self.prompt.cut().tokens_of(blocks), Source::Sent)
            }
        }
    }
}

impl Default for ModelRouter {
    fn default() -> Self {
        Self {
            index: PrefixIndex::new(),
            rates: Arc::default(),
            given: AtomicU64::new(0),
            prompts: AtomicU64::new(0),
            lengths: Arc::default(),
            half: AtomicU64::new(REMEMBERED_TOKENS),
        }
    }
}

impl ModelRouter {
    /// Who holds which prefix.
    pub fn index(&self) -> &Arc<PrefixIndex> {
        &self.index
    }

    /// How long a token of text is.
    pub fn lengths(&self) -> &Lengths {
        &self.lengths
    }

    /// An engine, with what it is thought to hold and with its load.
    pub fn seat(&self, view: CacheView, load: Arc<EngineLoad>) -> Seat {
        Seat {
            view,
            told: None,
            load,
            recent: Mutex::default(),
        }
    }

    /// What a prompt would cost at each of these engines, in their order.
    pub fn scores<'a>(
        &self,
        prompt: &Prompt,
        seats: impl ExactSizeIterator<Item = &'a Seat> + Clone,
        now_us: u64,
    ) -> Vec<Score> {
        let looked = Looked::up(prompt, &self.index);
        let speed = self.rates.speed();
        let engines = len(seats.len()).max(1);
        let (given, half) = (
            self.given.load(Ordering::Relaxed),
            REMEMBERED_TOKENS.saturating_mul(engines),
        );
        self.half.store(half, Ordering::Relaxed);
        // What others wait for is thought to be as long as what was sent from here.
        let mean = given
            .checked_div(self.prompts.load(Ordering::Relaxed))
            .unwrap_or(0);
        let (mut waiting, mut all) = (0_u64, 0_u64);
        let each: Vec<(&Seat, Speed, u64)> = seats
            .map(|seat| {
                let speed = speed.paced(seat.load.pace.factor(now_us));
                let recent = seat.recent.lock().at(given, half).saturating_add(SPARE_TOKENS);
                waiting = waiting.saturating_add(seat.load.waiting());
                all = all.saturating_add(recent);
                (seat, speed, recent)
            })
            .collect();
        let preferred = each
            .iter()
            .filter_map(|(seat, ..)| Some((prompt.preference(seat.view.number())?, seat.view.number())))
            .max();
        let score = |(seat, speed, recent): (&Seat, Speed, u64)| {
            let is_preferred = preferred.is_some_and(|(_, number)| number == seat.view.number());
            let (predicted_tokens, source) = looked.predicted(seat);
            let cached_tokens = seat.load.trust.expected(predicted_tokens);
            let facts = Facts {
                prompt_tokens: prompt.cut().tokens,
                cached_tokens,
                ahead_tokens: seat
                    .load
                    .prefill_tokens()
                    .saturating_add(mean.saturating_mul(seat.load.others_waiting())),
                waiting: seat.load.waiting().saturating_add(seat.load.others_waiting()),
                streams: seat.load.streams(),
                crowd: waiting.saturating_mul(ONE) / engines,
                // A hint is worth as much as half of the pressure, and no queue.
                pressure: share(ONE, recent, all / engines) / if is_preferred { 2 } else { 1 },
            };
            Score {
                predicted_tokens,
                cached_tokens,
                source,
                estimate: estimate(facts, speed),
            }
        };
        each.into_iter().map(score).collect()
    }

    /// A prompt goes to this engine.
    pub fn dispatch(&self, seat: Arc<Seat>, prompt: &Prompt, now_us: u64) -> Dispatched {
        let told = seat.told.as_ref().and_then(|told| told.sent(prompt));
        let sent = seat.view.sent(prompt);
        let cut = prompt.cut();
        let predicted_tokens = predicted(told.as_ref(), cut, sent);
        let cached_tokens = seat.load.trust.expected(predicted_tokens);
        let prefill_tokens = cut.tokens.saturating_sub(cached_tokens).max(1);
        let given = self.given.fetch_add(prefill_tokens, Ordering::Relaxed);
        self.prompts.fetch_add(1, Ordering::Relaxed);
        seat.recent
            .lock()
            .add(prefill_tokens, given, self.half.load(Ordering::Relaxed));
        let ahead = seat.load.sent(prefill_tokens);
        Dispatched {
            seat,
            model_rates: Arc::clone(&self.rates),
            lengths: Arc::clone(&self.lengths),
            cut,
            sent,
            told,
            prefill_tokens,
            work_tokens: ahead.saturating_add(prefill_tokens),
            sent_at_us: now_us,
            first_token_at_us: None,
        }
    }
}
