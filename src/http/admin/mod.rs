//! The admin API: accounts, keys, limits, usage, the ledger's check, engines and metrics, for whoever has the admin
//! token. The CLI is its client; the words are [`crate::admin_api`]'s.
//!
//! - [`auth`] stands before every route, and before paths that there are not;
//! - [`read`] turns bodies and queries into values, [`error`] turns what does not hold into answers;
//! - [`change`] orders changes: the store first, then the directory, so that they act on the very next request;
//! - one file for each resource: [`accounts`], [`keys`] (which [`key_making`] makes), [`limits`], [`spending`], [`usage`], [`statements`],
//!   [`ledger`], [`reconcile`], [`rerate`], [`refunds`], [`prices`], [`export`], [`serving`].
//!
//! Architecture Invariant: there is one list of routes, [`routes`]. The router is made of it, and so is the test
//! that tries each one without a token.

pub mod auth;
pub mod read;
pub mod error;
pub mod change;
pub mod accounts;
pub mod key_making;
pub mod keys;
pub mod limits;
pub mod spending;
pub mod usage;
pub mod statements;
pub mod ledger;
pub mod reconcile;
pub mod export;
pub mod prices;
pub mod rerate;
pub mod refunds;
pub mod serving;

use crate::app::App;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// A route: its method, its path, and what answers it.
pub type Route = (&'static str, &'static str, MethodRouter<Admin>);

/// Every route of the admin listener.
pub fn routes() -> Vec<Route> {
    vec![
        ("GET", "/metrics", get(serving::metrics)),
        ("POST", "/admin/v1/accounts", post(accounts::create)),
        ("GET", "/admin/v1/accounts", get(accounts::list)),
        ("GET", "/admin/v1/accounts/{account}", get(accounts::show)),
        (
            "POST",
            "/admin/v1/accounts/{account}/close",
            post(accounts::close),
        ),
        ("GET", "/admin/v1/accounts/{account}/limits", get(limits::show)),
        ("PUT", "/admin/v1/accounts/{account}/limits", put(limits::set)),
        (
            "GET",
            "/admin/v1/accounts/{account}/statements/{month}",
            get(statements::show),
        ),
        (
            "POST",
            "/admin/v1/accounts/{account}/credit",
            post(spending::credit),
        ),
        (
            "GET",
            "/admin/v1/accounts/{account}/balance",
            get(spending::balance),
        ),
        (
            "GET",
            "/admin/v1/accounts/{account}/adjustments",
            get(spending::adjustments),
        ),
        ("PUT", "/admin/v1/accounts/{account}/spending", put(spending::set)),
        ("PUT", "/admin/v1/keys/{key}/spending", put(spending::set_key)),
        ("POST", "/admin/v1/keys", post(keys::create)),
        ("GET", "/admin/v1/keys", get(keys::list)),
        ("POST", "/admin/v1/keys/{key}/revoke", post(keys::revoke)),
        ("DELETE", "/admin/v1/keys/{key}", delete(keys::revoke)),
        ("PATCH", "/admin/v1/keys/{key}", patch(keys::change)),
        ("POST", "/admin/v1/keys/{key}/rotate", post(keys::rotate)),
        ("GET", "/admin/v1/usage", get(usage::report)),
        ("POST", "/admin/v1/ledger/verify", post(ledger::verify)),
        ("POST", "/admin/v1/ledger/reconcile", post(reconcile::report)),
        ("GET", "/admin/v1/export", get(export::show)),
        ("POST", "/admin/v1/export/retry", post(export::retry)),
        ("POST", "/admin/v1/export/backfill", post(export::backfill)),
        ("POST", "/admin/v1/export/off", post(export::off)),
        ("POST", "/admin/v1/ledger/rerate", post(rerate::run)),
        ("POST", "/admin/v1/ledger/refunds", post(refunds::refund)),
        ("GET", "/admin/v1/prices", get(prices::list)),
        ("POST", "/admin/v1/prices", post(prices::set)),
        ("GET", "/admin/v1/engines", get(serving::engines)),
        ("GET", "/admin/v1/models", get(serving::models)),
    ]
}

/// The admin listener's service.
pub fn router(app: Arc<App>) -> Router {
    let admin = Admin::new(app);
    let with_route = |router: Router<Admin>, (_, path, handler): Route| router.route(path, handler);
    routes()
        .into_iter()
        .fold(Router::new(), with_route)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(read::BODY_LIMIT_BYTES))
        .layer(CatchPanicLayer::custom(super::after_panic))
        // Outermost, so that nothing is told to a stranger, not even which paths there are.
        .layer(middleware::from_fn_with_state(admin.clone(), auth::require_token))
        .with_state(admin)
}

async fn unknown_path(request: Request) -> AdminError {
    AdminError::UnknownPath(request.uri().path().into())
}

async fn wrong_method(request: Request) -> AdminError {
    let path = request.uri().path().into();
    AdminError::MethodNotAllowed {
        method: request.method().to_string(),
        path,
    }
}
