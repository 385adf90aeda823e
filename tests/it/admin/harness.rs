//! A gateway whose admin API is asked without a socket, with a clock that stands and ids that follow from a seed.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use farebox::app::{App, Given};
use farebox::clock::Clock;
use farebox::secrets::Secrets;
use farebox::{config, http};
use farebox_domain::ids::{AccountId, KeyId, RequestId};
use farebox_domain::ledger::{Endpoint, Entry, EntryState, Timings};
use farebox_domain::tokens::{Usage, UsageSource};
use farebox_domain::units::{ServiceTier, Units};
use http_body_util::BodyExt;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const TOKEN: &str = "the-admin-token";
/// 2026-11-01T12:00:00Z
pub(crate) const NOW_MS: u64 = 1_793_534_400_000;

/// Nothing listens on port 1, so the engine is down as soon as it is probed.
const MODELS: &str = r#"
models:
  - id: org/large
    aliases: [large]
    task: chat
    context_length: 8192
    max_output_tokens: 4096
    price: { input: "0.10", cached_input: "0.02", output: "0.32" }
    engines:
      - { engine: vllm-a, serves: large-on-vllm }
  - id: org/embedding
    task: embedding
    context_length: 512
    price: { input: "0.01" }
    engines:
      - { engine: vllm-a, serves: embedding-on-vllm }
engines:
  - { name: vllm-a, kind: vllm, url: "http://127.0.0.1:1", max_concurrent: 64 }
limits:
  concurrent_requests: 200
"#;

pub(crate) struct Gateway {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Clock,
    router: Router,
    folder: TempDir,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        // An `Err` means that another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::standing_at(NOW_MS);
        let given = Given {
            clock: clock.clone(),
            secrets: Secrets::seeded(7),
            data_dir: folder.path(),
            database: None,
            valkey: None,
            admin_token: Some(TOKEN.into()),
            request_log: farebox::telemetry::request_log::Style::Off,
            read_env: Arc::new(|_| None),
            models_yaml: None,
            connections: 1_000,
        };
        let settings = config::parse(MODELS, "models.yaml").unwrap();
        let app = App::start(settings, given).await.unwrap().app;
        for engine in app.registry().engines() {
            engine.probe().await;
        }
        let router = http::admin_router(&app);
        Self {
            app,
            clock,
            router,
            folder,
        }
    }

    /// The same data, read again by a new gateway.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            app, folder, router, ..
        } = self;
        app.stop_background().await;
        drop((app, router));
        Self::start_in(folder).await
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("farebox.sqlite")
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Sends a request as it is to the admin listener's router.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Self::send_to(self.router(), request).await
    }

    /// Asks the public listener's router with this key; a body goes as JSON.
    pub(crate) async fn ask_as(&self, secret: &str, method: &str, path: &str, body: &str) -> Answer {
        self.ask_from("192.0.2.1", secret, (method, path, body)).await
    }

    /// The same from this address.
    pub(crate) async fn ask_from(
        &self,
        ip: &str,
        secret: &str,
        (method, path, body): (&str, &str, &str),
    ) -> Answer {
        let peer = SocketAddr::new(ip.parse().unwrap(), 4711);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {secret}"));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .extension(ConnectInfo(peer))
            .body(Body::from(body.to_owned()))
            .unwrap();
        Self::send_to(http::public_router(&self.app), request).await
    }

    async fn send_to(router: Router, request: Request<Body>) -> Answer {
        let response = router.oneshot(request).await.unwrap();
        let (parts, mut body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let bytes = if kind.is_some_and(|kind| kind == "text/event-stream") {
            // It goes on for ever: its first event is enough.
            let first = body.frame().await.unwrap().unwrap();
            first.into_data().unwrap()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.into()).unwrap(),
        }
    }

    /// Asks with the token; a body goes as JSON.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// Makes an account and returns its id.
    pub(crate) async fn account(&self, name: &str) -> String {
        let body = serde_json::json!({ "name": name }).to_string();
        self.ask("POST", "/admin/v1/accounts", &body).await.field("id")
    }

    /// Makes a key and returns its id and its secret.
    pub(crate) async fn key(&self, account: &str) -> (String, String) {
        let body = serde_json::json!({ "account": account, "name": "laptop" }).to_string();
        let made = self.ask("POST", "/admin/v1/keys", &body).await;
        (made.field("id"), made.field("secret"))
    }

    /// Books completed requests, each of 100 prompt tokens (40 of them cached) and 10 completion tokens.
    pub(crate) async fn book(&self, account: &str, key: &str, at_ms: u64, numbers: std::ops::Range<u8>) {
        let registry = self.app.registry();
        let served = registry.find("org/large").unwrap();
        let usage = Usage::new(100, 40, 10).with_reasoning(4);
        let entry = |number: u8| Entry {
            id: id_at(at_ms, number),
            client_request_id: None,
            account: AccountId::from(account),
            key: KeyId::from(key),
            model: served.model.id.clone(),
            engine: Some("vllm-a".into()),
            endpoint: Endpoint::ChatCompletions,
            state: EntryState::Completed,
            usage,
            units: Units::default(),
            service_tier: ServiceTier::Default,
            usage_source: UsageSource::Engine,
            price_version: served.prices.at(at_ms).version,
            cost: served
                .model
                .price
                .charge(&usage, &Units::default(), ServiceTier::Default)
                .unwrap(),
            admitted_at_ms: at_ms,
            timings: Timings::default(),
        };
        let entries: Vec<_> = numbers.map(entry).collect();
        self.app.ledger.commit(&entries).await.unwrap();
    }
}

/// An id that was made at this time.
pub(crate) fn id_at(unix_ms: u64, number: u8) -> RequestId {
    let mut bytes = *RequestId::lowest_at_ms(unix_ms).as_bytes();
    bytes[15] = number;
    RequestId::from_bytes(bytes)
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> String {
        let json = self.json();
        json[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {json}"))
            .to_owned()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Status and body, as a snapshot holds them.
    pub(crate) fn shown(&self) -> String {
        let body = match serde_json::from_str::<Value>(&self.text) {
            Ok(json) => serde_json::to_string_pretty(&json).unwrap(),
            Err(_) => self.text.clone(),
        };
        format!("{}\n{body}", self.status.as_u16())
    }

    /// Status, code, field and message of a refusal on one line.
    pub(crate) fn refusal(&self) -> String {
        let error = &self.json()["error"];
        let fields: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            ["code", "message", "param", "type"],
            "all four are always there"
        );
        let text = |field: &str| error[field].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} [{}] {}",
            self.status.as_u16(),
            text("code"),
            text("param"),
            text("message")
        )
    }
}
