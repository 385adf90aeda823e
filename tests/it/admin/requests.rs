//! Requests for more: an owner asks, somebody decides, and the limit is there for the very next request.

use super::harness::Gateway;
use axum::http::StatusCode;
use serde_json::{Value, json};

const ASK: &str = "/v1/me/rate_limit/request";

async fn limit(gateway: &Gateway, secret: &str) -> Value {
    let shown = gateway.ask_as(secret, "GET", "/v1/me/rate_limit", "").await;
    shown.json()["rate_limit"].clone()
}

#[tokio::test]
async fn an_approval_is_the_limit_and_is_decided_once() {
    let gateway = Gateway::start().await;
    let acme = gateway.account("Acme").await;
    let (key, secret) = gateway.key(&acme).await;
    let body =
        json!({"rate_limit": 400, "tpm_rate_limit": 1_000_000, "reason": "a <b>launch</b>"}).to_string();
    let asked = gateway.ask_as(&secret, "POST", ASK, &body).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.text);
    let id = asked.field("id");
    let again = gateway.ask_as(&secret, "POST", ASK, &body).await;
    assert_eq!(
        again.status,
        StatusCode::BAD_REQUEST,
        "one is open: {}",
        again.text
    );
    assert_eq!(limit(&gateway, &secret).await, 200);

    let open = gateway.get("/admin/v1/limit-requests?state=open").await.json();
    assert_eq!(open["data"].as_array().unwrap().len(), 1);
    let row = &open["data"][0];
    assert_eq!(
        [&row["id"], &row["key"], &row["account_name"]],
        [&json!(id), &json!(key), &json!("Acme")]
    );
    assert_eq!([&row["rate_limit"], &row["concurrent_requests"]], [400, 200]);

    let approve = format!("/admin/v1/limit-requests/{id}/approve");
    let body = r#"{"note":"to begin with","concurrent_requests":300}"#;
    let approved = gateway.ask("POST", &approve, body).await;
    assert_eq!(approved.json()["granted"], 300, "{}", approved.text);
    assert_eq!(limit(&gateway, &secret).await, 300, "at once");
    let twice = gateway.ask("POST", &approve, "{}").await;
    assert_eq!(
        (twice.status, twice.code().as_str()),
        (StatusCode::CONFLICT, "already_decided")
    );
    let gateway = gateway.restart().await;
    assert_eq!(limit(&gateway, &secret).await, 300, "it is kept");

    let own = gateway
        .ask_as(&secret, "GET", "/v1/me/rate_limit/requests", "")
        .await
        .json();
    assert_eq!(
        [&own["data"][0]["state"], &own["data"][0]["note"]],
        ["approved", "to begin with"]
    );
    assert_eq!(own["data"][0].get("decided_by"), None);
    let audit = gateway
        .get(&format!("/admin/v1/audit?target={acme}&limit=1"))
        .await
        .json();
    let change = &audit["data"][0];
    assert_eq!(change["action"], "limit_request.approve");
    assert_eq!(change["before"]["concurrent_requests"], 200);
    assert_eq!(change["after"]["concurrent_requests"], 300);
    assert_eq!(change["after"]["request"], json!(id));
}

#[tokio::test]
async fn a_declined_request_changes_nothing_and_another_may_be_asked() {
    let gateway = Gateway::start().await;
    let acme = gateway.account("Acme").await;
    let other = gateway.account("Other").await;
    let (_, secret) = gateway.key(&acme).await;
    let (_, others) = gateway.key(&other).await;
    let body = json!({"rate_limit": 400, "reason": "more"}).to_string();
    let id = gateway.ask_as(&secret, "POST", ASK, &body).await.field("id");
    let decline = format!("/admin/v1/limit-requests/{id}/decline");
    let declined = gateway.ask("POST", &decline, r#"{"note":"not yet"}"#).await;
    assert_eq!(declined.field("state"), "declined");
    assert_eq!(limit(&gateway, &secret).await, 200);
    assert_eq!(
        gateway.ask_as(&secret, "POST", ASK, &body).await.status,
        StatusCode::OK
    );
    let seen = gateway
        .ask_as(&others, "GET", "/v1/me/rate_limit/requests", "")
        .await
        .json();
    assert_eq!(seen["data"], json!([]), "another account sees nothing of it");
}

#[tokio::test]
async fn what_does_not_hold_is_refused() {
    let gateway = Gateway::start().await;
    let acme = gateway.account("Acme").await;
    let (_, secret) = gateway.key(&acme).await;
    for body in [
        "{}".to_owned(),
        r#"{"rate_limit":0,"reason":"x"}"#.into(),
        r#"{"rate_limit":4294967296,"reason":"x"}"#.into(),
        r#"{"rate_limit":9,"reason":""}"#.into(),
        r#"{"rate_limit":9,"reason":"x","tpm_rate_limit":18446744073709551615}"#.into(),
        r#"{"rate_limit":9,"reason":"x","more":1}"#.into(),
        json!({"rate_limit": 9, "reason": "x".repeat(1001)}).to_string(),
    ] {
        let refused = gateway.ask_as(&secret, "POST", ASK, &body).await;
        assert_eq!(
            refused.status,
            StatusCode::BAD_REQUEST,
            "{body}: {}",
            refused.text
        );
    }
    let missing = gateway
        .ask("POST", "/admin/v1/limit-requests/ask_0/approve", "{}")
        .await;
    assert_eq!(missing.code(), "limit_request_not_found");
    let state = gateway.get("/admin/v1/limit-requests?state=x").await;
    assert_eq!(state.status, StatusCode::BAD_REQUEST);
}
