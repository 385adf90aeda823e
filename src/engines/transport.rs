//! How requests go to one engine: HTTP/1.1 over connections that are kept ([`super::pool`]), each path and header made once.
//!
//! reqwest has layers around hyper (redirects, retries, cookies) that parse the URL or copy the request, and hyper-util's pooled client
//! looks up which server is meant: farebox wants none of that, and together they are an eighth of what a request costs. What is asked
//! seldom, such as a probe, goes by reqwest.

use crate::clock::Clock;
use crate::engines::clients::Clients;
use crate::engines::pool::{EngineBody, Pool};
use bytes::Bytes;
use farebox_domain::attempt::AttemptFault;
use farebox_domain::catalog::EngineSpec;
use farebox_domain::ledger::Endpoint;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

/// An engine's answer: status, headers, and a body that has not been read.
pub type Reply = http::Response<EngineBody>;

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
}

impl Transport {
    /// To the engine at this address, with its key.
    pub(super) fn new(
        spec: &EngineSpec,
        clients: &Clients,
        authorization: Option<&HeaderValue>,
        clock: Clock,
    ) -> Result<Self, TransportFault> {
        let base = spec.url.trim_end_matches('/').parse::<Uri>()?;
        let prefix = base.path().trim_end_matches('/');
        let path = |path: &str| format!("{prefix}{path}").parse::<PathAndQuery>().map(Uri::from);
        let authority = base.authority().ok_or(TransportFault::Host)?.as_str();
        let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let host = HeaderValue::from_str(host).map_err(|_| TransportFault::Host)?;
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
            pool: Pool::new(clients.connector.clone(), base, clock),
        })
    }

    /// Sends the body under this id; an error: no answer begins. Only what is listed here goes to an engine: no header of the
    /// client's does.
    pub(super) fn send(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        id: Option<HeaderValue>,
    ) -> impl Future<Output = Result<Reply, AttemptFault>> {
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
        self.pool.send(request)
    }
}
