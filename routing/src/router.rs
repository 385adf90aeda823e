//! One model's routing: what a request would cost at each of its engines, and what came of the choice.

use crate::dispatched::{Dispatched, predicted};
use crate::divisor::Divisor;
use crate::estimate::{Estimate, Facts, ONE, estimate};
use crate::index::{CacheView, Held, PrefixIndex};
use crate::lengths::Lengths;
use crate::load::EngineLoad;
use crate::prompt::{Prompt, len};
use crate::rates::{Rates, Speed};
use crate::told::{Hearing, Source, Told};
use parking_lot::Mutex;
use std::cell::Cell;
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
///
/// In the order in which it is of use: what a choice reads of each is on one line of the processor's cache, as its load is.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Seat {
    /// What it has to do, for all of its models.
    pub load: Arc<EngineLoad>,
    /// What it tells of the model's prompts itself, where it does.
    pub told: Option<Arc<Told>>,
    recent: Recent,
    /// The view's.
    number: u32,
    /// What it is thought to hold of the model's prompts, from what was sent there.
    pub view: CacheView,
}

/// Tokens that an engine was given to prefill; they fade as the others are given theirs. Reading takes no lock, and what is read
/// need not agree to the last prompt.
#[derive(Debug, Default)]
struct Recent {
    tokens: AtomicU64,
    /// The model's `given` at that moment.
    at: AtomicU64,
    adding: Mutex<()>,
}

impl Recent {
    #[inline]
    fn at(&self, given: u64, halving: Divisor) -> u64 {
        let passed = given.saturating_sub(self.at.load(Ordering::Relaxed));
        let (halves, into) = halving.divide(passed);
        let halves = u32::try_from(halves).unwrap_or(u32::MAX);
        let tokens = self.tokens.load(Ordering::Relaxed);
        let whole = tokens.checked_shr(halves).unwrap_or(0);
        // Between two halves it falls in a straight line.
        whole - halving.share(whole / 2, into)
    }

    fn add(&self, tokens: u64, given: u64, half: u64) {
        let _adding = self.adding.lock();
        let all = self.at(given, Divisor::new(half)).saturating_add(tokens);
        self.tokens.store(all, Ordering::Relaxed);
        self.at.store(given, Ordering::Relaxed);
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
#[derive(Debug)]
struct Looked<'a> {
    prompt: &'a Prompt,
    held: Held,
    by_tokens: Vec<Held>,
    /// So many leading blocks, and their tokens: most engines hold as many as the one before.
    last: Cell<(usize, u64)>,
}

impl<'a> Looked<'a> {
    fn up(prompt: &'a Prompt, index: &PrefixIndex) -> Self {
        let cuts = prompt.by_tokens().iter();
        Self {
            prompt,
            held: index.held(prompt),
            by_tokens: cuts.map(|(_, cut)| index.held(cut)).collect(),
            last: Cell::default(),
        }
    }

    #[inline]
    fn tokens_of(&self, blocks: usize) -> u64 {
        let (last, tokens) = self.last.get();
        if blocks == last {
            return tokens;
        }
        let tokens = self.prompt.cut().tokens_of(blocks);
        self.last.set((blocks, tokens));
        tokens
    }

    /// The prompt's tokens that an engine is thought to hold.
    #[inline]
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
                let blocks = self.held.by_number(seat.number);
                (self.tokens_of(blocks), Source::Sent)
            }
        }
    }
}

/// A prompt, and what a model's engines are like together: all that it takes to say what it would cost at one of them.
#[derive(Debug)]
pub struct Weighing<'a> {
    looked: Looked<'a>,
    speed: Speed,
    /// Tokens of prefill that a prompt from here has on average: what others wait for is thought to be as long.
    mean_prompt: u64,
    crowd: u64,
    /// What each engine was given to prefill of late, in the order of the engines; and on average.
    recent: Vec<u64>,
    mean_recent: Divisor,
    /// The number of the one that the prompt's hint prefers.
    preferred: Option<u32>,
    now_us: u64,
}

impl Weighing<'_> {
    /// What is thought of the engine that stands at this place among those that were weighed.
    #[inline]
    pub fn score(&self, at: usize, seat: &Seat) -> Score {
        let load = &*seat.load;
        let (predicted_tokens, source) = self.looked.predicted(seat);
        let cached_tokens = load.trust.expected(predicted_tokens);
        let others_waiting = u64::from(load.others_waiting());
        let pressure = self.mean_recent.share(ONE, self.recent[at]);
        let facts = Facts {
            prompt_tokens: self.looked.prompt.cut().tokens,
            cached_tokens,
            ahead_tokens: load
                .prefill_tokens()
                .saturating_add(self.mean_prompt.saturating_mul(others_waiting)),
            waiting: load.waiting().saturating_add(others_waiting),
            streams: load.streams(),
            crowd: self.crowd,
            // A hint is worth as much as half of the pressure, and no queue.
            pressure: if self.preferred == Some(seat.number) {
                pressure / 2
            } else {
                pressure
            },
        };
        Score {
            predicted_tokens,
            cached_tokens,
            source,
            estimate: estimate(facts, self.speed.paced(load.pace.factor(self.now_us))),
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
            load,
            told: None,
            recent: Recent::default(),
            number: view.number(),
            view,
        }
    }

    /// What is thought of each of these engines for a prompt, in their order.
    pub fn scores<'a>(
        &self,
        prompt: &Prompt,
        seats: impl Iterator<Item = &'a Seat> + Clone,
        now_us: u64,
    ) -> Vec<Score> {
        let weighing = self.weigh(prompt, seats.clone(), now_us);
        let each = seats.enumerate();
        each.map(|(at, seat)| weighing.score(at, seat)).collect()
    }

    /// Looks what these engines are like together, to score any of them for a prompt.
    pub fn weigh<'a, 'p>(
        &self,
        prompt: &'p Prompt,
        seats: impl Iterator<Item = &'a Seat> + Clone,
        now_us: u64,
    ) -> Weighing<'p> {
        let engines = len(seats.clone().count()).max(1);
        let (given, half) = (
            self.given.load(Ordering::Relaxed),
            REMEMBERED_TOKENS.saturating_mul(engines),
        );
        self.half.store(half, Ordering::Relaxed);
        let (mut waiting, mut all) = (0_u64, 0_u64);
        let halving = Divisor::new(half);
        let each = seats.clone().map(|seat| {
            let recent = seat.recent.at(given, halving).saturating_add(SPARE_TOKENS);
            waiting = waiting.saturating_add(seat.load.waiting());
            all = all.saturating_add(recent);
            recent
        });
        let recent = each.collect();
        Weighing {
            looked: Looked::up(prompt, &self.index),
            speed: self.rates.speed(),
            mean_prompt: given
                .checked_div(self.prompts.load(Ordering::Relaxed))
                .unwrap_or(0),
            crowd: waiting.saturating_mul(ONE) / engines,
            mean_recent: Divisor::new(all / engines),
            recent,
            preferred: prompt.preferred(seats.map(|seat| seat.number)),
            now_us,
        }
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
        let half = self.half.load(Ordering::Relaxed);
        seat.recent.add(prefill_tokens, given, half);
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::Answered;
    use crate::prompt::share;
    use proptest::prelude::*;
    use proptest::sample::Index;

    /// The scores as they are promised, said without regard to what they cost.
    fn scores_by_the_rule(
        router: &ModelRouter,
        prompt: &Prompt,
        seats: &[Arc<Seat>],
        now_us: u64,
    ) -> Vec<Score> {
        let (engines, given) = (len(seats.len()), router.given.load(Ordering::Relaxed));
        let half = REMEMBERED_TOKENS * engines;
        let mean = given.checked_div(router.prompts.load(Ordering::Relaxed));
        let recent = |seat: &Seat| {
            let [tokens, at] = [&seat.recent.tokens, &seat.recent.at].map(|sum| sum.load(Ordering::Relaxed));
            let passed = given - at;
            let whole = tokens
                .checked_shr(u32::try_from(passed / half).unwrap())
                .unwrap_or(0);
            whole - share(whole / 2, passed % half, half) + SPARE_TOKENS
        };
        let all: u64 = seats.iter().map(|seat| recent(seat)).sum();
        let waiting: u64 = seats.iter().map(|seat| seat.load.waiting()).sum();
        let numbers = seats.iter().map(|seat| seat.view.number());
        let preferred = prompt.preferred(numbers);
        let score = |seat: &Arc<Seat>| {
            // Nothing is remembered from one engine to the next.
            let (predicted_tokens, source) = Looked::up(prompt, &router.index).predicted(seat);
            let cached_tokens = seat.load.trust.expected(predicted_tokens);
            let others = u64::from(seat.load.others_waiting());
            let is_preferred = preferred == Some(seat.view.number());
            let facts = Facts {
                prompt_tokens: prompt.cut().tokens,
                cached_tokens,
                ahead_tokens: seat.load.prefill_tokens() + mean.unwrap_or(0) * others,
                waiting: seat.load.waiting() + others,
                streams: seat.load.streams(),
                crowd: waiting * ONE / engines,
                pressure: share(ONE, recent(seat), all / engines) / if is_preferred { 2 } else { 1 },
            };
            Score {
                predicted_tokens,
                cached_tokens,
                source,
                estimate: estimate(facts, router.rates.speed().paced(seat.load.pace.factor(now_us))),
            }
        };
        seats.iter().map(score).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// A prompt of so many blocks of a conversation goes to an engine.
        Dispatch(Index, u64, usize),
        /// One that is under way has its first token.
        FirstToken(Index),
        /// One ends, and its engine says that it had so many tokens.
        End(Index, Option<u64>),
        /// Others wait at an engine.
        Others(Index, u64),
        /// So many microseconds pass.
        Pass(u64),
    }

    /// Of a prompt. Few ones are more often one more than another's.
    fn any_blocks() -> impl Strategy<Value = usize> {
        prop_oneof![0_usize..400, 0_usize..5]
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let index = any::<Index>;
        prop_oneof![
            4 => (index(), 0_u64..4, any_blocks()).prop_map(|(at, of, blocks)| Step::Dispatch(at, of, blocks)),
            3 => index().prop_map(Step::FirstToken),
            2 => (index(), prop::option::of(0_u64..100_000)).prop_map(|(at, cached)| Step::End(at, cached)),
            1 => (index(), 0_u64..9).prop_map(|(at, others)| Step::Others(at, others)),
            2 => (0_u64..90_000_000).prop_map(Step::Pass),
        ]
    }

    fn prompt(of: u64, blocks: usize) -> Prompt {
        let names = (0..len(blocks)).map(|block| of << 32 | block);
        let prompt = Prompt::of_names(names, 512, blocks * 512 + 100);
        if of == 3 {
            prompt.with_cache_key(b"a")
        } else {
            prompt
        }
    }

    proptest! {
        #[test]
        fn what_is_thought_of_each_engine_is_what_the_rule_says(
            engines in 1_usize..7, steps in prop::collection::vec(any_step(), 1..60), asked in (0_u64..4, any_blocks())
        ) {
            let router = ModelRouter::default();
            let seat = |engine: usize| {
                let view = router.index().model(&engine.to_string(), 300).unwrap();
                Arc::new(router.seat(view, Arc::default()))
            };
            let seats: Vec<_> = (0..engines).map(seat).collect();
            let (mut under_way, mut now_us) = (Vec::new(), 0);
            let asked = prompt(asked.0, asked.1);
            for step in steps {
                match step {
                    Step::Dispatch(at, of, blocks) => {
                        let seat = Arc::clone(at.get(&seats));
                        under_way.push(router.dispatch(seat, &prompt(of, blocks), now_us));
                    }
                    Step::Others(at, others) => at.get(&seats).load.set_others_waiting(others),
                    Step::Pass(passed) => now_us += passed,
                    Step::FirstToken(_) | Step::End(..) if under_way.is_empty() => {}
                    Step::FirstToken(at) => at.get_mut(&mut under_way).first_token(now_us),
                    Step::End(at, cached_tokens) => {
                        let ended = under_way.swap_remove(at.index(under_way.len()));
                        let answered = Answered { prompt_tokens: 9_000, cached_tokens, output_tokens: 40 };
                        ended.ended(answered, now_us);
                    }
                }
                let scores = router.scores(&asked, seats.iter().map(|seat| &**seat), now_us);
                prop_assert_eq!(&scores, &scores_by_the_rule(&router, &asked, &seats, now_us));
            }
        }
    }
}
