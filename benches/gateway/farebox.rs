//! farebox with everything on: keys, the cap, metering, the durable ledger; and rates too where they are asked for.

use crate::Outcome;
use crate::options::Options;
use crate::proxies::Gateway;
use farebox_bench_support::asks::{CHAT_MODEL, EMBEDDING_MODEL, Target};
use farebox_bench_support::farebox::{Farebox, program};
use std::path::Path;

/// Whether requests and tokens a minute are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rates {
    /// They are not.
    None,
    /// For the account, the key and the model, under limits that no load comes to.
    OutOfReach,
}

/// The most that may be said: more requests a minute than any load here makes.
const REQUESTS: &str = "1000000000";
/// Likewise, of tokens.
const TOKENS: &str = "1000000000";

/// Starts it with a ledger in `folder`.
pub fn start(options: &Options, upstream: &str, folder: &Path, rates: Rates) -> Outcome<Gateway> {
    let folder = folder.join(match rates {
        Rates::None => "farebox",
        Rates::OutOfReach => "rated",
    });
    let program = program(env!("CARGO_BIN_EXE_farebox"))?;
    let models_yaml = catalog(options, upstream, rates);
    let farebox = Farebox::start(&program, options.gateway_core, &models_yaml, &folder)?;
    if rates == Rates::OutOfReach {
        let rates = ["--requests-per-minute", REQUESTS, "--tokens-per-minute", TOKENS];
        for whose in [["--account", &farebox.account], ["--key", &farebox.key.id]] {
            farebox.administer(&[&["limit", "set"], &whose[..], &rates[..]].concat())?;
        }
    }
    Ok(Gateway {
        target: Target {
            address: farebox.address.parse()?,
            key: farebox.key.secret,
            chat_model: CHAT_MODEL,
            embedding_model: EMBEDDING_MODEL,
        },
        metrics: Some(farebox.admin.parse()?),
        process: farebox.process,
    })
}

fn catalog(options: &Options, upstream: &str, rates: Rates) -> String {
    let kind = &options.kind;
    let served = |model| {
        if options.rename {
            "served-under-another-name"
        } else {
            model
        }
    };
    let (chat, embedding) = (served(CHAT_MODEL), served(EMBEDDING_MODEL));
    let limits = match rates {
        Rates::None => String::new(),
        Rates::OutOfReach => {
            format!("    limits: {{ requests_per_minute: {REQUESTS}, tokens_per_minute: {TOKENS} }}\n")
        }
    };
    format!(
        "models:
  - id: {CHAT_MODEL}
    task: chat
    context_length: 131072
    max_output_tokens: 131072
    price: {{ input: \"0.10\", cached_input: \"0.02\", output: \"0.32\" }}
    engines:
      - {{ engine: upstream, serves: {chat} }}
    routing: least_loaded
{limits}  - id: {EMBEDDING_MODEL}
    task: embedding
    context_length: 512
    price: {{ input: \"0.01\" }}
    engines:
      - {{ engine: upstream, serves: {embedding} }}
    routing: least_loaded
{limits}engines:
  - {{ name: upstream, kind: {kind}, url: \"http://{upstream}\", max_concurrent: 20000 }}
limits:
  concurrent_requests: 200
"
    )
}
