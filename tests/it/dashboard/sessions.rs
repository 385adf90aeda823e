//! Sessions: opened by a secret, slowed for who guesses, and over with what opened them.

use super::{Browser, cookie_of, send_form};
use crate::admin::harness::{Gateway, NOW_MS, TOKEN};
use crate::keys::Keys;
use axum::http::header;
use serde_json::{Value, json};

#[tokio::test]
async fn an_administrator_signs_in_and_does_what_their_role_may_and_nothing_without_a_page() {
    let gateway = Gateway::start().await;
    let made = json!({ "name": "Ada", "role": "operator" }).to_string();
    let secret = gateway
        .ask("POST", "/admin/v1/tokens", &made)
        .await
        .field("secret");
    let ada = Browser::sign_in(&gateway, &secret).await;
    let session = ada.session().await;
    let expected = json!({
        "account": null, "account_name": null, "csrf": session["csrf"], "expires_at": "2026-11-02T00:00:00Z",
        "kind": "staff", "name": "Ada", "replica": "process_1793534400000", "role": "operator",
    });
    assert_eq!(session, expected);
    let account = r#"{"name":"Acme"}"#;
    assert_eq!(ada.ask("POST", "/admin/v1/accounts", account).await.status, 201);
    assert_eq!(ada.get("/admin/v1/tokens").await.code(), "role_not_allowed");
    // Another site can make a browser send the cookie, and not the header.
    for headers in [&[][..], &[("x-farebox-csrf", "")], &[("x-farebox-csrf", "wrong")]] {
        let forged = ada
            .ask_with("POST", "/admin/v1/accounts", r#"{"name":"B"}"#, headers)
            .await;
        assert_eq!(
            (forged.status.as_u16(), forged.code().as_str()),
            (403, "csrf_required")
        );
        let out = ada.ask_with("POST", "/dashboard/logout", "", headers).await;
        assert_eq!(out.status, 403, "{}", out.text);
    }
    // The audit log knows the person, not the cookie.
    let audit = gateway.get("/admin/v1/audit").await.json();
    assert_eq!(audit["data"][0]["who_name"], "Ada", "{audit}");
    assert_eq!(audit["data"][0]["action"], "account.create");
}

#[tokio::test]
async fn an_owner_signs_in_with_a_key_of_the_scope_and_sees_the_account_and_no_other() {
    let keys = Keys::start().await;
    let gateway = &keys.gateway;
    let other = gateway.account("Other").await;
    let (_, inference) = gateway.key(&keys.account).await;
    let refused = send_form(gateway, &inference, &[]).await;
    assert_eq!(refused.status, 401, "a key without the scope");
    let key = keys.key(json!({ "scopes": ["dashboard"] })).await;
    let owner = Browser::sign_in(gateway, &key.secret).await;
    let session = owner.session().await;
    assert_eq!(
        [
            &session["kind"],
            &session["account"],
            &session["account_name"],
            &session["role"]
        ],
        [
            &json!("owner"),
            &json!(keys.account),
            &json!("Acme"),
            &Value::Null
        ]
    );
    for path in [
        "me/rate_limit",
        "me/balance",
        "me/entries",
        "me/keys",
        "me/rate_limit/requests",
        "models",
    ] {
        let answer = owner.get(&format!("/dashboard/api/{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(!answer.text.contains(&other), "{path}: {}", answer.text);
    }
    // What the key itself may not do, its session may not either: it has no scope for inference.
    let chat = owner
        .ask("POST", "/dashboard/api/chat/completions", crate::keys::CHAT)
        .await;
    assert_eq!(chat.code(), "scope_not_allowed");
    let made = owner
        .ask(
            "POST",
            "/dashboard/api/me/keys",
            r#"{"name":"second","scopes":["dashboard"]}"#,
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let forged = owner
        .ask_with("POST", "/dashboard/api/me/keys", r#"{"name":"third"}"#, &[])
        .await;
    assert_eq!(forged.status, 403, "{}", forged.text);
    assert_eq!(
        owner.get("/admin/v1/accounts").await.code(),
        "invalid_admin_token"
    );
    // And who administers has no account that would pay.
    let root = Browser::root(gateway).await;
    assert_eq!(root.get("/dashboard/api/me/balance").await.status, 401);
}

#[tokio::test]
async fn a_session_ends_with_what_opened_it_by_itself_and_by_signing_out() {
    let keys = Keys::start().await;
    let gateway = &keys.gateway;
    let key = keys.key(json!({ "scopes": ["dashboard"] })).await;
    let made = json!({ "name": "Bob", "role": "viewer" }).to_string();
    let token = gateway.ask("POST", "/admin/v1/tokens", &made).await;
    let (owner, viewer, root) = (
        Browser::sign_in(gateway, &key.secret).await,
        Browser::sign_in(gateway, &token.field("secret")).await,
        Browser::root(gateway).await,
    );
    let in_owner = async || owner.get("/dashboard/api/me/balance").await.status == 200;
    let in_viewer = async || viewer.get("/admin/v1/me").await.status == 200;
    assert!(in_owner().await && in_viewer().await);
    gateway
        .ask("POST", &format!("/admin/v1/keys/{}/revoke", key.id), "")
        .await;
    gateway
        .ask("DELETE", &format!("/admin/v1/tokens/{}", token.field("id")), "")
        .await;
    assert!(!in_owner().await, "its key was revoked");
    assert!(!in_viewer().await, "its token was revoked");
    let home = owner.get("/dashboard/").await;
    assert_eq!(
        (home.status.as_u16(), &home.headers[header::LOCATION]),
        (303, &"/dashboard/login".parse().unwrap())
    );

    // A key that loses the scope, and a secret that is not the key's any more.
    let key = keys.key(json!({ "scopes": ["dashboard"] })).await;
    let owner = Browser::sign_in(gateway, &key.secret).await;
    let rotate = format!("/admin/v1/keys/{}/rotate", key.id);
    gateway.ask("POST", &rotate, r#"{"overlap_seconds":60}"#).await;
    let in_owner = async || owner.get("/dashboard/session").await.status == 200;
    assert!(in_owner().await, "the old secret holds for a minute more");
    gateway.clock.set_unix_ms(NOW_MS + 61_000);
    assert!(!in_owner().await);

    let out = root.ask("POST", "/dashboard/logout", "").await;
    assert_eq!(out.status, 204);
    assert!(
        out.headers[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(
        root.get("/admin/v1/me").await.status,
        401,
        "the cookie that was kept opens nothing"
    );
    let root = Browser::root(gateway).await;
    gateway.clock.set_unix_ms(NOW_MS + 61_000 + 12 * 3_600_000);
    assert_eq!(root.get("/admin/v1/me").await.status, 401, "half a day is over");
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_its_cookie_is_for_this_site_alone() {
    let gateway = Gateway::start().await;
    let answer = send_form(&gateway, TOKEN, &[]).await;
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"),
        "{set}"
    );
    let cookie = cookie_of(&answer);
    let database = std::fs::read(gateway.database()).unwrap();
    let wal = std::fs::read(gateway.database().with_extension("sqlite-wal")).unwrap_or_default();
    let secret = cookie.split_once('=').unwrap().1.as_bytes();
    for file in [database, wal] {
        assert!(
            !file.windows(secret.len()).any(|bytes| bytes == secret),
            "the store has no cookie"
        );
    }
    let gateway = gateway.restart().await;
    let browser = Browser {
        gateway: &gateway,
        cookie: cookie.clone(),
        csrf: String::new(),
    };
    assert_eq!(browser.get("/admin/v1/me").await.field("id"), "root");
    let twice = Browser {
        gateway: &gateway,
        cookie: format!("{cookie}; {cookie}"),
        csrf: String::new(),
    };
    assert_eq!(twice.get("/admin/v1/me").await.status, 401);
}

#[tokio::test]
async fn who_guesses_is_slowed_and_who_comes_from_another_site_is_sent_away() {
    let gateway = Gateway::start().await;
    for site in ["cross-site", "same-site"] {
        let sent = send_form(&gateway, TOKEN, &[("sec-fetch-site", site)]).await;
        assert_eq!(sent.status, 403, "{site}");
    }
    let origin = [("origin", "https://elsewhere.example")];
    assert_eq!(send_form(&gateway, TOKEN, &origin).await.status, 403);
    let origin = [("origin", "http://gateway.example:8081")];
    assert_eq!(send_form(&gateway, TOKEN, &origin).await.status, 303);

    for _ in 0..6 {
        let wrong = send_form(&gateway, "fba_wrong", &[]).await;
        assert_eq!(wrong.status, 401);
        assert!(wrong.text.contains("That opens nothing here"), "{}", wrong.text);
    }
    let slowed = send_form(&gateway, TOKEN, &[]).await;
    assert_eq!(slowed.status, 429, "not even the right one");
    assert!(slowed.headers.contains_key(header::RETRY_AFTER));
    assert!(slowed.text.contains("Try again in"), "{}", slowed.text);
}
