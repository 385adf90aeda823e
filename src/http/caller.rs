//! Who asks for inference or about an account: by a key or token in `Authorization`, or signed in to the dashboard.

use crate::app::App;
use crate::http::peer::address_of;
use crate::http::session::OwnersKey;
use crate::pipeline::authenticate::{Caller, authenticate};
use axum::http::{Extensions, HeaderMap};
use farebox_domain::refusal::Refusal;
use std::sync::Arc;

/// The caller, or why nobody is let in. What it may do is for whoever serves it to ask.
pub fn caller_of(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Result<Caller, Refusal> {
    let from = address_of(app, headers, extensions);
    match extensions.get() {
        Some(OwnersKey(key)) => Caller::signed_in(Arc::clone(key), from),
        None => authenticate(&app.directory, headers, from, app.clock.unix_ms()),
    }
}
