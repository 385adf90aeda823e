//! The admin API: accounts, keys, limits, usage, the ledger's check, engines and metrics, for whoever has an admin
//! token, as far as its role goes. The CLI is its client; the words are [`crate::admin_api`]'s.
//!
//! - [`auth`] stands before every route, and before paths that there are not;
//! - [`read`] turns bodies and queries into values, [`error`] turns what does not hold into answers;
//! - [`change`] orders changes: the store first, then the directory, so that they act on the very next request;
//! - one file for each resource: [`accounts`], [`keys`] (which [`key_making`] makes), [`limits`], [`spending`], [`usage`],
//!   [`statements`], [`ledger`], [`reconcile`], [`rerate`], [`refunds`], [`prices`], [`export`], [`serving`], [`tokens`],
//!   [`audit`], [`requests`], [`live`].
//!
//! Architecture Invariant: there is one list of routes, [`routes`], each with the least role that may ask for it. The
//! router is made of it, and so is the test that tries each one with each role and with none.

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
pub mod tokens;
pub mod audit;
pub mod requests;
pub mod live;

use crate::app::App;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use farebox_domain::role::Role;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// A route.
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// The least role that may ask for it.
    pub least: Role,
    /// What answers it.
    pub handler: MethodRouter<Admin>,
}

const fn route(least: Role, method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    Route {
        method,
        path,
        least,
        handler,
    }
}

/// A route that only reads.
const fn viewer(method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    route(Role::Viewer, method, path, handler)
}

/// A route of the day's work, or one that reads the whole ledger.
const fn operator(method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    route(Role::Operator, method, path, handler)
}

/// A route that changes what is billed, who may come in, or what cannot be taken back.
const fn admin(method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    route(Role::Admin, method, path, handler)
}

/// Every route of the admin listener.
pub fn routes() -> Vec<Route> {
    vec![
        viewer("GET", "/metrics", get(serving::metrics)),
        operator("POST", "/admin/v1/accounts", post(accounts::create)),
        viewer("GET", "/admin/v1/accounts", get(accounts::list)),
        viewer("GET", "/admin/v1/accounts/{account}", get(accounts::show)),
        admin(
            "POST",
            "/admin/v1/accounts/{account}/close",
            post(accounts::close),
        ),
        viewer("GET", "/admin/v1/accounts/{account}/limits", get(limits::show)),
        operator("PUT", "/admin/v1/accounts/{account}/limits", put(limits::set)),
        viewer(
            "GET",
            "/admin/v1/accounts/{account}/statements/{month}",
            get(statements::show),
        ),
        operator(
            "POST",
            "/admin/v1/accounts/{account}/credit",
            post(spending::credit),
        ),
        viewer(
            "GET",
            "/admin/v1/accounts/{account}/balance",
            get(spending::balance),
        ),
        viewer(
            "GET",
            "/admin/v1/accounts/{account}/adjustments",
            get(spending::adjustments),
        ),
        operator("PUT", "/admin/v1/accounts/{account}/spending", put(spending::set)),
        operator("PUT", "/admin/v1/keys/{key}/spending", put(spending::set_key)),
        operator("POST", "/admin/v1/keys", post(keys::create)),
        viewer("GET", "/admin/v1/keys", get(keys::list)),
        operator("POST", "/admin/v1/keys/{key}/revoke", post(keys::revoke)),
        operator("DELETE", "/admin/v1/keys/{key}", delete(keys::revoke)),
        operator("PATCH", "/admin/v1/keys/{key}", patch(keys::change)),
        operator("POST", "/admin/v1/keys/{key}/rotate", post(keys::rotate)),
        viewer("GET", "/admin/v1/usage", get(usage::report)),
        operator("POST", "/admin/v1/ledger/verify", post(ledger::verify)),
        operator("POST", "/admin/v1/ledger/reconcile", post(reconcile::report)),
        viewer("GET", "/admin/v1/export", get(export::show)),
        admin("POST", "/admin/v1/export/retry", post(export::retry)),
        admin("POST", "/admin/v1/export/backfill", post(export::backfill)),
        admin("POST", "/admin/v1/export/off", post(export::off)),
        admin("POST", "/admin/v1/ledger/rerate", post(rerate::run)),
        admin("POST", "/admin/v1/ledger/refunds", post(refunds::refund)),
        viewer("GET", "/admin/v1/prices", get(prices::list)),
        admin("POST", "/admin/v1/prices", post(prices::set)),
        viewer("GET", "/admin/v1/engines", get(serving::engines)),
        viewer("GET", "/admin/v1/models", get(serving::models)),
        viewer("GET", "/admin/v1/me", get(tokens::me)),
        admin("POST", "/admin/v1/tokens", post(tokens::create)),
        admin("GET", "/admin/v1/tokens", get(tokens::list)),
        admin("POST", "/admin/v1/tokens/{token}/revoke", post(tokens::revoke)),
        admin("DELETE", "/admin/v1/tokens/{token}", delete(tokens::revoke)),
        viewer("GET", "/admin/v1/audit", get(audit::list)),
        viewer("GET", "/admin/v1/in-flight", get(live::in_flight)),
        viewer("GET", "/admin/v1/refusals", get(live::refusals)),
        viewer("GET", "/admin/v1/receipts/{request_id}", get(live::show_receipt)),
        operator("POST", "/admin/v1/engines/{engine}/drain", post(live::drain)),
        operator("POST", "/admin/v1/engines/{engine}/restore", post(live::restore)),
        viewer("GET", "/admin/v1/limit-requests", get(requests::list)),
        operator(
            "POST",
            "/admin/v1/limit-requests/{request}/approve",
            post(requests::approve),
        ),
        operator(
            "POST",
            "/admin/v1/limit-requests/{request}/decline",
            post(requests::decline),
        ),
    ]
}

/// The admin listener's service.
pub fn router(app: Arc<App>) -> Router {
    let admin = Admin::new(app);
    let with_route = |router: Router<Admin>, route: Route| {
        let held_to_role = middleware::from_fn_with_state(route.least, auth::require_role);
        router.route(route.path, route.handler.route_layer(held_to_role))
    };
    routes()
        .into_iter()
        .fold(Router::new(), with_route)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(read::BODY_LIMIT_BYTES))
        .layer(CatchPanicLayer::custom(super::after_panic))
        // Outermost, so that nothing is told to a stranger, not even which paths there are.
        .layer(middleware::from_fn_with_state(admin.clone(), auth::require_staff))
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
