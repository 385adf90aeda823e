//! The order of a stream's events: roles, then a token of each choice in turn, the finish of each, usage, `[DONE]`.
//! The troubles that change what is said, or when it ends, happen here.

use axum::http::StatusCode;
use bytes::BytesMut;

use super::logprobs;
use super::refusal::Refusal;
use super::request::{Generation, Kind};
use super::trouble::{FaultKind, Trouble, UsageQuirk};
use super::wire::{Heading, Usage, Wire};

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An event has been written, with so many new tokens in it.
    Event { tokens: u64 },
    /// The next event belongs to the next decoding step.
    Step,
    /// The stream is over.
    End,
    /// Part of an event has been written; the connection breaks after it.
    Cut,
    /// Nothing, ever.
    Silence,
}

/// Whether an answer came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Sound,
    Broken,
}

/// Where the script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Role(usize),
    Round,
    Turn(usize),
    /// So many usage chunks are still to come.
    Usage(u8),
    Done,
    Over(Ended),
}

/// The events of one stream, one at a time.
pub(super) struct Script {
    wire: Wire,
    id: String,
    generation: Generation,
    trouble: Trouble,
    cached: u64,
    produced: u64,
    phase: Phase,
    /// For each choice, whether its finish has been said, and the bytes of its text so far.
    finished: Vec<bool>,
    offsets: Vec<usize>,
}

impl Script {
    pub(super) fn new(heading: Heading, generation: Generation, trouble: Trouble) -> Script {
        let choices = generation.choices.len();
        let phase = match generation.kind {
            Kind::Chat => Phase::Role(0),
            Kind::Completion => Phase::Round,
        };
        Script {
            wire: Wire::new(&heading, choices, trouble.crlf),
            id: heading.id,
            generation,
            trouble,
            cached: 0,
            produced: 0,
            phase,
            finished: vec![false; choices],
            offsets: vec![0; choices],
        }
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(super) fn set_cached(&mut self, cached: u64) {
        self.cached = cached;
    }

    /// How the stream ended, once nothing comes any more.
    pub(super) fn over(&self) -> Option<Ended> {
        match self.phase {
            Phase::Over(ended) => Some(ended),
            _ => None,
        }
    }

    /// Writes the next event to `out`, or says why there is none.
    pub(super) fn next(&mut self, out: &mut BytesMut) -> Next {
        loop {
            match self.phase {
                Phase::Role(index) if index < self.finished.len() => {
                    self.phase = Phase::Role(index + 1);
                    return self.role(out, index);
                }
                Phase::Role(_) => self.phase = Phase::Round,
                Phase::Round if self.finished.iter().all(|finished| *finished) => self.phase = self.closing(),
                Phase::Round => {
                    self.phase = Phase::Turn(0);
                    if self.produced > 0 {
                        return Next::Step;
                    }
                }
                Phase::Turn(index) => {
                    if let Some(next) = self.turn(out, index) {
                        return next;
                    }
                }
                Phase::Usage(left) => {
                    self.phase = if left > 1 {
                        Phase::Usage(left - 1)
                    } else {
                        self.done()
                    };
                    self.comment(out);
                    let cached = if left > 1 { 0 } else { self.cached };
                    self.wire.usage(
                        out,
                        Usage {
                            cached,
                            ..self.usage()
                        },
                    );
                    return Next::Event { tokens: 0 };
                }
                Phase::Done => {
                    self.phase = Phase::Over(Ended::Sound);
                    self.comment(out);
                    self.wire.done(out);
                    return Next::Event { tokens: 0 };
                }
                Phase::Over(_) => return Next::End,
            }
        }
    }

    /// What follows the last choice's finish.
    fn closing(&self) -> Phase {
        match self.trouble.usage {
            _ if !self.generation.include_usage => self.done(),
            UsageQuirk::Missing | UsageQuirk::OnFinish => self.done(),
            UsageQuirk::None => Phase::Usage(1),
            UsageQuirk::Twice => Phase::Usage(2),
        }
    }

    fn done(&self) -> Phase {
        if self.trouble.no_done {
            Phase::Over(Ended::Sound)
        } else {
            Phase::Done
        }
    }

    fn role(&mut self, out: &mut BytesMut, index: usize) -> Next {
        self.comment(out);
        let start = out.len();
        self.wire.role(out, index);
        self.wire.end_chunk(out, self.running_usage(index), start, 0);
        Next::Event { tokens: 0 }
    }

    /// The choice's token, or its finish, or nothing as it has ended already.
    fn turn(&mut self, out: &mut BytesMut, index: usize) -> Option<Next> {
        let Some(choice) = self.generation.choices.get(index) else {
            self.phase = Phase::Round;
            return None;
        };
        let complete = choice.is_complete();
        if complete && self.finished[index] {
            self.phase = Phase::Turn(index + 1);
            return None;
        }
        if let Some(next) = self.fault(out, index) {
            return Some(next);
        }
        if complete {
            self.phase = Phase::Turn(index + 1);
            self.finished[index] = true;
            return self.finish(out, index);
        }
        let tokens = self.token(out, index);
        // A choice that has just become complete stays in turn for its finish.
        if !self.generation.choices[index].is_complete() {
            self.phase = Phase::Turn(index + 1);
        }
        Some(Next::Event { tokens })
    }

    fn finish(&mut self, out: &mut BytesMut, index: usize) -> Option<Next> {
        if self.trouble.no_finish {
            return None;
        }
        self.comment(out);
        let start = out.len();
        self.wire
            .finish(out, index, self.generation.choices[index].reason.as_str());
        let last = self.finished.iter().all(|finished| *finished);
        let on_finish = last && self.generation.include_usage && self.trouble.usage == UsageQuirk::OnFinish;
        let usage = if on_finish {
            Some(self.usage())
        } else {
            self.running_usage(index)
        };
        self.wire.end_chunk(out, usage, start, 0);
        Some(Next::Event { tokens: 0 })
    }

    /// The next token of a choice; with `multi-token` the next few. Returns how many.
    fn token(&mut self, out: &mut BytesMut, index: usize) -> u64 {
        self.comment(out);
        let start = out.len();
        let choice = &mut self.generation.choices[index];
        let before = choice.produced;
        let mut said: Vec<String> = Vec::new();
        if let Some(name) = choice.tool.as_deref()
            && choice.produced == 0
        {
            choice.produced = 1;
            self.wire.tool_name(out, index, &self.id, name);
        } else {
            match choice.tool {
                Some(_) => self.wire.open_arguments(out, index),
                None => self.wire.open_text(out, index),
            }
            for _ in 0..(self.trouble.more_tokens + 1).min(choice.limit - choice.produced) {
                let token = choice.source.next();
                out.extend_from_slice(token.json.as_bytes());
                choice.produced += 1;
                if self.generation.top_logprobs.is_some() {
                    said.push(token.text.to_owned());
                }
            }
            let logprobs = self.generation.top_logprobs.map(|top| {
                let offset = self.offsets[index];
                logprobs::render(self.generation.kind, &said, top, offset).to_string()
            });
            self.offsets[index] += said.iter().map(String::len).sum::<usize>();
            match choice.tool {
                Some(_) => self.wire.close_arguments(out),
                None => self.wire.close_text(out, logprobs.as_deref()),
            }
        }
        let tokens = choice.produced - before;
        let line_bytes = if self.produced == 0 {
            self.trouble.line_bytes
        } else {
            0
        };
        self.produced += tokens;
        self.wire
            .end_chunk(out, self.running_usage(index), start, line_bytes);
        tokens
    }

    /// The fault that was asked for, once its tokens are out. A malformed event happens once and the stream goes on.
    fn fault(&mut self, out: &mut BytesMut, index: usize) -> Option<Next> {
        let fault = self.trouble.fault.filter(|fault| self.produced >= fault.after)?;
        match fault.kind {
            FaultKind::Stall => Some(Next::Silence),
            FaultKind::Cut => {
                self.phase = Phase::Over(Ended::Broken);
                let start = out.len();
                match self.generation.choices[index].is_complete() {
                    true => self.wire.finish(out, index, "stop"),
                    false => self.wire.open_text(out, index),
                }
                out.truncate(start + (out.len() - start) / 2);
                Some(Next::Cut)
            }
            FaultKind::Malformed => {
                self.trouble.fault = None;
                self.comment(out);
                self.wire.malformed(out);
                Some(Next::Event { tokens: 0 })
            }
            FaultKind::ErrorEvent { done } => {
                self.phase = Phase::Over(Ended::Broken);
                self.comment(out);
                self.wire.error(out, &engine_died());
                if done {
                    self.wire.done(out);
                }
                Some(Next::Event { tokens: 0 })
            }
        }
    }

    fn comment(&self, out: &mut BytesMut) {
        if self.trouble.comments {
            self.wire.comment(out);
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt: self.generation.prompt_tokens(),
            completion: self.produced,
            cached: self.cached,
        }
    }

    /// With `continuous_usage_stats` each chunk counts its own choice, as vLLM's do, and no cached tokens.
    fn running_usage(&self, index: usize) -> Option<Usage> {
        let wanted = self.generation.continuous_usage && self.trouble.usage != UsageQuirk::Missing;
        let choice = self.generation.choices.get(index).filter(|_| wanted)?;
        Some(Usage {
            prompt: choice.prompt_tokens,
            completion: choice.produced,
            cached: 0,
        })
    }
}

/// What vLLM says when its engine process has died.
pub(super) fn engine_died() -> Refusal {
    let message = "EngineCore encountered an issue. See stack trace (above) for the root cause.";
    Refusal::with_status(StatusCode::INTERNAL_SERVER_ERROR, message.to_owned())
}
