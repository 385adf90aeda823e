//! How requests go to one engine: HTTP/1.1 over connections that are kept, each URL and header made once.
//!
//! This is hyper's pooled client without the layers that reqwest has around it (redirects, retries, cookies, each of which parses the
//! URL or copies the request): farebox wants none of them, and they are a tenth of what a request costs. What is asked seldom, such as
//! a probe, goes by reqwest.

use bytes::Bytes;
use farebox_domain::catalog::EngineSpec;
use farebox_domain::ledger::Endpoint;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::uri::InvalidUri;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::BoxError;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;

/// An engine's answer: status, headers, and a body that has not been read.
pub type Reply = http::Response<EngineBody>;

/// An answer's body, as it comes in.
pub type EngineBody = hyper::body::Incoming;

/// Engines behind uvicorn close a connection that was idle for 5 s; a request must not meet that moment.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// A peer that is gone without a word is found out, however long an engine may be silent.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// For so long what was sent may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
static ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// Makes connections; at each URL one that is kept is looked for first.
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// The way to one engine.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    chat_completions: Uri,
    completions: Uri,
    embeddings: Uri,
    /// What every request has.
    headers: HeaderMap,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportFault {
    #[error("{0}")]
    Uri(#[from] InvalidUri),
    #[error("the system's certificates: {0}")]
    Certificates(#[from] std::io::Error),
}

impl Transport {
    /// To the engine at this address, with its key. A connection, its TLS included, is made within `connect_timeout`.
    pub(super) fn new(
        spec: &EngineSpec,
        connect_timeout: Duration,
        authorization: Option<&HeaderValue>,
    ) -> Result<Self, TransportFault> {
        let base = spec.url.trim_end_matches('/');
        let uri = |path: &str| format!("{base}{path}").parse::<Uri>();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(Connector::new(Timeout::new(https, connect_timeout)));
        // Room for the engine's own three, the request's id, and what hyper adds.
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, APPLICATION_JSON.clone());
        headers.insert(ACCEPT, ANYTHING.clone());
        if let Some(key) = authorization {
            headers.insert(AUTHORIZATION, key.clone());
        }
        Ok(Self {
            client,
            chat_completions: uri("/v1/chat/completions")?,
            completions: uri("/v1/completions")?,
            embeddings: uri("/v1/embeddings")?,
            headers,
        })
    }

    /// Sends the body under this id; `None` where no answer begins. Only what is listed here goes to an engine: no header of the
    /// client's does.
    pub(super) async fn send(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        id: Option<HeaderValue>,
    ) -> Option<Reply> {
        let uri = match endpoint {
            Endpoint::ChatCompletions => &self.chat_completions,
            Endpoint::Completions => &self.completions,
            Endpoint::Embeddings => &self.embeddings,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let mut headers = self.headers.clone();
        if let Some(id) = id {
            headers.insert(X_REQUEST_ID.clone(), id);
        }
        *request.headers_mut() = headers;
        self.client.request(request).await.ok()
    }
}
