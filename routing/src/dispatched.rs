//! A request on its way: what it adds to its engine's load, and what its answer teaches.

use crate::index::Sent;
use crate::lengths::Lengths;
use crate::prompt::Cut;
use crate::rates::Rates;
use crate::router::Seat;
use crate::told::{Source, ToldSent};
use std::sync::Arc;

/// A request that is at an engine: it counts there until it is dropped, whatever becomes of it.
#[derive(Debug)]
pub struct Dispatched {
    pub(crate) seat: Arc<Seat>,
    pub(crate) model_rates: Arc<Rates>,
    pub(crate) lengths: Arc<Lengths>,
    pub(crate) cut: Cut,
    pub(crate) sent: Sent,
    /// Where the engine tells what it holds.
    pub(crate) told: Option<ToldSent>,
    pub(crate) prefill_tokens: u64,
    /// With what was ahead of it.
    pub(crate) work_tokens: u64,
    pub(crate) sent_at_us: u64,
    pub(crate) first_token_at_us: Option<u64>,
}

/// What an engine said at a request's end.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// `prompt_tokens`.
    pub prompt_tokens: u64,
    /// `cached_tokens`, as it says it.
    pub cached_tokens: Option<u64>,
    /// `completion_tokens`.
    pub output_tokens: u64,
}

/// What was foretold of an answer, and what came true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foretold {
    /// Cached tokens that were predicted.
    pub predicted_tokens: u64,
    /// Whom that was by.
    pub source: Source,
    /// Cached tokens that the engine reported; `None` where it does not say.
    pub cached_tokens: Option<u64>,
}

impl Dispatched {
    /// Tokens of the prompt that the engine was thought to hold when it was sent.
    pub fn predicted_tokens(&self) -> u64 {
        predicted(self.told.as_ref(), self.cut, self.sent)
    }

    /// Tokens that were to be prefilled at the engine when it was sent, its own among them.
    pub fn work_tokens(&self) -> u64 {
        self.work_tokens
    }

    /// Its first token came. A second call changes nothing.
    pub fn first_token(&mut self, now_us: u64) {
        if self.first_token_at_us.is_some() {
            return;
        }
        self.first_token_at_us = Some(now_us);
        self.seat.load.prefilled(self.prefill_tokens);
        self.seat.load.stream_began();
        let took = now_us.saturating_sub(self.sent_at_us).saturating_mul(1_000);
        // What was expected before this answer taught anything.
        let expected = self.model_rates.speed().first_token_ns(self.work_tokens);
        if self.model_rates.can_judge() {
            self.seat.load.pace.answered(expected, took, now_us);
        }
        self.model_rates.first_token(self.work_tokens, took);
    }

    /// It came to its end.
    pub fn ended(&self, answered: Answered, now_us: u64) -> Foretold {
        let cached_tokens = self.seat.load.cached_of(answered.cached_tokens);
        if let Some(first) = self.first_token_at_us {
            let took = now_us.saturating_sub(first).saturating_mul(1_000);
            let after = answered.output_tokens.saturating_sub(1);
            self.model_rates.streamed(after, took, self.seat.load.streams());
        }
        // The prompt's tokens were an estimate, and are known now.
        let cut = Cut {
            tokens: answered.prompt_tokens,
            ..self.cut
        };
        self.lengths.answered(cut);
        let predicted_tokens = predicted(self.told.as_ref(), cut, self.sent);
        if let Some(cached) = cached_tokens {
            self.seat.view.reported(self.sent, cut.blocks_of(cached));
            self.seat.load.trust.answered(predicted_tokens, cached);
        }
        Foretold {
            predicted_tokens,
            source: self.told.as_ref().map_or(Source::Sent, |_| Source::Events),
            cached_tokens,
        }
    }
}

/// Tokens of the prompt that were foretold: by the engine's events, or by the model of its cache.
pub(crate) fn predicted(told: Option<&ToldSent>, cut: Cut, sent: Sent) -> u64 {
    told.map_or_else(|| cut.tokens_of(sent.held), ToldSent::predicted_tokens)
}

impl Drop for Dispatched {
    fn drop(&mut self) {
        if let (Some(told), Some(sent)) = (&self.seat.told, &self.told) {
            told.release(sent);
        }
        if self.first_token_at_us.is_some() {
            self.seat.load.stream_ended();
        } else {
            self.seat.load.prefilled(self.prefill_tokens);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use crate::{ModelRouter, Prompt};
    use std::sync::Arc;

    #[test]
    fn whatever_becomes_of_a_request_its_load_goes_with_it() {
        let router = ModelRouter::default();
        let view = router.index().model("a", 100).unwrap();
        let seat = Arc::new(router.seat(view, Arc::default()));
        let counts = || {
            (
                seat.load.prefill_tokens(),
                seat.load.waiting(),
                seat.load.streams(),
            )
        };
        let prompt = |name| Prompt::of_names([name], 512, 600);
        let gone = router.dispatch(Arc::clone(&seat), &prompt(1), 0);
        let mut served = router.dispatch(Arc::clone(&seat), &prompt(2), 0);
        assert_eq!(counts(), (1_200, 2, 0));
        drop(gone);
        served.first_token(9);
        served.first_token(10);
        assert_eq!(counts(), (0, 0, 1));
        drop(served);
        assert_eq!(counts(), (0, 0, 0));
    }
}
