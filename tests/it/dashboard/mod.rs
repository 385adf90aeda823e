//! The dashboard: who gets in, what they are let do, and what a stranger or a page of another site gets: nothing.

mod doors;
mod sessions;

use crate::admin::harness::{Answer, Gateway, TOKEN};
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::Value;

/// Somebody who is signed in.
pub(crate) struct Browser<'a> {
    gateway: &'a Gateway,
    cookie: String,
    csrf: String,
}

/// Sends the form of the page to sign in.
pub(crate) async fn send_form(gateway: &Gateway, secret: &str, more: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder()
        .method("POST")
        .uri("/dashboard/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::HOST, "gateway.example:8081");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let form = format!("secret={secret}");
    gateway.send(request.body(Body::from(form)).unwrap()).await
}

/// The cookie that an answer sets, as a browser sends it back.
pub(crate) fn cookie_of(answer: &Answer) -> String {
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

impl<'a> Browser<'a> {
    /// Signs in with this secret.
    pub(crate) async fn sign_in(gateway: &'a Gateway, secret: &str) -> Self {
        let answer = send_form(gateway, secret, &[]).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        assert_eq!(answer.headers[header::LOCATION], "/dashboard/");
        let mut browser = Self {
            gateway,
            cookie: cookie_of(&answer),
            csrf: String::new(),
        };
        browser.csrf = browser.session().await["csrf"].as_str().unwrap().to_owned();
        browser
    }

    /// The same as the first administrator.
    pub(crate) async fn root(gateway: &'a Gateway) -> Self {
        Self::sign_in(gateway, TOKEN).await
    }

    pub(crate) async fn session(&self) -> Value {
        self.get("/dashboard/session").await.json()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// As the pages ask: with the cookie, and with what proves that a page asks.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(method, path, body, &[("x-farebox-csrf", &self.csrf)])
            .await
    }

    /// With the cookie and these headers.
    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, &self.cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.gateway.send(request).await
    }
}
