//! The cap and the rates over all replicas, for a request that this replica has let in.

use crate::admission::concurrency::{ConcurrencyPermit, Wanted};
use crate::admission::directory::ApiKey;
use crate::admission::rate::RateHold;
use crate::admission::shared::{Ask, Place, RateAsk};
use crate::pipeline::Pipeline;
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

/// Takes over all replicas what the request took here, all of it or nothing. Without Valkey there is nothing to do.
pub(in crate::pipeline) async fn take_shared(
    pipeline: &Pipeline,
    key: &ApiKey,
    wanted: Wanted<'_>,
    permit: &mut ConcurrencyPermit,
    rates: &mut Option<RateHold>,
) -> Result<(), Refusal> {
    let Some(shared) = &pipeline.shared else {
        return Ok(());
    };
    let account = &key.account;
    let (limited, tokens) = rates.as_ref().map_or((&[][..], 0), RateHold::taken);
    let asked = limited.iter().map(|limited| RateAsk {
        bucket: RateAsk::bucket_of(&account.id, &limited.whose),
        limits: limited.limits,
        whose: limited.whose.clone(),
    });
    let place = Place {
        account: account.id.clone(),
        model: wanted.model.clone(),
        key: wanted.key.clone(),
    };
    let granted = shared
        .acquire(Ask {
            place: Arc::new(place),
            limits: account.gate.limits(wanted),
            tokens,
            rates: asked.collect(),
        })
        .await?;
    permit.share(granted.place);
    if let Some(rates) = rates {
        rates.share(granted.rates, &granted.levels);
    }
    Ok(())
}
