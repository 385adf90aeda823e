//! The dashboard: pages for those who administer and for account owners, on the admin listener.
//!
//! Its files are in the binary (`assets`). Nothing of it is given to whoever is not signed in but the page to sign in (`login`).
//! Its pages ask the admin API with their cookie, and the owner's routes under `/dashboard/api`.

mod assets;
mod login;

use crate::admin_api::when;
use crate::app::App;
use crate::http::error::response_of;
use crate::http::openai;
use crate::http::session::{OwnersKey, Session, SignedIn, no_cookie};
use crate::http::{after_panic, peer};
use crate::telemetry::log;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use farebox_domain::refusal::{KeyFault, Refusal};
use serde_json::json;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

const HOME: &str = "/dashboard/";
const LOGIN: &str = "/dashboard/login";

/// Scripts, styles and answers come from here and from nowhere else, and nobody frames a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The dashboard's routes.
pub fn router(app: Arc<App>) -> Router {
    let signed_in = Router::new()
        .route(HOME, get(home))
        .route("/dashboard/{asset}", get(asset))
        .route("/dashboard/session", get(session))
        .route("/dashboard/logout", post(logout))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), require_session));
    let owners = openai::with_base(Router::new(), "/dashboard/api")
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), require_owner));
    Router::new()
        .route("/", get(async || Redirect::to(HOME)))
        .route("/dashboard", get(async || Redirect::to(HOME)))
        .route(LOGIN, get(login::page).post(login::sign_in))
        .merge(signed_in)
        .merge(owners)
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::map_response(put_policy))
        .with_state(app)
}

/// Puts on every answer what keeps a browser from doing more with it than is meant.
async fn put_policy(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value: &'static str| {
        // The page to sign in brings a policy of its own.
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    put(header::CONTENT_SECURITY_POLICY, POLICY);
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::X_FRAME_OPTIONS, "DENY");
    put(header::REFERRER_POLICY, "no-referrer");
    put(header::CACHE_CONTROL, "no-store");
    response
}

/// Lets a request through whose cookie holds; a page that is not signed in becomes the one to sign in.
async fn require_session(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match current(&app, request.headers()).await {
        Err(fault) => fault,
        Ok(None) if request.uri().path() == HOME => Redirect::to(LOGIN).into_response(),
        Ok(None) => not_signed_in(),
        Ok(Some(current)) if !current.asks_by_a_page(&request) => not_by_a_page(),
        Ok(Some(current)) => {
            request.extensions_mut().insert(Arc::new(current));
            next.run(request).await
        }
    }
}

/// The same for the owner's routes: who administers has no account that would pay.
async fn require_owner(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let current = match current(&app, request.headers()).await {
        Ok(current) => current,
        Err(fault) => return fault,
    };
    let Some((SignedIn::Owner(key), current)) = current.as_ref().map(|current| (&current.who, current))
    else {
        return not_signed_in();
    };
    if !current.asks_by_a_page(&request) {
        return not_by_a_page();
    }
    request.extensions_mut().insert(OwnersKey(Arc::clone(key)));
    next.run(request).await
}

/// Who looks at a page.
struct Current {
    who: SignedIn,
    session: Session,
}

impl Current {
    fn asks_by_a_page(&self, request: &Request) -> bool {
        self.session
            .is_asked_by_its_page(request.method(), request.headers())
    }
}

/// Whoever a request's cookie stands for now; nobody without one that holds.
async fn current(app: &App, headers: &HeaderMap) -> Result<Option<Current>, Response> {
    let session = Session::of(app, headers).await.map_err(|fault| {
        log::admin_failed(&fault);
        response_of(&Refusal::Internal("the log has the cause".into())).into_response()
    })?;
    Ok(session.and_then(|session| {
        let who = session.who(app)?;
        Some(Current { who, session })
    }))
}

fn not_signed_in() -> Response {
    response_of(&Refusal::InvalidApiKey(KeyFault::NotSignedIn)).into_response()
}

fn not_by_a_page() -> Response {
    let message = "a change from the dashboard needs the header `x-farebox-csrf`; load the page again";
    let refusal = Refusal::KeyNotAllowed(message.into());
    response_of(&refusal).into_response()
}

async fn home() -> Response {
    assets::answer("index.html")
}

async fn asset(Path(name): Path<String>) -> Response {
    assets::answer(&name)
}

/// `GET /dashboard/session`: who is signed in, and what their page sends with every change.
async fn session(
    State(app): State<Arc<App>>,
    Extension(current): Extension<Arc<Current>>,
) -> Json<serde_json::Value> {
    let (kind, name, role, account) = match &current.who {
        SignedIn::Staff(staff) => ("staff", staff.name.to_string(), Some(staff.role), None),
        SignedIn::Owner(key) => ("owner", key.name.clone(), None, Some(Arc::clone(&key.account))),
    };
    Json(json!({
        "kind": kind,
        "name": name,
        "role": role,
        "account": account.as_ref().map(|account| account.id.as_str()),
        "account_name": account.as_ref().map(|account| account.name.as_str()),
        "csrf": current.session.csrf(),
        "expires_at": when::show(current.session.expires_at_ms()),
        "replica": app.process,
    }))
}

/// `POST /dashboard/logout`
async fn logout(
    State(app): State<Arc<App>>,
    Extension(current): Extension<Arc<Current>>,
    request: Request,
) -> Response {
    if let Err(fault) = current.session.end(&app).await {
        log::admin_failed(&fault);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let is_https = peer::is_https(&app, request.headers(), request.extensions());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(cookie) = HeaderValue::try_from(no_cookie(is_https)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
