//! What all engines are called with: made once for a reading of models.yaml, for the system's certificates take milliseconds to read
//! and a quarter of a megabyte to keep.

use crate::engines::pool::Connector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use std::time::Duration;
use tower::timeout::Timeout;

/// A peer that is gone without a word is found out, however long an engine may be silent.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// For so long what was sent may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Makes connections, and asks what is asked seldom, such as whether an engine is up.
#[derive(Debug, Clone)]
pub struct Clients {
    pub(super) http: reqwest::Client,
    pub(super) connector: Connector,
    pub(super) connect_timeout: Duration,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum ClientsFault {
    /// For requests.
    #[error("the system's certificates: {0}")]
    Certificates(#[from] std::io::Error),
    /// For what is asked seldom.
    #[error("the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

impl Clients {
    /// They make a connection, its TLS included, within `connect_timeout`.
    pub fn new(connect_timeout: Duration) -> Result<Self, ClientsFault> {
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
        let http = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(connect_timeout)
            // Many engines close a connection that was idle for 5 s: a probe must not meet that moment and find nobody.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self {
            http,
            connector: Connector::new(Timeout::new(https, connect_timeout)),
            connect_timeout,
        })
    }
}
