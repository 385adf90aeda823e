//! The whole gateway in this process, in front of simulated engines.

mod bad_input;
mod cap;
mod rates;
mod queue;
mod prefix;
mod reload;
mod kv_events;
mod lora;
mod connections;
mod conservation;
mod drain;
mod edge;
mod ejection;
mod embeddings_split;
mod fallback;
mod forwarding;
mod receipt;
mod trouble;
mod watched;
mod money;
mod reconcile;
mod reported;
pub(crate) mod prices;

use farebox::admission::directory::hash_secret;
use farebox::admission::shared::ValkeyUrl;
use farebox::app::{App, Given, StartFault};
use farebox::clock::Clock;
use farebox::secrets::Secrets;
use farebox::simulate::{self, Engine};
use farebox::store::{AccountRow, DatabaseUrl, KeyRow};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What the admin API asks for.
pub(crate) const ADMIN_TOKEN: &str = "admin-of-the-tests";
/// The account that [`Gateway::start`] makes.
pub(crate) const ACCOUNT: &str = "acct_test";
/// Its key.
pub(crate) const SECRET: &str = "fb_0123456789012345678901234567890123456789012";
/// The key of another account.
pub(crate) const OTHER_SECRET: &str = "fb_9876543210987654321098765432109876543210987";

/// An engine that listens, with the oracle of its counts. It ends with its runtime.
pub(crate) struct Listening {
    pub(crate) engine: Engine,
    pub(crate) url: String,
}

/// Starts a simulated engine on a free port.
pub(crate) async fn engine(settings: simulate::Settings) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let engine = Engine::new(settings);
    tokio::spawn(engine.clone().serve(listener, std::future::pending()));
    Listening { engine, url }
}

/// A gateway that serves until it is stopped.
pub(crate) struct Gateway {
    pub(crate) app: Arc<App>,
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) data: TempDir,
    pub(crate) client: reqwest::Client,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Gateway {
    /// Starts one from the text of a models.yaml, with one account and one key.
    pub(crate) async fn start(models: &str) -> Self {
        Self::start_at(models, Clock::system()).await
    }

    /// The same, by this clock.
    pub(crate) async fn start_at(models: &str, clock: Clock) -> Self {
        let data = tempfile::tempdir().unwrap();
        let gateway = Self::start_by(clock, models, data, None, 7).await;
        gateway.make_account().await;
        gateway
    }

    /// Makes the account, and its key.
    pub(crate) async fn make_account(&self) {
        self.add_account("test", SECRET).await;
    }

    /// Makes an account of this name, and its key with this secret.
    pub(crate) async fn add_account(&self, name: &str, secret: &str) {
        let (app, id) = (&self.app, format!("acct_{name}"));
        let account = AccountRow::new(id.as_str().into(), name.into(), 1);
        app.store.create_account(&account).await.unwrap();
        app.directory.add_account(account);
        let key = format!("key_{name}");
        let key = KeyRow::new(key.into(), id.into(), name.into(), hash_secret(secret), 1);
        app.store.create_key(&key).await.unwrap();
        app.directory.add_key(key);
    }

    /// Starts one on this data, embedded or on a database that others may share.
    pub(crate) async fn start_in(
        models: &str,
        data: TempDir,
        database: Option<DatabaseUrl>,
        seed: u64,
    ) -> Self {
        Self::start_by(Clock::system(), models, data, database, seed).await
    }

    /// The same by this clock.
    pub(crate) async fn start_by(
        clock: Clock,
        models: &str,
        data: TempDir,
        database: Option<DatabaseUrl>,
        seed: u64,
    ) -> Self {
        let started = Self::try_start_by(clock, models, data, database, seed).await;
        started.unwrap_or_else(|(fault, _)| panic!("{fault}"))
    }

    /// The same; or why it does not start, and the data that it left as it was.
    pub(crate) async fn try_start_by(
        clock: Clock,
        models: &str,
        data: TempDir,
        database: Option<DatabaseUrl>,
        seed: u64,
    ) -> Result<Self, (StartFault, TempDir)> {
        Self::try_start_on(clock, models, data, (database, None), seed).await
    }

    /// The same with what replicas share: a database, and a Valkey.
    pub(crate) async fn try_start_on(
        clock: Clock,
        models: &str,
        data: TempDir,
        (database, valkey): (Option<DatabaseUrl>, Option<ValkeyUrl>),
        seed: u64,
    ) -> Result<Self, (StartFault, TempDir)> {
        let client = client();
        let settings =
            farebox::config::parse(models, "models.yaml").unwrap_or_else(|faults| panic!("{faults}"));
        let models_yaml = data.path().join("models.yaml");
        std::fs::write(&models_yaml, models).unwrap();
        let given = Given {
            clock,
            secrets: Secrets::seeded(seed),
            data_dir: data.path(),
            database,
            valkey,
            admin_token: Some(ADMIN_TOKEN.to_owned()),
            request_log: farebox::telemetry::request_log::Style::Off,
            read_env: Arc::new(|_| None),
            models_yaml: Some(models_yaml),
            connections: 10_000,
        };
        let app = match App::start(settings, given).await {
            Ok(started) => started.app,
            Err(fault) => return Err((fault, data)),
        };
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", public.local_addr().unwrap());
        let admin_url = format!("http://{}", admin.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&app);
        let served = tokio::spawn(async move {
            serving
                .serve(public, admin, async {
                    let _ = stopped.await;
                })
                .await;
        });
        Ok(Self {
            app,
            url,
            admin_url,
            data,
            client,
            stop,
            served,
        })
    }

    /// Where its models.yaml is.
    pub(crate) fn models_yaml(&self) -> PathBuf {
        self.data.path().join("models.yaml")
    }

    /// What the admin API shows at this path under `/admin/v1/`.
    pub(crate) async fn shown(&self, path: &str) -> serde_json::Value {
        let url = format!("{}/admin/v1/{path}", self.admin_url);
        let asked = self.client.get(url).bearer_auth(ADMIN_TOKEN);
        asked.send().await.unwrap().json().await.unwrap()
    }

    /// A chat request with the account's key.
    pub(crate) fn chat(&self, body: &serde_json::Value) -> reqwest::RequestBuilder {
        self.chat_as(SECRET, body)
    }

    /// The same with this key or token.
    pub(crate) fn chat_as(&self, secret: &str, body: &serde_json::Value) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}/v1/chat/completions", self.url))
            .bearer_auth(secret)
            .json(body)
    }

    /// Requests in flight, by each of those who count them: the accounts' gates, the engines' guards, the registry.
    pub(crate) fn in_flight(&self) -> (u32, u32, usize) {
        let gates = self
            .app
            .directory
            .accounts()
            .iter()
            .map(|account| account.gate.in_flight())
            .sum();
        let engines = self
            .app
            .registry()
            .engines()
            .iter()
            .map(|engine| engine.in_flight())
            .sum();
        (gates, engines, self.app.pipeline.in_flight.len())
    }

    /// Ends it as a killed process ends, as far as that can be done within one: nothing is drained or closed. What it
    /// had in its folder is copied, as its lock goes with the process.
    pub(crate) fn die(self) -> TempDir {
        self.served.abort();
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.data.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        // Its tasks must not go on shipping: they are left without a ledger that they could reach.
        std::mem::forget(self.app);
        copy
    }

    /// Drains it, so that all is in the ledger.
    pub(crate) async fn stop(self) -> (Arc<App>, TempDir) {
        let Self {
            app,
            data,
            stop,
            served,
            client,
            ..
        } = self;
        drop(client);
        let _ = stop.send(());
        served.await.unwrap();
        (app, data)
    }
}

/// A models.yaml of one chat model `m` on these engines, with more of its top level after it.
pub(crate) fn models(engines: &[&str], more: &str) -> String {
    let names: Vec<_> = (0..engines.len())
        .map(|n| format!("{{ engine: e{n}, serves: simulated }}"))
        .collect();
    let listed: String = engines
        .iter()
        .enumerate()
        .map(|(n, url)| format!("  - {{ name: e{n}, kind: vllm, url: \"{url}\" }}\n"))
        .collect();
    format!(
        "models:\n  - id: m\n    task: chat\n    context_length: 4096\n    price: {{ input: \"0.10\", cached_input: \"0.02\", output: \"0.32\" }}\n    \
         engines: [{}]\nengines:\n{listed}{more}\n",
        names.join(", ")
    )
}

/// The same of two models, `m` and `n`, each of which has these limits.
pub(crate) fn limited_models(engine: &str, limits: &str, more: &str) -> String {
    let text = models(&[engine], more);
    let text = text.replace(
        "    task: chat\n",
        &format!("    task: chat\n    limits: {{ {limits} }}\n"),
    );
    let (from, to) = (
        text.find("  - id: m\n").unwrap(),
        text.find("engines:\n  - {").unwrap(),
    );
    let second = text[from..to].replace("id: m", "id: n");
    [&text[..to], &second, &text[to..]].concat()
}

/// A client that takes no proxy from the environment.
pub(crate) fn client() -> reqwest::Client {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Waits until the condition holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
