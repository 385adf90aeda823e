//! The page to sign in: plain HTML without a script, and all of the dashboard that a stranger gets.

use super::{HOME, LOGIN};
use crate::admission::directory::hash_secret;
use crate::app::App;
use crate::http::peer;
use crate::http::session::{Session, SignedIn, who_has};
use crate::telemetry::log;
use axum::Form;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{RequestExt as _, extract::rejection::FormRejection};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const STYLE: &str = include_str!("login.css");
const PAGE: &str = include_str!("login.html");

#[derive(Deserialize)]
struct SignIn {
    secret: String,
}

/// `GET /dashboard/login`
pub async fn page() -> Response {
    shown(StatusCode::OK, "")
}

/// `POST /dashboard/login`: a form with `secret`, an admin token or an API key of the scope `dashboard`.
pub async fn sign_in(State(app): State<Arc<App>>, request: Request) -> Response {
    if is_from_elsewhere(request.headers()) {
        return shown(
            StatusCode::FORBIDDEN,
            "This form was sent from another site. Sign in here.",
        );
    }
    let from = peer::address_of(&app, request.headers(), request.extensions());
    let is_https = peer::is_https(&app, request.headers(), request.extensions());
    let sent: Result<Form<SignIn>, FormRejection> = request.extract().await;
    let Ok(Form(SignIn { secret })) = sent else {
        return shown(
            StatusCode::BAD_REQUEST,
            "Nothing was sent that could be read. Try again.",
        );
    };
    if let Err(wait) = app.sign_ins.begin(from, app.clock.now()) {
        return slowed(wait);
    }
    match opened(&app, secret.trim(), from).await {
        Ok(cookie) => {
            app.sign_ins.succeeded(from);
            let mut response = Redirect::to(HOME).into_response();
            if let Ok(cookie) = HeaderValue::try_from(cookie.cookie(is_https)) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Err((status, message)) => shown(status, message),
    }
}

async fn opened(
    app: &App,
    secret: &str,
    from: Option<IpAddr>,
) -> Result<Session, (StatusCode, &'static str)> {
    let wrong = (
        StatusCode::UNAUTHORIZED,
        "That opens nothing here. It takes an admin token, or an API key with the scope `dashboard`.",
    );
    let credential = hash_secret(secret);
    let who = who_has(app, &credential, app.clock.unix_ms()).ok_or(wrong)?;
    let name = match &who {
        SignedIn::Owner(key) if !key.rights.allow_ip(from) => {
            return Err((
                StatusCode::FORBIDDEN,
                "This key may not be used from your address. Ask who made it.",
            ));
        }
        SignedIn::Owner(key) => key.id.as_str().to_owned(),
        SignedIn::Staff(staff) => staff.id.clone(),
    };
    let session = Session::open(app, credential).await.map_err(|fault| {
        log::admin_failed(&fault);
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "You could not be signed in; the gateway's log says why. Try again.",
        )
    })?;
    tracing::info!(who = name, "signed in to the dashboard");
    Ok(session)
}

/// Whether a browser says that another site sent the form. What is no browser says nothing.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let origin = text("origin").and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, host)| text("host") != Some(host))
}

fn slowed(wait: Duration) -> Response {
    let seconds = wait.as_secs().saturating_add(1);
    let message = format!("That was wrong too often. Try again in {seconds} s.");
    let mut response = shown(StatusCode::TOO_MANY_REQUESTS, &message);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The page. `message` is one of ours, and has no HTML in it.
fn shown(status: StatusCode, message: &str) -> Response {
    let alert = match message {
        "" => String::new(),
        _ => format!("<p role=\"alert\" id=\"wrong\">{message}</p>"),
    };
    let html = PAGE
        .replace("{style}", STYLE)
        .replace("{action}", LOGIN)
        .replace("{alert}", &alert);
    let mut response = (status, Html(html)).into_response();
    let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
