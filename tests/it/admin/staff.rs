//! Admin tokens: how they end, and what the audit log has of what is done with them. What each role may is openapi.rs's.

use super::harness::{Answer, Gateway, NOW_MS};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use farebox_domain::role::Role;
use serde_json::{Value, json};

async fn ask_with(gateway: &Gateway, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    gateway
        .send(request.body(Body::from(body.to_owned())).unwrap())
        .await
}

/// Makes a token and returns its id and its secret.
async fn token(gateway: &Gateway, name: &str, role: Role) -> (String, String) {
    let body = json!({ "name": name, "role": role }).to_string();
    let made = gateway.ask("POST", "/admin/v1/tokens", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.headers[header::CACHE_CONTROL], "no-store");
    (made.field("id"), made.field("secret"))
}

#[tokio::test]
async fn a_token_opens_until_it_is_revoked_or_over() {
    let gateway = Gateway::start().await;
    let (id, secret) = token(&gateway, "Ada", Role::Operator).await;
    let me = ask_with(&gateway, &secret, "GET", "/admin/v1/me", "").await;
    assert_eq!(me.json(), json!({"id": id, "name": "Ada", "role": "operator"}));
    assert_eq!(gateway.get("/admin/v1/me").await.field("id"), "root");
    let body = json!({"name": "Bob", "role": "viewer", "expires_in_seconds": 60}).to_string();
    let short = gateway
        .ask("POST", "/admin/v1/tokens", &body)
        .await
        .field("secret");

    let gateway = gateway.restart().await;
    let opens = async |secret: &str| {
        ask_with(&gateway, secret, "GET", "/admin/v1/me", "").await.status == StatusCode::OK
    };
    assert!(opens(&secret).await && opens(&short).await, "tokens are kept");
    gateway.clock.set_unix_ms(NOW_MS + 60_000);
    assert!(opens(&secret).await);
    assert!(!opens(&short).await, "it is over");
    let path = format!("/admin/v1/tokens/{id}");
    for _ in 0..2 {
        let revoked = gateway.ask("DELETE", &path, "").await;
        assert_eq!(revoked.field("status"), "revoked");
    }
    assert!(!opens(&secret).await, "it was revoked");
    let listed = gateway.get("/admin/v1/tokens").await;
    assert!(
        !listed.text.contains("fba_") && !listed.text.contains("hash"),
        "{}",
        listed.text
    );
    let rows = listed.json()["data"].as_array().unwrap().clone();
    let shown: std::collections::BTreeMap<_, _> = rows
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["status"].as_str().unwrap()))
        .collect();
    assert_eq!(shown, [("Ada", "revoked"), ("Bob", "expired")].into());
}

#[tokio::test]
async fn tokens_that_do_not_hold_are_named() {
    let gateway = Gateway::start().await;
    let mut told = Vec::new();
    for body in [
        r#"{"name":"root","role":"admin"}"#,
        r#"{"name":"x","role":"owner"}"#,
        r#"{"name":"x"}"#,
        r#"{"name":"x","role":"viewer","expires_in_seconds":0}"#,
    ] {
        told.push(gateway.ask("POST", "/admin/v1/tokens", body).await.refusal());
    }
    told.push(
        gateway
            .ask("DELETE", "/admin/v1/tokens/fba_secret", "")
            .await
            .refusal(),
    );
    insta::assert_snapshot!(told.join("\n"), @r#"
    400 invalid_request_error [name] `name`: `root` is the name of the token that is given at start; give another
    400 invalid_request_error [role] `role`: unknown variant `owner`, expected one of `viewer`, `operator`, `admin`
    400 invalid_request_error [role] `role`: this field is required
    400 invalid_request_error [expires_in_seconds] `expires_in_seconds`: the token would be over already; give a time ahead
    404 token_not_found [-] there is no admin token `fba_...`; give its id (`tok_...`), which `farebox admin-token list` shows
    "#);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log() {
    let gateway = Gateway::start().await;
    let (ada, secret) = token(&gateway, "Ada", Role::Admin).await;
    let acme = gateway.account("Acme").await;
    let (key, _) = gateway.key(&acme).await;
    let account = format!("/admin/v1/accounts/{acme}");
    let asked = [
        (
            "PUT",
            format!("{account}/limits"),
            r#"{"concurrent_requests":400}"#,
        ),
        (
            "PUT",
            format!("{account}/limits"),
            r#"{"model":"large","concurrent_requests":3}"#,
        ),
        (
            "POST",
            format!("{account}/credit"),
            r#"{"usd":"20","reference":"r1","note":""}"#,
        ),
        (
            "POST",
            format!("{account}/credit"),
            r#"{"usd":"20","reference":"r1","note":""}"#,
        ),
        ("PUT", format!("{account}/spending"), r#"{"monthly_usd":"7"}"#),
        (
            "PUT",
            format!("/admin/v1/keys/{key}/spending"),
            r#"{"monthly_usd":"3"}"#,
        ),
        (
            "POST",
            "/admin/v1/prices".into(),
            r#"{"model":"large","price":{"input":"1","output":"2"}}"#,
        ),
        ("DELETE", format!("/admin/v1/keys/{key}"), ""),
        ("DELETE", format!("/admin/v1/keys/{key}"), ""),
        ("POST", format!("{account}/close"), ""),
    ];
    for (method, path, body) in asked {
        let answer = ask_with(&gateway, &secret, method, &path, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        assert!(
            answer.headers["x-request-id"]
                .to_str()
                .unwrap()
                .starts_with("req_")
        );
    }
    let log = gateway.get("/admin/v1/audit").await.json();
    let rows = log["data"].as_array().unwrap();
    let shown: Vec<String> = rows
        .iter()
        .rev()
        .map(|row| {
            let differs = |side: &str| row[side]["concurrent_requests"].clone();
            let text = |field: &str| row[field].as_str().unwrap();
            format!(
                "{} {} {} -> {}",
                text("who_name"),
                text("action"),
                differs("before"),
                differs("after")
            )
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    root token.create null -> null
    root account.create null -> null
    root key.create null -> null
    Ada limits.set 200 -> 400
    Ada limits.set 400 -> 400
    Ada account.credit null -> null
    Ada account.spending null -> null
    Ada key.spending null -> null
    Ada price.set null -> null
    Ada key.revoke null -> null
    Ada account.close null -> null
    "#);
    let count = async |query: String| {
        let page = gateway.get(&format!("/admin/v1/audit?{query}")).await.json();
        page["data"].as_array().unwrap().len()
    };
    assert_eq!(count(format!("who={ada}")).await, 8);
    assert_eq!(count("who=Ada".into()).await, 8);
    assert_eq!(count(format!("target={key}")).await, 3);
    let page = gateway.get("/admin/v1/audit?limit=10").await.json();
    let next = page["next"].as_str().unwrap();
    assert_eq!(count(format!("after={next}")).await, 1);
    assert_eq!(
        page["data"][0]["before"],
        json!({"name": "Acme", "closed": false})
    );
    assert_eq!(page["data"][0]["after"], json!({"name": "Acme", "closed": true}));
    let text = log.to_string();
    assert!(!text.contains("fb_") && !text.contains("fba_") && !text.contains("hash"));
    assert_ne!(rows[0]["request_id"], Value::Null);
}

#[tokio::test]
async fn the_audit_log_is_append_only() {
    let gateway = Gateway::start().await;
    gateway.account("Acme").await;
    let file = sqlx::SqlitePool::connect(&format!("sqlite:{}", gateway.database().display()))
        .await
        .unwrap();
    for sql in ["UPDATE audit SET who = 'x'", "DELETE FROM audit"] {
        let refused = sqlx::query(sql).execute(&file).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
}
