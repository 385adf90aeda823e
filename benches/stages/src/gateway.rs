//! The gateway's pipeline in memory, as `App` puts it together, without a socket, a disk or a task.

use crate::run::Fault;
use crate::texts::{CHAT, CHAT_SERVED, EMBEDDING};
use arc_swap::ArcSwap;
use farebox::admission::directory::{Directory, hash_secret};
use farebox::clock::Clock;
use farebox::config::{self, Settings};
use farebox::engines::client::Engine;
use farebox::engines::clients::Clients;
use farebox::engines::prefix::PrefixRouting;
use farebox::engines::registry::{Prices, Registry, ServedDeployment, ServedModel, ServingSettings};
use farebox::ledger::Settler;
use farebox::pipeline::admit::{Admitted, admit};
use farebox::pipeline::authenticate::{Caller, authenticate};
use farebox::pipeline::in_flight::Live;
use farebox::pipeline::request::InferenceRequest;
use farebox::pipeline::{Arrival, Pipeline, Retries};
use farebox::store::{AccountRow, KeyRow};
use farebox::telemetry::metrics::Metrics;
use farebox::telemetry::request_log::{RequestLog, Style};
use farebox_domain::catalog::{Model, Routing};
use farebox_domain::ids::RequestId;
use farebox_domain::money::Picodollars;
use farebox_domain::price::{PriceSchedule, PriceVersion, VersionedPrice};
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The account that asks.
const ACCOUNT: &str = "acct_0000000000000001";
/// Its key.
pub const KEY: &str = "key_0000000000000001";
/// The secret of that.
const SECRET: &str = "fb_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
/// More than all runs together cost.
const PLENTY: Picodollars = Picodollars::new(1_000_000_000_000_000_000_000_000);

/// The loop that books, which nobody runs but who asks for it.
pub type Booking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A pipeline, and who asks it.
pub struct Gateway {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// An account with a balance, rates and a limit on its key's month.
    pub caller: Caller,
    /// What was dropped unsettled.
    abandoned: mpsc::UnboundedReceiver<Arc<Live>>,
    ids: u128,
    /// What the log's timer needs.
    timers: tokio::runtime::Runtime,
}

impl Gateway {
    /// With so many engines for each model, the least loaded first.
    pub fn new(engines: usize) -> Result<(Self, Booking), Fault> {
        Self::routed(engines, "least_loaded")
    }

    /// With so many, the chat model's routed as models.yaml calls it.
    pub fn routed(engines: usize, routing: &str) -> Result<(Self, Booking), Fault> {
        // As `main` does: engines are called over rustls. Whoever came second finds one there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = Arc::new(config::parse(&models_yaml(engines, routing), "stages.yaml")?);
        let clock = Clock::system();
        let metrics = Arc::new(Metrics::new()?);
        let registry = registry(&settings, &clock, &metrics)?;
        registry.take_over();
        let directory = Arc::new(directory(1)?);
        let caller = authenticate(&directory, &headers()?, None, clock.unix_ms()).map_err(refused)?;
        let journal = Arc::new(crate::ledger::Encoding);
        let (settler, booking) = Settler::new(journal, clock.clone(), Arc::new(()));
        let (abandon, abandoned) = mpsc::unbounded_channel();
        let pipeline = Arc::new(Pipeline {
            began: clock.now(),
            directory,
            registry: Arc::new(ArcSwap::from_pointee(registry)),
            retries: Retries::new(clock.clone()),
            clock,
            settler,
            leases: None,
            shared: None,
            in_flight: Default::default(),
            metrics,
            request_log: Arc::new(RequestLog::new(Style::Json)),
            abandoned: abandon,
        });
        let gateway = Self {
            pipeline,
            caller,
            abandoned,
            ids: 1 << 80,
            timers: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()?,
        };
        Ok((gateway, Box::pin(booking)))
    }

    /// A new request's id.
    pub fn new_id(&mut self) -> RequestId {
        self.ids += 1;
        RequestId::from_bytes(self.ids.to_be_bytes())
    }

    /// Lets a request in.
    pub fn admit(&mut self, request: InferenceRequest) -> Result<Admitted, Fault> {
        let arrival = Arrival {
            id: self.new_id(),
            client_request_id: None,
        };
        // Nothing in it waits where there is neither a tokenizer nor a second replica.
        let admitted = admit(&self.pipeline, &self.caller, arrival, Box::new(request)).now_or_never();
        let (admitted, _) = admitted.ok_or("it waits")?.map_err(refused)?;
        Ok(admitted)
    }

    /// Takes what was dropped unsettled; true if there was some.
    pub fn take_abandoned(&mut self) -> bool {
        self.abandoned.try_recv().is_ok()
    }

    /// Takes the lines that the request log has ready.
    pub fn drain_log(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        let log = &self.pipeline.request_log;
        self.timers.block_on(log.run(tokio::io::sink(), stop));
    }
}

/// What a client is told, as an error.
pub fn refused(refusal: farebox_domain::refusal::Refusal) -> Fault {
    format!("refused: {refusal:?}").into()
}

/// The headers of a request with the account's key.
pub fn headers() -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1:8080"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {SECRET}"))?);
    Ok(headers)
}

/// So many keys of as many accounts, among them [`KEY`].
pub fn directory(keys: u32) -> Result<Directory, Fault> {
    let directory = Directory::default();
    let mut hash = hash_secret("another");
    for other in 2..=keys {
        hash[..4].copy_from_slice(&other.to_be_bytes());
        add(
            &directory,
            format!("acct_{other:016x}"),
            format!("key_{other:016x}"),
            hash,
        )?;
    }
    add(
        &directory,
        ACCOUNT.to_owned(),
        KEY.to_owned(),
        hash_secret(SECRET),
    )?;
    Ok(directory)
}

fn add(directory: &Directory, account: String, key: String, hash: [u8; 32]) -> Result<(), Fault> {
    let mut row = AccountRow::new(account.clone().into(), account.clone(), 1);
    row.credit_limit = Some(PLENTY);
    directory.add_account(row);
    let mut row = KeyRow::new(key.clone().into(), account.into(), key, hash, 1);
    row.monthly_limit = Some(PLENTY);
    directory.add_key(row).ok_or("a key without an account")?;
    Ok(())
}

/// Both models at so many engines, with rates that nobody reaches.
fn models_yaml(engines: usize, routing: &str) -> String {
    let names: Vec<String> = (0..engines).map(|at| format!("engine-{at}")).collect();
    let serving = |model: &str| -> String {
        let each = names.iter();
        each.map(|name| format!("      - {{ engine: {name}, serves: {model} }}\n"))
            .collect()
    };
    let engines: String = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            format!(
                "  - {{ name: {name}, kind: vllm, url: \"http://10.0.{}.{}:8000\" }}\n",
                at / 250,
                at % 250
            )
        })
        .collect();
    format!(
        "models:\n\
        \x20 - id: {CHAT}\n    task: chat\n    context_length: 131072\n    max_output_tokens: 16384\n\
        \x20   price: {{ input: \"0.10\", cached_input: \"0.02\", output: \"0.32\" }}\n    routing: {routing}\n    engines:\n{}\
        \x20 - id: {EMBEDDING}\n    task: embedding\n    context_length: 8192\n\
        \x20   price: {{ input: \"0.01\" }}\n    engines:\n{}\
        engines:\n{engines}\
        limits: {{ concurrent_requests: 1000000, requests_per_minute: 1000000000, tokens_per_minute: 1000000000 }}\n",
        serving(CHAT_SERVED),
        serving(EMBEDDING),
    )
}

fn registry(settings: &Arc<Settings>, clock: &Clock, metrics: &Metrics) -> Result<Registry, Fault> {
    let clients = Clients::new(settings.timeouts.connect)?;
    let specs = settings.catalog.engines().iter();
    let engines = specs.map(|spec| Engine::new(spec, &clients, clock.clone(), &|_| None, None).map(Arc::new));
    let engines: Vec<_> = engines.collect::<Result<_, _>>()?;
    let models = settings.catalog.models().iter();
    let models = models.map(|model| served(model, &engines, settings, (metrics, clock)));
    let models = models.collect::<Result<_, _>>()?;
    Ok(Registry::new(models, engines, Arc::clone(settings)))
}

fn served(
    model: &Arc<Model>,
    engines: &[Arc<Engine>],
    settings: &Settings,
    (metrics, clock): (&Metrics, &Clock),
) -> Result<Arc<ServedModel>, Fault> {
    let prefix = (model.routing == Routing::Prefix).then(|| PrefixRouting::new(clock.clone()));
    // Each is at all engines, in their order.
    let both = model.deployments.iter().zip(engines);
    let deployments = both.map(|(deployment, engine)| ServedDeployment {
        engine: Arc::clone(engine),
        serves: deployment.serves.clone(),
        seat: prefix.as_ref().and_then(|prefix| prefix.seat(engine).ok()),
    });
    let deployments = deployments.collect();
    let schedule = PriceSchedule::new([VersionedPrice {
        version: PriceVersion(1),
        effective_at_ms: Some(0),
        price: model.price.clone(),
    }]);
    Ok(Arc::new(ServedModel::new(
        Arc::clone(model),
        Prices::new(schedule.ok_or("no price")?),
        deployments,
        (None, prefix.map(Arc::new)),
        metrics.of_model(&model.id),
        ServingSettings {
            retry: settings.retry,
            timeouts: settings.timeouts,
            queue: settings.queue,
        },
    )))
}
