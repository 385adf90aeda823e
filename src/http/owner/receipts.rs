//! `GET /v1/receipts/{request_id}` and DeepInfra's `POST /v1/request-costs` (FACTS.md).

use crate::app::App;
use crate::bill::receipt::receipt;
use crate::http::admin::live::unfinished;
use crate::http::owner::asking::{Asking, json, read_body};
use crate::http::owner::params::Params;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response};
use farebox_domain::ids::RequestId;
use farebox_domain::key::Scope;
use farebox_domain::money::Picodollars;
use farebox_domain::refusal::Refusal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Ids that are answered at once.
const MAX_IDS: usize = 1000;
/// Of a body with so many ids, and room to spare.
const BODY_LIMIT_BYTES: usize = 256 * 1024;
const PICODOLLARS_PER_NANODOLLAR: i128 = 1000;

/// One request's receipt; of one that has not ended, that it has not.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(request_id): Path<String>,
    asking: Asking,
    params: Params,
) -> Response<Body> {
    let shown = match params.only(&[]) {
        Ok(()) => find(&app, &asking, &request_id).await,
        Err(refusal) => Err(refusal),
    };
    asking.answer(&app, shown)
}

async fn find(app: &App, asking: &Asking, request_id: &str) -> Result<Response<Body>, Refusal> {
    let Ok(id) = RequestId::parse(request_id) else {
        return Err(no_such_request(request_id));
    };
    // Before the ledger: a request that ends between the two is then found there.
    let live = app
        .pipeline
        .in_flight
        .get(id)
        .filter(|live| live.account == *asking.account());
    let booked = app
        .ledger
        .entry(id)
        .await
        .map_err(|fault| asking.failed(&fault.into()))?
        .filter(|entry| entry.account == *asking.account());
    if let Some(entry) = booked {
        let shown = receipt(app.ledger.as_ref(), &app.store, &entry).await;
        return shown
            .map(|shown| json(&shown))
            .map_err(|fault| asking.failed(&fault));
    }
    let live = live.ok_or_else(|| no_such_request(request_id))?;
    Ok(json(&unfinished(&live)))
}

fn no_such_request(id: &str) -> Refusal {
    let shown: String = id
        .chars()
        .filter(|letter| !letter.is_control())
        .take(60)
        .collect();
    Refusal::NotFound(format!(
        "there is no request `{shown}`. Ask by farebox's id (`req_` and 32 hex digits), which is in the answer's \
         `x-request-id`, or in `x-farebox-request-id` where you sent an id of your own. What was refused has no receipt."
    ))
}

#[derive(Deserialize)]
struct CostsAsked {
    #[serde(rename = "requestIds")]
    request_ids: Vec<String>,
}

#[derive(Serialize)]
struct Costs {
    requests: Vec<Cost>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    request_id: RequestId,
    cost_nano_usd: i128,
    cost_pico_usd: Picodollars,
}

/// What some requests cost. Those that are not booked, or not this account's, are left out.
pub async fn costs(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let asking = match Asking::let_in(&app, &head, &mut body, Scope::Usage).await {
        Ok(asking) => asking,
        Err(refused) => return refused,
    };
    let answered = match read_body(&app, &head, &mut body, BODY_LIMIT_BYTES).await {
        Ok(bytes) => costs_of(&app, &asking, &bytes).await,
        Err(refusal) => Err(refusal),
    };
    asking.answer(&app, answered)
}

async fn costs_of(app: &App, asking: &Asking, bytes: &[u8]) -> Result<Response<Body>, Refusal> {
    let asked: CostsAsked = serde_json::from_slice(bytes)
        .map_err(|_| Refusal::invalid("write {\"requestIds\": [\"req_...\"]}", Some("requestIds".into())))?;
    if asked.request_ids.len() > MAX_IDS {
        let message = format!("`requestIds`: at most {MAX_IDS} ids at once");
        return Err(Refusal::invalid(message, Some("requestIds".into())));
    }
    let mut ids = Vec::new();
    for id in asked
        .request_ids
        .iter()
        .filter_map(|id| RequestId::parse(id).ok())
    {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let booked = app
        .ledger
        .entries_of(&ids)
        .await
        .map_err(|fault| asking.failed(&fault.into()))?;
    let costs: HashMap<RequestId, Picodollars> = booked
        .into_iter()
        .filter(|entry| entry.account == *asking.account())
        .map(|entry| (entry.id, entry.cost))
        .collect();
    let found = ids.iter().filter_map(|id| Some((*id, *costs.get(id)?)));
    let requests = found.map(|(request_id, cost)| Cost {
        request_id,
        cost_nano_usd: nanodollars(cost),
        cost_pico_usd: cost,
    });
    Ok(json(&Costs {
        requests: requests.collect(),
    }))
}

/// The nearest whole number of nanodollars, and the even one of two that are as near.
fn nanodollars(cost: Picodollars) -> i128 {
    let (whole, rest) = (
        cost.get().div_euclid(PICODOLLARS_PER_NANODOLLAR),
        cost.get().rem_euclid(PICODOLLARS_PER_NANODOLLAR),
    );
    let half = PICODOLLARS_PER_NANODOLLAR / 2;
    let goes_up = rest > half || (rest == half && whole % 2 != 0);
    whole + i128::from(goes_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanodollars_are_the_nearest() {
        let of = |picodollars| nanodollars(Picodollars::new(picodollars));
        assert_eq!(of(0), 0);
        assert_eq!(of(499), 0);
        assert_eq!(of(500), 0);
        assert_eq!(of(501), 1);
        assert_eq!(of(1_500), 2);
        assert_eq!(of(2_500), 2);
        assert_eq!(of(-500), 0);
        assert_eq!(of(-501), -1);
        assert_eq!(of(3_320_000), 3_320);
    }
}
