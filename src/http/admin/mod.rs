//! The admin API: accounts, keys, limits, usage, the ledger's check, engines and metrics, for whoever has an admin
//! token, as far as its role goes. The CLI is its client; the words are [`crate::admin_api`]'s.
//!
//! - [`auth`] stands before every route, and before paths that there are not;
//! - [`read`] turns bodies and queries into values, [`page`] long lists into pages, [`error`] what does not hold into answers;
//! - [`change`] orders changes: the store first, then the directory, so that they act on the very next request;
//! - one file for each resource: [`accounts`], [`keys`] (which [`key_making`] makes), [`limits`], [`rates`], [`spending`], [`usage`],
//!   [`statements`], [`ledger`], [`reconcile`], [`rerate`], [`refunds`], [`prices`], [`export`], [`serving`], [`tokens`],
//!   [`audit`], [`requests`], [`live`], [`watch`]; [`openapi`] describes all of them.
//!
//! Architecture Invariant: there is one list of routes, [`routes`], each with the least role that may ask for it. The
//! router is made of it, and so is the test that tries each one with each role and with none.

pub mod auth;
pub mod read;
pub mod page;
pub mod error;
pub mod change;
pub mod accounts;
pub mod key_making;
pub mod keys;
pub mod limits;
pub mod rates;
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
pub mod watch;
pub mod reload;
pub mod route;
pub mod openapi;

use crate::admin_api::money::{
    AdjustmentView, BalanceView, CreditView, KeySpendingChange, KeySpendingView, NewCredit, SpendingChange,
};
use crate::admin_api::reload::{Reload, ReloadView};
use crate::admin_api::watch::{ReplicaView, SeriesView};
use crate::admin_api::{
    AccountView, ApproveRequest, AuditView, CreatedKey, CreatedToken, DeclineRequest, DefaultsView,
    EngineView, ExportBackfill, ExportChanged, ExportView, KeyChange, KeyRotation, KeyView, LimitChange,
    LimitRequestView, LimitsView, List, LiveView, ModelView, NewAccount, NewKey, NewPrice, NewRefund,
    NewRerate, NewToken, Page, PriceSet, PriceVersionView, RatesChange, RatesView, Reconcile, ReconcileView,
    RefundView, RefusedView, RerateView, StaffReceiptView, StaffView, TokenView, VerifyView,
};
use crate::admin_api::{ExplainRoute, RouteView};
use crate::app::App;
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use farebox_domain::role::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// A route, and what the OpenAPI document says of it.
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// The least role that may ask for it.
    pub least: Role,
    /// What answers it.
    pub handler: MethodRouter<Admin>,
    /// Its parameters.
    pub query: &'static [&'static str],
    /// The body that it takes.
    pub takes: Option<SchemaOf>,
    /// What it answers.
    pub gives: Option<SchemaOf>,
    /// Whether it answers 201.
    pub makes: bool,
}

/// Describes a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn route(least: Role, method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    Route {
        method,
        path,
        least,
        handler,
        query: &[],
        takes: None,
        gives: None,
        makes: false,
    }
}

impl Route {
    /// With these parameters.
    fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    /// With a body.
    fn takes<T: JsonSchema>(self) -> Self {
        let takes: SchemaOf = SchemaGenerator::subschema_for::<T>;
        Self {
            takes: Some(takes),
            ..self
        }
    }

    /// Answered with this.
    fn gives<T: JsonSchema>(self) -> Self {
        let gives: SchemaOf = SchemaGenerator::subschema_for::<T>;
        Self {
            gives: Some(gives),
            ..self
        }
    }

    /// Answered with 201 and this.
    fn makes<T: JsonSchema>(self) -> Self {
        Self {
            makes: true,
            ..self.gives::<T>()
        }
    }
}

/// A route that only reads.
fn viewer(method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    route(Role::Viewer, method, path, handler)
}

/// A route of the day's work, or one that reads the whole ledger.
fn operator(method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    route(Role::Operator, method, path, handler)
}

/// A route that changes what is billed, who may come in, or what cannot be taken back.
fn admin(method: &'static str, path: &'static str, handler: MethodRouter<Admin>) -> Route {
    route(Role::Admin, method, path, handler)
}

/// Every route of the admin listener.
pub fn routes() -> Vec<Route> {
    vec![
        viewer("GET", "/metrics", get(serving::metrics)),
        operator("POST", "/admin/v1/accounts", post(accounts::create))
            .takes::<NewAccount>()
            .makes::<AccountView>(),
        viewer("GET", "/admin/v1/accounts", get(accounts::list))
            .query(accounts::LIST_PARAMS)
            .gives::<Page<AccountView>>(),
        viewer("GET", "/admin/v1/accounts/{account}", get(accounts::show)).gives::<AccountView>(),
        admin(
            "POST",
            "/admin/v1/accounts/{account}/close",
            post(accounts::close),
        )
        .gives::<AccountView>(),
        viewer("GET", "/admin/v1/accounts/{account}/limits", get(limits::show)).gives::<LimitsView>(),
        operator("PUT", "/admin/v1/accounts/{account}/limits", put(limits::set))
            .takes::<LimitChange>()
            .gives::<LimitsView>(),
        viewer("GET", "/admin/v1/defaults", get(limits::defaults)).gives::<DefaultsView>(),
        viewer("GET", "/admin/v1/accounts/{account}/rates", get(rates::show)).gives::<RatesView>(),
        operator("PUT", "/admin/v1/accounts/{account}/rates", put(rates::set))
            .takes::<RatesChange>()
            .gives::<RatesView>(),
        viewer("GET", "/admin/v1/keys/{key}/rates", get(rates::show_key)).gives::<RatesView>(),
        operator("PUT", "/admin/v1/keys/{key}/rates", put(rates::set_key))
            .takes::<RatesChange>()
            .gives::<RatesView>(),
        viewer(
            "GET",
            "/admin/v1/accounts/{account}/statements/{month}",
            get(statements::show),
        )
        .query(&["format"]),
        operator(
            "POST",
            "/admin/v1/accounts/{account}/credit",
            post(spending::credit),
        )
        .takes::<NewCredit>()
        .gives::<CreditView>(),
        viewer(
            "GET",
            "/admin/v1/accounts/{account}/balance",
            get(spending::balance),
        )
        .gives::<BalanceView>(),
        viewer(
            "GET",
            "/admin/v1/accounts/{account}/adjustments",
            get(spending::adjustments),
        )
        .query(spending::LIST_PARAMS)
        .gives::<Page<AdjustmentView>>(),
        operator("PUT", "/admin/v1/accounts/{account}/spending", put(spending::set))
            .takes::<SpendingChange>()
            .gives::<BalanceView>(),
        viewer("GET", "/admin/v1/keys/{key}/spending", get(spending::show_key)).gives::<KeySpendingView>(),
        operator("PUT", "/admin/v1/keys/{key}/spending", put(spending::set_key))
            .takes::<KeySpendingChange>()
            .gives::<KeySpendingView>(),
        operator("POST", "/admin/v1/keys", post(keys::create))
            .takes::<NewKey>()
            .makes::<CreatedKey>(),
        viewer("GET", "/admin/v1/keys", get(keys::list))
            .query(keys::LIST_PARAMS)
            .gives::<Page<KeyView>>(),
        operator("POST", "/admin/v1/keys/{key}/revoke", post(keys::revoke)).gives::<KeyView>(),
        operator("DELETE", "/admin/v1/keys/{key}", delete(keys::revoke)).gives::<KeyView>(),
        operator("PATCH", "/admin/v1/keys/{key}", patch(keys::change))
            .takes::<KeyChange>()
            .gives::<KeyView>(),
        operator("POST", "/admin/v1/keys/{key}/rotate", post(keys::rotate))
            .takes::<KeyRotation>()
            .gives::<CreatedKey>(),
        viewer("GET", "/admin/v1/usage", get(usage::report)).query(usage::PARAMS),
        operator("POST", "/admin/v1/ledger/verify", post(ledger::verify)).gives::<VerifyView>(),
        operator("POST", "/admin/v1/ledger/reconcile", post(reconcile::report))
            .takes::<Reconcile>()
            .gives::<ReconcileView>(),
        viewer("GET", "/admin/v1/export", get(export::show)).gives::<ExportView>(),
        admin("POST", "/admin/v1/export/retry", post(export::retry)).gives::<ExportChanged>(),
        admin("POST", "/admin/v1/export/backfill", post(export::backfill))
            .takes::<ExportBackfill>()
            .gives::<ExportChanged>(),
        admin("POST", "/admin/v1/export/off", post(export::off)).gives::<ExportChanged>(),
        admin("POST", "/admin/v1/ledger/rerate", post(rerate::run))
            .takes::<NewRerate>()
            .gives::<RerateView>(),
        admin("POST", "/admin/v1/ledger/refunds", post(refunds::refund))
            .takes::<NewRefund>()
            .gives::<RefundView>(),
        viewer("GET", "/admin/v1/prices", get(prices::list))
            .query(&["model"])
            .gives::<List<PriceVersionView>>(),
        admin("POST", "/admin/v1/prices", post(prices::set))
            .takes::<NewPrice>()
            .makes::<PriceSet>(),
        viewer("GET", "/admin/v1/engines", get(serving::engines)).gives::<List<EngineView>>(),
        viewer("GET", "/admin/v1/models", get(serving::models)).gives::<List<ModelView>>(),
        viewer("GET", "/admin/v1/me", get(tokens::me)).gives::<StaffView>(),
        admin("POST", "/admin/v1/tokens", post(tokens::create))
            .takes::<NewToken>()
            .makes::<CreatedToken>(),
        admin("GET", "/admin/v1/tokens", get(tokens::list)).gives::<List<TokenView>>(),
        admin("POST", "/admin/v1/tokens/{token}/revoke", post(tokens::revoke)).gives::<TokenView>(),
        admin("DELETE", "/admin/v1/tokens/{token}", delete(tokens::revoke)).gives::<TokenView>(),
        viewer("GET", "/admin/v1/audit", get(audit::list))
            .query(audit::LIST_PARAMS)
            .gives::<Page<AuditView>>(),
        viewer("GET", "/admin/v1/in-flight", get(live::in_flight)).gives::<List<LiveView>>(),
        viewer("GET", "/admin/v1/refusals", get(live::refusals)).gives::<List<RefusedView>>(),
        viewer("GET", "/admin/v1/receipts/{request_id}", get(live::show_receipt)).gives::<StaffReceiptView>(),
        operator("POST", "/admin/v1/engines/{engine}/drain", post(live::drain)).gives::<EngineView>(),
        operator("POST", "/admin/v1/engines/{engine}/restore", post(live::restore)).gives::<EngineView>(),
        viewer("GET", "/admin/v1/limit-requests", get(requests::list))
            .query(requests::LIST_PARAMS)
            .gives::<Page<LimitRequestView>>(),
        operator(
            "POST",
            "/admin/v1/limit-requests/{request}/approve",
            post(requests::approve),
        )
        .takes::<ApproveRequest>()
        .gives::<LimitRequestView>(),
        operator(
            "POST",
            "/admin/v1/limit-requests/{request}/decline",
            post(requests::decline),
        )
        .takes::<DeclineRequest>()
        .gives::<LimitRequestView>(),
        viewer("GET", "/admin/v1/live", get(watch::live)),
        viewer("GET", "/admin/v1/series", get(watch::series))
            .query(&["span"])
            .gives::<SeriesView>(),
        viewer("GET", "/admin/v1/replicas", get(watch::replicas)).gives::<List<ReplicaView>>(),
        operator("POST", "/admin/v1/route/explain", post(route::explain_route))
            .takes::<ExplainRoute>()
            .gives::<RouteView>(),
        admin("POST", "/admin/v1/reload", post(reload::reload))
            .takes::<Reload>()
            .gives::<ReloadView>(),
        viewer("GET", "/admin/v1/openapi.json", get(openapi::show)),
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
