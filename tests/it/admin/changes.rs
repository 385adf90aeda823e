//! A change is whole: it survives a restart, an administrator who leaves, and another change at the same time.

use super::harness::{Gateway, NOW_MS, TOKEN};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use std::future::Future;
use std::task::{Context, Waker};
use tower::ServiceExt;

#[tokio::test]
async fn what_was_changed_is_there_after_a_restart() {
    let gateway = Gateway::start().await;
    gateway.account("Acme").await;
    let (revoked, closed) = gateway.key("Acme").await;
    let (_, open) = gateway.key("Acme").await;
    gateway
        .ask("DELETE", &format!("/admin/v1/keys/{revoked}"), "")
        .await;
    let limits = "/admin/v1/accounts/Acme/limits";
    gateway.ask("PUT", limits, r#"{"concurrent_requests":250}"#).await;
    gateway
        .ask("PUT", limits, r#"{"model":"large","concurrent_requests":50}"#)
        .await;
    let paths = ["/admin/v1/accounts", "/admin/v1/keys", limits];
    let mut before = Vec::new();
    for path in paths {
        before.push(gateway.get(path).await.text);
    }

    let gateway = gateway.restart().await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(gateway.get(path).await.text, before, "{path}");
    }
    assert!(gateway.app.directory.find_key(&open, NOW_MS).is_ok());
    assert!(gateway.app.directory.find_key(&closed, NOW_MS).is_err());
}

#[tokio::test]
async fn a_change_goes_to_its_end_without_the_administrator() {
    let gateway = Gateway::start().await;
    gateway.account("Acme").await;
    let (key, secret) = gateway.key("Acme").await;
    let request = Request::post(format!("/admin/v1/keys/{key}/revoke"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Body::empty())
        .unwrap();
    {
        let mut asking = Box::pin(gateway.router().oneshot(request));
        let polled = asking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it waits for the store");
        // Here the connection breaks.
    }
    gateway.app.tasks.close();
    gateway.app.tasks.wait().await;
    assert!(gateway.app.directory.find_key(&secret, NOW_MS).is_err());
    let gateway = gateway.restart().await;
    assert!(gateway.app.directory.find_key(&secret, NOW_MS).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_accounts_with_one_name_one_is_made() {
    let gateway = Gateway::start().await;
    let create = || gateway.ask("POST", "/admin/v1/accounts", r#"{"name":"Acme"}"#);
    let (a, b, c) = tokio::join!(create(), create(), create());
    let made = [a, b, c]
        .iter()
        .filter(|answer| answer.status == StatusCode::CREATED)
        .count();
    assert_eq!((made, gateway.app.directory.accounts().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_and_memory_agree_on_the_last_of_many_changes() {
    let gateway = Gateway::start().await;
    gateway.account("Acme").await;
    let set = |limit: u32| {
        let body = format!(r#"{{"concurrent_requests":{limit}}}"#);
        let gateway = &gateway;
        async move { gateway.ask("PUT", "/admin/v1/accounts/Acme/limits", &body).await }
    };
    tokio::join!(set(1), set(2), set(3), set(4), set(5), set(6), set(7), set(8));
    let in_memory = gateway.get("/admin/v1/accounts/Acme/limits").await.text;
    let gateway = gateway.restart().await;
    assert_eq!(
        gateway.get("/admin/v1/accounts/Acme/limits").await.text,
        in_memory
    );
}
