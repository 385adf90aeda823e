//! Doors: every path of the admin listener, tried by whoever should not get in.

use super::Browser;
use crate::admin::harness::{Answer, Gateway};
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

/// Every operation that the OpenAPI document has, and the dashboard's own paths: method and path.
async fn every_path(gateway: &Gateway) -> Vec<(String, String)> {
    let document = gateway.get("/admin/v1/openapi.json").await.json();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let filled = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part });
            all.push((method.to_uppercase(), filled.collect::<Vec<_>>().join("/")));
        }
    }
    assert!(all.len() > 40, "{}", all.len());
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/dashboard/assets");
    for file in std::fs::read_dir(assets).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        all.push(("GET".into(), format!("/dashboard/{name}")));
    }
    for (method, path) in [
        ("GET", "session"),
        ("POST", "logout"),
        ("GET", "nothing.js"),
        ("GET", "api/me/balance"),
        ("GET", "api/me/keys"),
        ("POST", "api/me/keys"),
        ("GET", "api/models"),
        ("POST", "api/chat/completions"),
        ("POST", "api/embeddings"),
        ("GET", "api/nothing"),
    ] {
        all.push((method.into(), format!("/dashboard/{path}")));
    }
    all
}

async fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    gateway.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_stranger_gets_the_page_to_sign_in_and_nothing_else() {
    let gateway = Gateway::start().await;
    let (_, secret) = {
        let account = gateway.account("Acme").await;
        gateway.key(&account).await
    };
    let bearer = format!("Bearer {secret}");
    let strangers: [&[(&str, &str)]; 4] = [
        &[],
        &[("cookie", "farebox_session=0123")],
        &[("authorization", "Bearer fba_wrong")],
        // A key of an account is no admin token, and the dashboard takes no header for a session.
        &[("authorization", &bearer)],
    ];
    for (method, path) in every_path(&gateway).await {
        for headers in strangers {
            let answer = ask(&gateway, &method, &path, headers).await;
            assert_eq!(answer.status, 401, "{method} {path} {headers:?}: {}", answer.text);
        }
    }
    for path in ["/", "/dashboard", "/dashboard/"] {
        let answer = ask(&gateway, "GET", path, &[]).await;
        assert_eq!(answer.status, 303, "{path}");
        assert_eq!(answer.text, "", "{path}");
    }
    let page = ask(&gateway, "GET", "/dashboard/login", &[]).await;
    assert_eq!(page.status, 200);
    assert!(
        !page.text.contains("<script") && !page.text.contains("src="),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn an_owner_of_an_account_gets_nothing_of_the_administrators() {
    let gateway = Gateway::start().await;
    gateway.account("Other").await;
    let account = gateway.account("Acme").await;
    let key =
        json!({ "account": account, "name": "mine", "scopes": ["inference", "usage", "dashboard", "admin"] });
    let secret = gateway
        .ask("POST", "/admin/v1/keys", &key.to_string())
        .await
        .field("secret");
    let owner = Browser::sign_in(&gateway, &secret).await;
    for (method, path) in every_path(&gateway).await {
        if path.starts_with("/dashboard/") {
            continue;
        }
        let answer = owner.ask(&method, &path, "").await;
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains("Other"), "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_says_what_a_browser_must_not_do_with_it() {
    let gateway = Gateway::start().await;
    let root = Browser::root(&gateway).await;
    for path in [
        "/dashboard/",
        "/dashboard/app.js",
        "/dashboard/style.css",
        "/dashboard/session",
        "/dashboard/nothing",
    ] {
        let answer = root.get(path).await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers[name], value, "{path}");
        }
    }
    let page = ask(&gateway, "GET", "/dashboard/login", &[]).await;
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        policy.contains("style-src 'sha256-") && policy.contains("form-action 'self'"),
        "{policy}"
    );
    let script = root.get("/dashboard/app.js").await;
    assert_eq!(
        script.headers[header::CONTENT_TYPE],
        "text/javascript; charset=utf-8"
    );
    let missing = root.get("/dashboard/nothing").await;
    let code: Value = missing.json()["error"]["code"].clone();
    assert_eq!((missing.status.as_u16(), code), (404, json!("unknown_url")));
}
