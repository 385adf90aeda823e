//! Every log line about the server itself; a request's own line is `request_log.rs`'s. Field names are defined here and nowhere
//! else. No line holds a prompt, an output, a key or an engine's URL.

use farebox_domain::attempt::AttemptFault;
use farebox_domain::ejection::Ejected;
use farebox_domain::ids::{EngineName, ModelId, RequestId};
use farebox_domain::money::Picodollars;
use farebox_domain::tokens::Usage;

/// The cause of a 500: told here once, and never to the client.
pub fn internal(id: RequestId, cause: &dyn std::fmt::Display) {
    tracing::error!(request_id = id.to_text().as_str(), %cause, "internal error");
}

/// A cause with what lies beneath it.
pub fn chain(cause: &(dyn std::error::Error + 'static)) -> String {
    let beneath = std::iter::successors(cause.source(), |cause| cause.source());
    beneath.fold(cause.to_string(), |chain, cause| format!("{chain}: {cause}"))
}

/// The cause of an administrator's 500, with what lies beneath it.
pub fn admin_failed(cause: &(dyn std::error::Error + 'static)) {
    tracing::error!(cause = chain(cause), "an admin request failed");
}

/// An engine reported tokens that no price can be multiplied with.
pub fn absurd_usage(id: RequestId, usage: &Usage) {
    tracing::error!(
        request_id = id.to_text().as_str(),
        prompt_tokens = usage.prompt_tokens,
        completion_tokens = usage.completion_tokens,
        "the engine's usage is absurd; the request is booked without a charge"
    );
}

/// A request cost more than could be known beforehand: its prompt, or an engine, is outside of what models.yaml says.
pub fn hold_exceeded(id: RequestId, held: Picodollars, cost: Picodollars) {
    tracing::error!(
        request_id = id.to_text().as_str(),
        held_usd = held.to_string(),
        cost_usd = cost.to_string(),
        "a request cost more than was held for it: is the model's context_length right?"
    );
}

/// A try at an engine failed before a first event. `part` is which part of the request it was for, if it was split.
pub fn attempt_failed(id: RequestId, part: Option<usize>, engine: &EngineName, fault: AttemptFault) {
    tracing::warn!(
        request_id = id.to_text().as_str(),
        part,
        engine = engine.as_str(),
        fault = fault.as_str(),
        detail = ?fault,
        "an attempt failed"
    );
}

/// No engine of the model that was asked for could serve; another model stands in.
pub fn fell_back(id: RequestId, asked: &ModelId, serves: &ModelId) {
    tracing::warn!(
        request_id = id.to_text().as_str(),
        model = asked.as_str(),
        fallback = serves.as_str(),
        "a request goes to a fallback"
    );
}

/// A stream broke after its first event.
pub fn stream_broke(id: RequestId, engine: Option<&EngineName>, fault: &'static str) {
    tracing::warn!(
        request_id = id.to_text().as_str(),
        engine = engine.map(EngineName::as_str),
        fault,
        "a stream broke"
    );
}

/// An engine is left out for a while.
pub fn engine_ejected(engine: &EngineName, ejected: Ejected) {
    tracing::warn!(
        engine = engine.as_str(),
        why = ejected.why.as_str(),
        pause_ms = ejected.pause_ms,
        "engine ejected"
    );
}

/// An engine has loaded an adapter, as it was asked to.
pub fn adapter_loaded(engine: &EngineName, model: &ModelId) {
    tracing::info!(engine = engine.as_str(), model = model.as_str(), "adapter loaded");
}

/// An engine was asked to load an adapter, and has not.
pub fn adapter_not_loaded(engine: &EngineName, model: &ModelId, why: &str) {
    tracing::warn!(
        engine = engine.as_str(),
        model = model.as_str(),
        why,
        "an adapter was not loaded"
    );
}

/// An engine's probe changed its mind.
pub fn engine_probed(engine: &EngineName, up: bool) {
    if up {
        tracing::info!(engine = engine.as_str(), "engine is up");
    } else {
        tracing::warn!(engine = engine.as_str(), "engine is down");
    }
}

/// An engine's KV events cannot be heard; it is tried again.
pub fn kv_events_away(engine: &EngineName, why: &std::io::Error) {
    tracing::warn!(
        engine = engine.as_str(),
        why = why.to_string(),
        "the engine's KV events cannot be heard yet; it is tried again"
    );
}

/// models.yaml was read again: what became of it.
pub fn reloaded(changes: &str, needs_restart: &[&str]) {
    tracing::info!(changes, "models.yaml was read again and is in force");
    if !needs_restart.is_empty() {
        let sections = needs_restart.join(", ");
        tracing::warn!(sections, "these sections of models.yaml hold from the next start");
    }
}

/// models.yaml was read again and does not hold.
pub fn not_reloaded(why: &str) {
    tracing::error!(
        why,
        "models.yaml was read again and does not hold; the old one stays in force"
    );
}

/// A panic in a handler or a task.
pub fn panicked(place: &str) {
    tracing::error!(place, "panic");
}

/// So many requests were open when the last process ended; what they had come to is booked.
pub fn recovered(requests: u64) {
    if requests > 0 {
        tracing::info!(
            requests,
            "requests that were open when the last process ended are booked as interrupted"
        );
    }
}

/// Events could not be delivered: told for the first failure of a row of them.
pub fn export_failed(why: &str) {
    tracing::warn!(why, "export fails; it is tried again until it is delivered");
}

/// Events are delivered again.
pub fn export_recovered() {
    tracing::info!("export is delivered again");
}

/// An event that the receiver will not take.
pub fn export_refused(event_id: &str, status: u16) {
    tracing::error!(
        event_id,
        status,
        "the receiver of the export refused an event; it is set aside (farebox export status)"
    );
}

/// Events wait for a receiver that models.yaml does not name any more.
pub fn export_unsent() {
    tracing::warn!(
        "export is switched on and models.yaml names no receiver: events wait. `farebox export off` ends it"
    );
}

/// What the engines counted could not be kept; the next minute's can.
pub fn counters_not_kept(cause: &dyn std::fmt::Display) {
    tracing::warn!(%cause, "the engines' counters were not kept");
}
