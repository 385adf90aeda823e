//! `POST /admin/v1/route/explain`: what routing would do with a request.

use crate::admin_api::{EngineScoreView, EstimateView, ExplainRoute, RouteView};
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Body;
use crate::pipeline::explain::{Explained, explain};
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use farebox_domain::catalog::Routing;
use farebox_domain::ledger::Endpoint;
use farebox_domain::route::{Candidate, Choice};
use farebox_routing::Score;

/// Scores the engines for a request; it is sent nowhere, and nothing of it is kept.
pub async fn explain_route(
    State(admin): State<Admin>,
    Body(asked): Body<ExplainRoute>,
) -> Result<Json<RouteView>, AdminError> {
    let invalid = |param: &str, message: String| AdminError::Invalid {
        message,
        param: Some(param.into()),
    };
    let endpoint = match asked.endpoint.as_deref() {
        None => Endpoint::ChatCompletions,
        Some(name) => Endpoint::parse(name).ok_or_else(|| {
            let known = Endpoint::ALL.map(Endpoint::as_str).join(", ");
            invalid("endpoint", format!("`endpoint` is one of {known}"))
        })?,
    };
    let body = serde_json::to_vec(&asked.request).map_err(AdminError::internal)?;
    let account = asked.account.unwrap_or_else(|| "".into());
    let explained = explain(&admin.app.pipeline, &account, endpoint, Bytes::from(body))
        .await
        .map_err(|refusal| invalid("request", refusal.to_string()))?;
    Ok(Json(view(&explained)))
}

fn view(explained: &Explained) -> RouteView {
    let model = &explained.model;
    let chosen = match explained.chosen {
        Choice::Engine(index) => model
            .deployments
            .get(index)
            .map(|chosen| chosen.engine.name.clone()),
        Choice::AllFull | Choice::NoneUsable => None,
    };
    let engines = model.deployments.iter().zip(&explained.candidates);
    RouteView {
        model: model.model.id.clone(),
        routing: model.model.routing.as_str().into(),
        prompt_tokens: explained.prompt_tokens,
        why: why(explained),
        chosen,
        engines: engines
            .map(|(deployment, (candidate, score))| EngineScoreView {
                engine: deployment.engine.name.clone(),
                usable: candidate.usable,
                full: candidate.is_full(),
                in_flight: candidate.in_flight,
                estimate: score.as_ref().map(estimate_view),
            })
            .collect(),
    }
}

fn estimate_view(score: &Score) -> EstimateView {
    let estimate = &score.estimate;
    EstimateView {
        predicted_cached_tokens: score.predicted_tokens,
        source: score.source.as_str().into(),
        expected_cached_tokens: score.cached_tokens,
        prefill_ms: estimate.prefill_us / 1_000,
        queue_ms: estimate.queue_us / 1_000,
        decode_ms: estimate.decode_us / 1_000,
        others_ms: estimate.others_us / 1_000,
        total_ms: estimate.total_us() / 1_000,
    }
}

fn why(explained: &Explained) -> String {
    let winner = match explained.chosen {
        Choice::NoneUsable if explained.model.may_try_one() => {
            return "every engine of the model is left out for its failures: one request at a time tries each".into();
        }
        Choice::NoneUsable => return "no engine of the model is up: it would be refused".into(),
        Choice::AllFull => return "every engine of the model is full: it would wait for its turn".into(),
        Choice::Engine(index) => index,
    };
    match explained.model.model.routing {
        Routing::RoundRobin => "it is this engine's turn".into(),
        Routing::LeastLoaded => "it has the fewest requests in flight".into(),
        Routing::Prefix => why_prefix(&explained.candidates, winner),
    }
}

fn why_prefix(candidates: &[(Candidate, Option<Score>)], winner: usize) -> String {
    let Some((_, Some(won))) = candidates.get(winner) else {
        return "it has the fewest requests in flight".into();
    };
    let open = |(candidate, _): &&(Candidate, Option<Score>)| candidate.usable && !candidate.is_full();
    let scores = candidates
        .iter()
        .filter(open)
        .filter_map(|(_, score)| score.as_ref());
    let most = scores.map(|score| score.cached_tokens).max().unwrap_or(0);
    let (total, cached) = (won.estimate.total_us() / 1_000, won.cached_tokens);
    if most == 0 {
        format!("no engine holds any of the prompt, and {total} ms is the least that it would cost")
    } else if cached == most {
        format!(
            "it holds {cached} tokens of the prompt, more than any other, and {total} ms is the least that it would cost"
        )
    } else {
        format!(
            "another holds {most} tokens of the prompt, but what is ahead there is worth more than that: here it holds {cached}, \
             and {total} ms is the least that it would cost"
        )
    }
}
