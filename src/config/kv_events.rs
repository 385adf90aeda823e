//! `kv_events` of an engine: where it tells what its KV cache holds.

use super::fault::{Collector, quoted};
use super::reader::{Fields, Item};
use farebox_domain::catalog::{EngineKind, KvEvents, KvFeed};
use farebox_kv_events::Endpoint;

/// Reads it, if it is there. `kind` is the engine's, where that is known.
pub(super) fn read(
    engine: &Fields<'_>,
    kind: Option<EngineKind>,
    faults: &mut Collector,
) -> Option<KvEvents> {
    const KEYS: [&str; 3] = ["connect", "bind", "replay"];
    let item = engine.optional("kv_events")?;
    if let Some(kind) = kind
        && !kind.has_kv_events()
    {
        let message = format!(
            "engines of the kind {} do not tell what their caches hold; vllm and sglang do",
            kind.as_str()
        );
        item.refuse(message, faults);
    }
    let fields = item.mapping(&KEYS, faults)?;
    let mut endpoint = |key, rule: fn(&str) -> Result<String, String>| {
        fields
            .optional(key)
            .map(|item: &Item<'_>| item.checked(rule, faults))
    };
    let (connect, bind) = (endpoint("connect", remote), endpoint("bind", local));
    let replay = endpoint("replay", remote).flatten();
    let feed = match (connect, bind) {
        (Some(connect), None) => KvFeed::Connect(connect?),
        (None, Some(bind)) => KvFeed::Bind(bind?),
        _ => {
            let message = "one of two: `connect`, where the engine binds its endpoint (it has a `*`), or `bind`, where it \
                           connects to farebox";
            item.refuse(message, faults);
            return None;
        }
    };
    Some(KvEvents { feed, replay })
}

/// An endpoint to connect to.
fn remote(text: &str) -> Result<String, String> {
    let endpoint = local(text)?;
    if endpoint.starts_with("tcp://*:") {
        return Err(
            "`*` is every address of this host, and nobody's to connect to: name the engine's".into(),
        );
    }
    Ok(endpoint)
}

/// An endpoint to bind.
fn local(text: &str) -> Result<String, String> {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => Ok(endpoint.to_string()),
        Err(_) => Err(format!(
            "expected an endpoint such as tcp://10.0.0.4:5557, found {}",
            quoted(text)
        )),
    }
}
