//! How requests go to one engine: HTTP/1.1 over connections that are kept ([`super::pool`]), each path and header made once.
//!
//! reqwest has layers around hyper (redirects, retries, cookies) that parse the URL or copy the request, and hyper-util's pooled client
//! looks up which server is meant: farebox wants none of that, and together they are an eighth of what a request costs. What is asked
//! seldom, such as a probe, goes by reqwest.

use crate::clock::Clock;
use crate::engines::pool::{Connector, EngineBody, Pool};
use bytes::Bytes;
use farebox_domain::catalog::EngineSpec;
use farebox_domain::ledger::Endpoint;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use std::time::Duration;
use tower::timeout::Timeout;

/// An engine's answer: status, headers, and a body that has not been read.
pub type Reply = http::Response<EngineBody>;

/// A peer that is gone without a word is found out, however long an engine may be silent.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// For so long what was sent may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
static ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// The way to one engine.
#[derive(Debug)]
pub(super) struct Transport {
    pool: Pool,
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
    #[error("its URL has no host that a header can carry")]
    Host,
    #[error("the system's certificates: {0}")]
    Certificates(#[from] std::io::Error),
}

impl Transport {
    /// To the engine at this address, with its key. A connection, its TLS included, is made within `connect_timeout`.
    pub(super) fn new(
        spec: &EngineSpec,
        connect_timeout: Duration,
        authorization: Option<&HeaderValue>,
        clock: Clock,
    ) -> Result<Self, TransportFault> {
        let base = spec.url.trim_end_matches('/').parse::<Uri>()?;
        let prefix = base.path().trim_end_matches('/');
        let path = |path: &str| format!("{prefix}{path}").parse::<PathAndQuery>().map(Uri::from);
        let authority = base.authority().ok_or(TransportFault::Host)?.as_str();
        let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let host = HeaderValue::from_str(host).map_err(|_| TransportFault::Host)?;
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
        // Room for the engine's own four, the request's id, and what hyper adds.
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, APPLICATION_JSON.clone());
        headers.insert(ACCEPT, ANYTHING.clone());
        if let Some(key) = authorization {
            headers.insert(AUTHORIZATION, key.clone());
        }
        Ok(Self {
            chat_completions: path("/v1/chat/completions")?,
            completions: path("/v1/completions")?,
            embeddings: path("/v1/embeddings")?,
            headers,
            pool: Pool::new(Connector::new(Timeout::new(https, connect_timeout)), base, clock),
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
        self.pool.send(request).await
    }
}
