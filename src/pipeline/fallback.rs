//! Unanswered -> Admitted: another model, where none of a model's engines can serve and the operator names one that stands in.
//!
//! The request is let in anew, as if it had asked for the other model: under its price, its limits and what the key may use.
//! What it held for the first is given back before that, and the duty to settle goes over: there is one entry, of the model that
//! served. Whoever cannot be let in there, or is not served there either, is told what the first model's engines came to.

use crate::engines::registry::ServedModel;
use crate::pipeline::admit::{Admitted, Ticket, admit};
use crate::pipeline::authenticate::Caller;
use crate::pipeline::request::InferenceRequest;
use crate::pipeline::{Arrival, Pipeline, settle};
use crate::telemetry::log;
use farebox_domain::ids::ModelId;
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

/// Why no engine answered, and whether another model may.
#[derive(Debug)]
pub(in crate::pipeline) struct Unanswered {
    refusal: Refusal,
    may_fall_back: bool,
}

impl Unanswered {
    /// No engine was called. Where all are full, more of them would help and not another model.
    pub(in crate::pipeline) fn before_a_call(refusal: Refusal) -> Self {
        Self {
            may_fall_back: matches!(refusal, Refusal::NoEngineAvailable { .. }),
            refusal,
        }
    }

    /// Each that was called failed before a first event; or one said that the request itself does not hold.
    pub(in crate::pipeline) fn by_engines(refusal: Refusal) -> Self {
        Self {
            may_fall_back: matches!(
                refusal,
                Refusal::EngineError(_) | Refusal::EngineTimeout(_) | Refusal::EngineOverloaded { .. }
            ),
            refusal,
        }
    }

    /// The server is going away.
    pub(in crate::pipeline) const fn cut() -> Self {
        Self {
            refusal: Refusal::ShuttingDown,
            may_fall_back: false,
        }
    }
}

/// The models that may stand in for the one that a request asks for.
pub(in crate::pipeline) struct Fallbacks<'a> {
    pipeline: &'a Arc<Pipeline>,
    caller: &'a Caller,
    /// The request as it came; `None` where no model may stand in.
    spare: Option<Box<Spare>>,
    first_refusal: Option<Refusal>,
}

struct Spare {
    arrival: Arrival,
    request: InferenceRequest,
    asked: ModelId,
    left: std::vec::IntoIter<Arc<ServedModel>>,
}

impl<'a> Fallbacks<'a> {
    /// Of a request before it is let in. It is copied only where a model may stand in; its body is not.
    pub(in crate::pipeline) fn of(
        pipeline: &'a Arc<Pipeline>,
        caller: &'a Caller,
        arrival: &Arrival,
        request: &InferenceRequest,
    ) -> Self {
        let registry = pipeline.registry();
        let spare = registry.find(&request.model).and_then(|served| {
            let ids = served.model.fallback.iter();
            let known = ids.filter_map(|id| registry.find(id.as_str()));
            let allowed = known.filter(|other| caller.may_use(&other.model));
            let left: Vec<_> = allowed.map(Arc::clone).collect();
            (!left.is_empty()).then(|| {
                Box::new(Spare {
                    arrival: arrival.clone(),
                    request: request.clone(),
                    asked: served.model.id.clone(),
                    left: left.into_iter(),
                })
            })
        });
        Self {
            pipeline,
            caller,
            spare,
            first_refusal: None,
        }
    }

    /// The request, let in for the next model that takes it; or the end of it.
    pub(in crate::pipeline) async fn next(
        &mut self,
        failed: Admitted,
        unanswered: Unanswered,
    ) -> Result<(Admitted, Arc<ServedModel>), Refusal> {
        let refusal = self.first_refusal.get_or_insert(unanswered.refusal).clone();
        let Some(spare) = self.spare.as_mut().filter(|_| unanswered.may_fall_back) else {
            failed.fail();
            return Err(refusal);
        };
        let withdrawn = failed.withdraw();
        for served in spare.left.by_ref() {
            let mut request = Box::new(spare.request.clone());
            request.model = served.model.id.to_string();
            let admitted = admit(self.pipeline, self.caller, spare.arrival.clone(), request).await;
            if let Ok((admitted, served)) = admitted {
                withdrawn.hand_over();
                let id = &served.model.id;
                self.pipeline.metrics.fell_back(&spare.asked, id);
                log::fell_back(admitted.id(), &spare.asked, id);
                return Ok((admitted, served));
            }
        }
        withdrawn.fail();
        Err(refusal)
    }
}

/// A request that has given back what it held, and is still to be settled. Dropped, it is settled as one whose client left.
struct Withdrawn(Ticket);

impl Admitted {
    fn withdraw(self) -> Withdrawn {
        let (hold, rates) = {
            let mut progress = self.ticket.live().progress.lock();
            (progress.hold.take(), progress.rates.take())
        };
        drop((hold, rates));
        drop(self.permit);
        Withdrawn(self.ticket)
    }
}

impl Withdrawn {
    /// Another admission of the same request settles it.
    fn hand_over(self) {
        self.0.redeem();
    }

    fn fail(self) {
        let pipeline = Arc::clone(&self.0.pipeline);
        settle::settle_failed(&pipeline, &self.0.redeem());
    }
}
