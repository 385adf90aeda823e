//! The stream that a client reads: the engine's bytes, metered as they pass, and the end after the commit.
//!
//! It owns the admitted request. When hyper drops it because the client left, the engine's connection closes with
//! it, and the request settles with what is known of it.

use crate::engines::client::{EngineBody, EngineGuard};
use crate::ledger::SettleFault;
use crate::pipeline::admit::Admitted;
use crate::pipeline::in_flight::Live;
use crate::pipeline::meter::{Output, Step, StreamFault, StreamMeter};
use crate::pipeline::settle::{Receipt, Settling};
use crate::pipeline::shown::{error_event, ledger_error_event, usage_json};
use crate::telemetry::log;
use bytes::Bytes;
use farebox_domain::ids::EngineName;
use farebox_domain::ledger::EntryState;
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// A metered stream.
pub struct MeteredBody {
    meter: StreamMeter,
    output: Output,
    live: Arc<Live>,
    state: State,
    /// What has been read of the stream and not been metered.
    begun: Bytes,
    timer: Pin<Box<Sleep>>,
    last_segment_at: Instant,
    stall_after: Duration,
    overtime_at: Instant,
    /// What was known when the hold was last looked at: the prompt's tokens, and choices that have finished.
    known: (bool, u64),
}

enum State {
    Streaming {
        admitted: Admitted,
        upstream: Source,
    },
    /// The end waits for the commit.
    Settling {
        end: Bytes,
        receipt: Receipt,
        done: oneshot::Receiver<Result<(), SettleFault>>,
        upstream: Option<Source>,
    },
    /// The receipt holds the permit until the body is dropped.
    Ended {
        _receipt: Option<Receipt>,
    },
}

/// The engine's side.
struct Source {
    body: EngineBody,
    _guard: EngineGuard,
}

impl MeteredBody {
    /// A body for a stream that has begun.
    pub(in crate::pipeline) fn new(
        admitted: Admitted,
        live: Arc<Live>,
        meter: StreamMeter,
        begun: Bytes,
        (body, guard): (EngineBody, EngineGuard),
    ) -> Self {
        let pipeline = admitted.pipeline();
        let now = pipeline.clock.now();
        let timeouts = live.model.settings.timeouts;
        let overtime_at = live.admitted_at + timeouts.total;
        Self {
            known: (false, 0),
            meter,
            output: Output::default(),
            begun,
            timer: Box::pin(tokio::time::sleep_until(
                overtime_at.min(now + timeouts.between_tokens),
            )),
            last_segment_at: now,
            stall_after: timeouts.between_tokens,
            overtime_at,
            live,
            state: State::Streaming {
                admitted,
                upstream: Source { body, _guard: guard },
            },
        }
    }

    /// Which engine it is from.
    pub(in crate::pipeline) fn engine(&self) -> Option<EngineName> {
        let progress = self.live.progress.lock();
        progress.engine.as_ref().map(|(name, _)| name.clone())
    }

    /// Reads on until there is something to show, or the stream has ended. Returns what there is to show.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            // An engine that always has more never lets it come to `poll_patience`.
            if self.live.is_cut() {
                self.break_off(StreamFault::Shutdown);
            }
            let State::Streaming { upstream, .. } = &mut self.state else {
                return Poll::Ready(None);
            };
            let segment = if self.begun.is_empty() {
                match Pin::new(&mut upstream.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => Some(frame.into_data().unwrap_or_default()),
                    Poll::Ready(None) => None,
                    Poll::Ready(Some(Err(_))) => {
                        self.break_off(StreamFault::Broken);
                        return Poll::Ready(None);
                    }
                    Poll::Pending => {
                        let fault = ready!(self.poll_patience(cx));
                        self.break_off(fault);
                        return Poll::Ready(None);
                    }
                }
            } else {
                Some(std::mem::take(&mut self.begun))
            };
            let step = match segment {
                Some(segment) => {
                    self.note_gap();
                    self.meter.push(segment, &mut self.output)
                }
                None => self.meter.end(&mut self.output),
            };
            self.note_progress();
            let shown = self.output.take();
            match step {
                Step::More => {}
                Step::Complete => self.complete(),
                Step::Ceiling => self.end_at_ceiling(),
                Step::Fault(fault) => self.break_off(fault),
            }
            if shown.is_some() {
                return Poll::Ready(shown);
            }
        }
    }

    /// Resolves when there is no more patience. The timer is not set anew for each segment: it looks, when it
    /// fires, at how long the silence has lasted.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<StreamFault> {
        if self.live.poll_cut(cx).is_ready() {
            return Poll::Ready(StreamFault::Shutdown);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let fired = self.timer.deadline();
            if fired >= self.overtime_at {
                return Poll::Ready(StreamFault::Overtime);
            }
            let stalled_at = self.last_segment_at + self.stall_after;
            if fired >= stalled_at {
                return Poll::Ready(StreamFault::Stalled);
            }
            self.timer.as_mut().reset(stalled_at.min(self.overtime_at));
        }
    }

    fn note_gap(&mut self) {
        let State::Streaming { admitted, .. } = &self.state else {
            return;
        };
        let now = admitted.pipeline().clock.now();
        self.live
            .model
            .metrics
            .inter_token(now.saturating_duration_since(self.last_segment_at));
        self.last_segment_at = now;
    }

    /// Remembers what has come, and gives back what the request can no longer cost.
    fn note_progress(&mut self) {
        let mut progress = self.live.progress.lock();
        let meter = &self.meter;
        let known = (meter.usage.is_some(), meter.counted_choices);
        if progress.affordable_tokens.is_some() && known != self.known {
            self.known = known;
            self.live.shrink_hold(&mut progress, meter);
        }
        progress.usage.clone_from(&self.meter.usage);
        progress.usage_is_final = self.meter.usage_is_final;
        progress.deltas = self.meter.deltas;
    }

    fn complete(&mut self) {
        self.settle(EntryState::Completed, |meter, receipt| {
            meter.terminal(&usage_json(receipt, meter.usage.as_deref()))
        });
    }

    /// The engine is left: what it makes from here on is nobody's.
    fn end_at_ceiling(&mut self) {
        let State::Streaming { admitted, .. } = &self.state else {
            return;
        };
        admitted.pipeline().metrics.capped.inc();
        {
            let mut progress = self.live.progress.lock();
            progress.ended_at_ceiling = progress.affordable_tokens;
        }
        let endpoint = self.live.endpoint;
        self.settle(EntryState::Capped, move |meter, receipt| {
            meter.ceiling_end(endpoint, &usage_json(receipt, meter.usage.as_deref()))
        });
    }

    fn break_off(&mut self, fault: StreamFault) {
        let State::Streaming { admitted, .. } = &self.state else {
            return;
        };
        admitted.pipeline().metrics.stream_broke(fault.as_str());
        log::stream_broke(admitted.id(), self.engine().as_ref(), fault.as_str());
        self.settle(EntryState::Interrupted, move |_, _| error_event(fault));
    }

    /// Hands the request over by value, and prepares the end that is shown when the entry is durable.
    fn settle(&mut self, state: EntryState, end: impl FnOnce(&StreamMeter, &Receipt) -> Bytes) {
        let State::Streaming { admitted, upstream } =
            std::mem::replace(&mut self.state, State::Ended { _receipt: None })
        else {
            return;
        };
        let Settling { receipt, done } = admitted.settle(state);
        let end = end(&self.meter, &receipt);
        // A stream that is complete is read to its last byte, so that its connection can be used again; one
        // that is not is closed at once, which is how an engine learns of it.
        let upstream = (state == EntryState::Completed).then_some(upstream);
        self.state = State::Settling {
            end,
            receipt,
            done,
            upstream,
        };
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let State::Settling { upstream, .. } = &mut self.state else {
            return Poll::Ready(None);
        };
        if let Some(source) = upstream {
            while let Poll::Ready(frame) = Pin::new(&mut source.body).poll_frame(cx) {
                if !matches!(frame, Some(Ok(_))) {
                    *upstream = None;
                    break;
                }
            }
        }
        let State::Settling { done, .. } = &mut self.state else {
            return Poll::Ready(None);
        };
        let durable = matches!(ready!(Pin::new(done).poll(cx)), Ok(Ok(())));
        let settled = std::mem::replace(&mut self.state, State::Ended { _receipt: None });
        let State::Settling { end, receipt, .. } = settled else {
            return Poll::Ready(None);
        };
        self.state = State::Ended {
            _receipt: Some(receipt),
        };
        // What is not in the ledger is not shown as complete.
        Poll::Ready(Some(if durable { end } else { ledger_error_event() }))
    }
}

impl Body for MeteredBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(shown) = ready!(this.poll_stream(cx)) {
            return Poll::Ready(Some(Ok(Frame::data(shown))));
        }
        let end = ready!(this.poll_end(cx));
        Poll::Ready(end.map(|end| Ok(Frame::data(end))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
