//! From where a request comes: the socket's other end, or what a proxy that is trusted says of it.

use crate::app::App;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who asks, before anything is believed: the headers, and what the connection is known by.
pub struct Sender {
    /// The request's headers.
    pub headers: HeaderMap,
    /// What the listener and the dashboard put beside them.
    pub extensions: Extensions,
}

impl FromRequestParts<Arc<App>> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self {
            headers: parts.headers.clone(),
            extensions: parts.extensions.clone(),
        })
    }
}

/// The address of who sent a request.
pub fn address_of(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    behind_proxies(peer.ip(), headers, &app.settings.trusted_proxies)
}

/// Whether a request came by HTTPS, as far as a trusted proxy says: farebox itself speaks none.
pub fn is_https(app: &App, headers: &HeaderMap, extensions: &Extensions) -> bool {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let is_proxy = peer.is_some_and(|ConnectInfo(peer)| {
        let mut trusted = app.settings.trusted_proxies.iter();
        trusted.any(|net| net.contains(&peer.ip().to_canonical()))
    });
    let proto = headers.get("x-forwarded-proto").map(|proto| proto.as_bytes());
    is_proxy && proto == Some(b"https")
}

/// The last address that no trusted proxy has: whatever stands before it was written by whom nobody trusts. What cannot
/// be read there is an address that is not known.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest) {
        return Some(nearest);
    }
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        for hop in value.to_str().ok()?.rsplit(',') {
            nearest = read_hop(hop.trim())?.to_canonical();
            if !is_trusted(nearest) {
                return Some(nearest);
            }
        }
    }
    Some(nearest)
}

/// An address, with or without a port.
fn read_hop(hop: &str) -> Option<IpAddr> {
    let plain = hop.trim_start_matches('[').trim_end_matches(']');
    plain
        .parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn shown(peer: &str, forwarded: &[&'static str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for &value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let nets: Vec<IpNet> = trusted
            .iter()
            .filter_map(|net| farebox_domain::key::parse_net(net))
            .collect();
        let peer = peer.parse().ok()?;
        behind_proxies(peer, &headers, &nets).map(|ip| ip.to_string())
    }

    #[test]
    fn a_stranger_is_not_believed_about_its_address() {
        let at = |forwarded| shown("198.51.100.9", forwarded, &["10.0.0.0/8"]);
        assert_eq!(at(&[]).as_deref(), Some("198.51.100.9"));
        assert_eq!(at(&["192.0.2.1"]).as_deref(), Some("198.51.100.9"));
    }

    #[test]
    fn a_proxy_is_believed_about_the_last_that_it_saw() {
        let at = |forwarded| shown("::ffff:10.0.0.1", forwarded, &["10.0.0.0/8"]);
        assert_eq!(at(&[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(at(&["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(
            at(&["1.1.1.1, 192.0.2.1, 10.2.3.4"]).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(at(&["1.1.1.1", "192.0.2.1:4711"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(at(&["[2001:db8::1]:80"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(at(&["1.1.1.1, unknown"]), None);
    }
}
