//! The life of a request: seven calls, each of which takes what the one before it made.
//!
//! ```text
//! Request -authenticate-> Caller -admit-> Admitted -route-> Route -forward-> Upstream
//!         -meter-> (the same bytes, Usage) -settle-> Receipt
//! ```
//!
//! - [`request`], `fields`: the body is read; `edits`: what an engine is sent of it; `units`: what of it is no token; `prefix`: as routing
//!   sees it
//! - [`mod@authenticate`], [`hold`], [`leases`], `shared`, [`mod@admit`], [`call`], [`mod@route`], [`mod@forward`],
//!   `parts`, [`Retries`], `fallback`: until an engine answers
//! - `event`, [`meter`], [`body`]: a stream passes and is metered; [`whole`], `scan`: an answer in one piece
//! - [`usage`], [`settle`], [`in_flight`], [`checkpoint`]: what it comes to
//! - `engine_error`, `shown`: what a client is told; [`watch`], [`explain`]: what an operator sees of it

pub mod request;
mod fields;
mod edits;
mod units;
mod prefix;
pub mod authenticate;
pub mod hold;
pub mod leases;
mod shared;
pub mod admit;
pub mod call;
pub mod route;
mod tries;
pub mod forward;
mod parts;
mod retries;
mod fallback;
mod engine_error;
mod event;
mod scan;
pub mod meter;
pub mod body;
pub mod whole;
pub mod usage;
pub mod settle;
pub mod in_flight;
pub mod checkpoint;
mod shown;
pub mod watch;
pub mod explain;

use crate::admission::directory::Directory;
use crate::admission::shared::Shared;
use crate::clock::Clock;
use crate::engines::client::{EngineBody, EngineGuard};
use crate::engines::registry::{Registry, ServedModel};
use crate::ledger::Settler;
use crate::pipeline::admit::{Admitted, admit};
use crate::pipeline::authenticate::Caller;
use crate::pipeline::body::MeteredBody;
use crate::pipeline::call::Call;
use crate::pipeline::fallback::{Fallbacks, Unanswered};
use crate::pipeline::forward::{Upstream, forward};
use crate::pipeline::in_flight::{InFlight, Live};
use crate::pipeline::leases::Leases;
use crate::pipeline::meter::{Presentation, StreamMeter};
use crate::pipeline::request::InferenceRequest;
pub use crate::pipeline::retries::Retries;
use crate::pipeline::route::route;
use crate::pipeline::settle::Receipt;
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_log::RequestLog;
use arc_swap::ArcSwap;
use bytes::Bytes;
use farebox_domain::ids::{EngineName, RequestId};
use farebox_domain::ledger::EntryState;
use farebox_domain::refusal::Refusal;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the stages work with. Built once, at start.
#[derive(Debug)]
pub struct Pipeline {
    /// What time it is.
    pub clock: Clock,
    /// When it was built: what durations that are compared with each other are counted from.
    pub began: Instant,
    /// Accounts and keys.
    pub directory: Arc<Directory>,
    /// Models and engines, as models.yaml said when it was last read.
    pub registry: Arc<ArcSwap<Registry>>,
    /// How much trying requests again is worth, all of them together.
    pub retries: Retries,
    /// The way to the ledger.
    pub settler: Settler,
    /// Leases of money, where several replicas share a ledger.
    pub leases: Option<Arc<Leases>>,
    /// Places and rates over all replicas, where they are counted.
    pub shared: Option<Arc<Shared>>,
    /// Requests that are being served.
    pub in_flight: InFlight,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// A line for each request.
    pub request_log: Arc<RequestLog>,
    /// The way to the settler for what was dropped unsettled.
    pub abandoned: mpsc::UnboundedSender<Arc<Live>>,
}

/// How a request came in, before anything of it was read.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// farebox's id for it.
    pub id: RequestId,
    /// The client's, from `x-request-id`.
    pub client_request_id: Option<String>,
}

/// An answer.
pub enum Answer {
    /// Events, as they come.
    Stream(Box<MeteredBody>),
    /// One JSON body, in pieces, already in the ledger.
    Whole(Vec<Bytes>, Receipt),
}

impl Answer {
    /// Which engine it is from.
    pub fn engine(&self) -> Option<EngineName> {
        match self {
            Self::Stream(body) => body.engine(),
            Self::Whole(_, receipt) => receipt.engine.clone(),
        }
    }
}

/// Serves a request whose caller is known and whose body has been read.
pub async fn serve(
    pipeline: &Arc<Pipeline>,
    caller: &Caller,
    arrival: Arrival,
    request: Box<InferenceRequest>,
) -> Result<Answer, Refusal> {
    let mut fallbacks = Fallbacks::of(pipeline, caller, &arrival, &request);
    let (mut admitted, mut served) = admit(pipeline, caller, arrival, request).await?;
    loop {
        match upstream(&admitted, &mut served).await {
            Ok(upstream) => return answer(admitted, &served, upstream).await,
            Err(unanswered) => (admitted, served) = fallbacks.next(admitted, unanswered).await?,
        }
    }
}

/// The first engine that answers.
async fn upstream(admitted: &Admitted, served: &mut Arc<ServedModel>) -> Result<Upstream, Unanswered> {
    // Pinned here: it is kilobytes long, and would be moved into the choice.
    let answered = pin!(async {
        if let Some(most) = parts::limit(admitted, served) {
            return parts::in_parts(admitted, served, most).await;
        }
        let call = Call::whole(admitted);
        let route = route(call, served).await.map_err(Unanswered::before_a_call)?;
        forward(call, served, route).await.map_err(Unanswered::by_engines)
    });
    tokio::select! {
        biased;
        upstream = answered => upstream,
        () = admitted.live().until_cut() => Err(Unanswered::cut()),
    }
}

async fn answer(admitted: Admitted, served: &ServedModel, upstream: Upstream) -> Result<Answer, Refusal> {
    match upstream {
        Upstream::Stream {
            guard,
            serves,
            begun,
            body,
        } => Ok(stream(admitted, served, &serves, begun, (body, guard))),
        Upstream::Whole { serves, answer } => whole(admitted, served, &serves, &answer).await,
    }
}

fn stream(
    mut admitted: Admitted,
    served: &ServedModel,
    serves: &str,
    begun: Bytes,
    upstream: (EngineBody, EngineGuard),
) -> Answer {
    let presentation = presentation(&admitted, served, serves);
    let mut meter = StreamMeter::new(admitted.request.choices, presentation);
    // No engine is sent it again, and it would keep the buffer that it was read into for as long as the stream is open.
    admitted.request.body = Bytes::new();
    let live = Arc::clone(admitted.live());
    meter.ceiling = live.progress.lock().affordable_tokens;
    Answer::Stream(Box::new(MeteredBody::new(admitted, live, meter, begun, upstream)))
}

async fn whole(
    admitted: Admitted,
    served: &ServedModel,
    serves: &str,
    answer: &whole::WholeAnswer,
) -> Result<Answer, Refusal> {
    let presentation = presentation(&admitted, served, serves);
    let (id, as_base64) = (admitted.id(), admitted.request.wants_base64);
    let usage = answer.usage();
    {
        let mut progress = admitted.live().progress.lock();
        progress.usage = usage.as_deref().map(<[u8]>::to_vec);
        progress.usage_is_final = true;
        progress.whole = true;
    }
    let settling = admitted.settle(EntryState::Completed);
    // Put together while the entry is written.
    let shown = shown::usage_json(&settling.receipt, usage.as_deref());
    let pieces = answer.present(&presentation, &shown, as_base64);
    let receipt = settling.durable().await.map_err(|fault| {
        log::internal(id, &fault);
        Refusal::Internal(id.to_string())
    })?;
    Ok(Answer::Whole(pieces, receipt))
}

/// How the answer is to look: under the catalog's name, with the usage that the client asked for.
fn presentation(admitted: &Admitted, served: &ServedModel, serves: &str) -> Presentation {
    let sold = served.model.id.as_str();
    let json = |name: &str| {
        let quoted = serde_json::Value::from(name).to_string();
        Bytes::copy_from_slice(&quoted.as_bytes()[1..quoted.len() - 1])
    };
    Presentation {
        options: admitted.request.stream_options,
        service_tier: admitted
            .request
            .shows_service_tier
            .then_some(admitted.live().service_tier),
        rename: (sold != serves).then(|| (json(serves), json(sold))),
    }
}

impl Pipeline {
    /// Models and engines, as models.yaml said when it was last read.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Takes what was dropped unsettled; the task of [`settle_abandoned`] settles it.
    fn abandon(&self, live: Arc<Live>) {
        // The receiver outlives every request: `App` stops it after the last connection is gone.
        let _ = self.abandoned.send(live);
    }
}

/// Settles what was dropped unsettled, until `stop`; what was dropped before it is settled still.
pub async fn settle_abandoned(
    pipeline: Arc<Pipeline>,
    mut abandoned: mpsc::UnboundedReceiver<Arc<Live>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            live = abandoned.recv() => match live {
                Some(live) => settle::settle_abandoned(&pipeline, &live),
                None => return,
            },
            () = stop.cancelled() => return,
        }
    }
}
