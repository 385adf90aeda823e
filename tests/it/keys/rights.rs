//! Scopes, models and addresses, and how they are changed.

use super::{CHAT, Keys, LET_IN};
use serde_json::{Value, json};

#[tokio::test]
async fn a_key_opens_what_its_scopes_say() {
    let keys = Keys::start().await;
    for (scopes, chats, reads, manages) in [
        (None, true, true, false),
        (Some(json!(["inference"])), true, false, false),
        (Some(json!(["usage"])), false, true, false),
        (Some(json!(["dashboard"])), false, false, true),
        (Some(json!(["admin"])), false, false, false),
    ] {
        let said = scopes.map_or(json!({}), |scopes| json!({ "scopes": scopes }));
        let key = keys.key(said.clone()).await;
        let code = keys.chat(&key.secret).await;
        let expected = if chats { LET_IN } else { "scope_not_allowed" };
        assert_eq!(code, expected, "{said}");
        for (path, may) in [
            ("/v1/me/balance", reads),
            ("/v1/me/entries", reads),
            ("/v1/me/keys", manages),
            ("/v1/models", true),
            ("/v1/me/rate_limit", true),
        ] {
            let answer = keys.get(&key.secret, path).await;
            let expected = if may { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{said} {path}: {}", answer.text);
        }
        let admin = keys.get(&key.secret, "/admin/v1/keys").await;
        assert_eq!(admin.status, 404, "the public listener has no admin API");
    }
    let key = keys.key(json!({ "scopes": ["usage"] })).await;
    let refused = keys
        .gateway
        .ask_as(&key.secret, "POST", "/v1/chat/completions", CHAT)
        .await;
    insta::assert_snapshot!(refused.refusal(), @"403 scope_not_allowed [-] this API key has not the scope `inference`; use a key that has it, or ask your administrator");
}

#[tokio::test]
async fn a_key_uses_and_sees_the_models_that_it_is_for() {
    let keys = Keys::start().await;
    let models = async |secret: &str| -> Vec<String> {
        let listed = keys.get(secret, "/v1/models").await.json();
        let data = listed["data"].as_array().unwrap();
        data.iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let key = keys.key(json!({ "allowed_models": ["org/emb*"] })).await;
    assert_eq!(models(&key.secret).await, ["org/embedding"]);
    let refused = keys
        .gateway
        .ask_as(&key.secret, "POST", "/v1/chat/completions", CHAT)
        .await;
    insta::assert_snapshot!(refused.refusal(), @"403 model_not_allowed [model] this API key may not use the model `org/large`; GET /v1/models lists those that it may use");
    let by_alias = CHAT.replace("org/large", "large");
    let refused = keys
        .gateway
        .ask_as(&key.secret, "POST", "/v1/chat/completions", &by_alias)
        .await;
    assert_eq!(refused.code(), "model_not_allowed", "no other name opens it");
    let one = keys.get(&key.secret, "/v1/models/org/large").await;
    assert_eq!(one.code(), "model_not_allowed");
    let embeddings = json!({ "model": "org/embedding", "input": "hi" });
    let answer = keys.post(&key.secret, "/v1/embeddings", embeddings).await;
    assert_eq!(answer.code(), LET_IN);

    let by_alias = keys.key(json!({ "allowed_models": ["large"] })).await;
    assert_eq!(models(&by_alias.secret).await, ["org/large"]);
    assert_eq!(keys.chat(&by_alias.secret).await, LET_IN);
}

#[tokio::test]
async fn a_key_is_used_from_where_it_may_be() {
    let keys = Keys::start().await;
    let said = json!({ "allowed_ips": ["10.0.0.0/8", "2001:db8::7"] });
    let key = keys.key(said).await;
    for (ip, expected) in [
        ("10.255.0.1", LET_IN),
        ("::ffff:10.0.0.1", LET_IN),
        ("2001:db8::7", LET_IN),
        ("2001:db8::8", "ip_not_allowed"),
        ("192.0.2.1", "ip_not_allowed"),
    ] {
        let asked = ("POST", "/v1/chat/completions", CHAT);
        let answer = keys.gateway.ask_from(ip, &key.secret, asked).await;
        assert_eq!(answer.code(), expected, "{ip}");
    }
    let refused = keys.get(&key.secret, "/v1/models").await;
    insta::assert_snapshot!(refused.refusal(), @"403 ip_not_allowed [-] this API key may not be used from 192.0.2.1; ask who made it to allow the address");
}

#[tokio::test]
async fn a_change_acts_on_the_very_next_request_and_is_kept() {
    let keys = Keys::start().await;
    let key = keys.key(json!({})).await;
    assert_eq!(keys.chat(&key.secret).await, LET_IN);
    let change = json!({
        "name": "desktop", "scopes": ["usage", "dashboard"], "allowed_models": ["org/*", "large"],
        "allowed_ips": ["192.0.2.0/24", "::1"], "expires_in_seconds": 60, "concurrent_requests": 3,
    });
    let changed = keys.change(&key, change).await;
    insta::assert_snapshot!(changed.shown().replace(&key.id, "KEY").replace(&keys.account, "ACCOUNT"), @r#"
    200
    {
      "account": "ACCOUNT",
      "account_name": "Acme",
      "allowed_ips": [
        "192.0.2.0/24",
        "::1"
      ],
      "allowed_models": [
        "org/*",
        "large"
      ],
      "concurrent_requests": 3,
      "created_at": "2026-11-01T12:00:00Z",
      "expires_at": "2026-11-01T12:01:00Z",
      "id": "KEY",
      "jwt": false,
      "name": "desktop",
      "overlap_until": null,
      "revoked_at": null,
      "scopes": [
        "usage",
        "dashboard"
      ],
      "status": "active"
    }
    "#);
    assert_eq!(keys.chat(&key.secret).await, "scope_not_allowed");
    let Keys { gateway, account } = keys;
    let keys = Keys {
        gateway: gateway.restart().await,
        account,
    };
    assert_eq!(keys.chat(&key.secret).await, "scope_not_allowed");
    let listed = keys.gateway.get("/admin/v1/keys").await.json();
    assert_eq!(listed["data"][0], changed.json());

    let back = json!({ "scopes": ["inference"], "allowed_models": [], "allowed_ips": [], "expires_at": null, "concurrent_requests": null });
    let changed = keys.change(&key, back).await.json();
    assert_eq!(changed["name"], "desktop", "what is not said stays");
    assert_eq!(changed["expires_at"], Value::Null);
    assert_eq!(changed["concurrent_requests"], Value::Null);
    assert_eq!(changed["allowed_models"], json!([]));
    assert_eq!(keys.chat(&key.secret).await, LET_IN);
}

#[tokio::test]
async fn what_does_not_hold_is_named_and_changes_nothing() {
    let keys = Keys::start().await;
    let key = keys.key(json!({})).await;
    let mut refusals = Vec::new();
    for change in [
        json!({ "scopes": [] }),
        json!({ "scopes": ["root"] }),
        json!({ "allowed_models": ["a b"] }),
        json!({ "allowed_ips": ["192.0.2.1", "somewhere"] }),
        json!({ "allowed_ips": vec!["192.0.2.1"; 101] }),
        json!({ "expires_in_seconds": 1, "expires_at": "2030-01-01" }),
        json!({ "expires_at": "2020-01-01" }),
        json!({ "concurrent_requests": -1 }),
        json!({ "name": "" }),
        json!({ "hash": "" }),
    ] {
        refusals.push(keys.change(&key, change).await.refusal());
    }
    insta::assert_snapshot!(refusals.join("\n"), @"
    400 invalid_request_error [scopes] `scopes`: a key has at least one of inference, usage, dashboard, admin
    400 invalid_request_error [scopes[0]] `scopes[0]`: unknown variant `root`, expected one of `inference`, `usage`, `dashboard`, `admin`
    400 invalid_request_error [allowed_models[0]] `allowed_models[0]`: a pattern is 1 to 200 visible characters without spaces, such as `org/*`
    400 invalid_request_error [allowed_ips[1]] `allowed_ips[1]`: this is no address such as 192.0.2.7 and no network such as 10.0.0.0/8
    400 invalid_request_error [allowed_ips] `allowed_ips`: at most 100, and here are 101
    400 invalid_request_error [expires_at] `expires_at`: give `expires_in_seconds` or `expires_at`, not both
    400 invalid_request_error [expires_at] `expires_at`: the key would be over already; give a time ahead
    400 invalid_request_error [concurrent_requests] `concurrent_requests`: invalid value: integer `-1`, expected a whole number from 0 to 4294967295
    400 invalid_request_error [name] `name`: a name has 1 to 100 characters, and this has 0
    400 invalid_request_error [hash] `hash`: unknown field `hash`, expected one of `name`, `scopes`, `allowed_models`, `allowed_ips`, `expires_in_seconds`, `expires_at`, `concurrent_requests`
    ");
    let nobody = keys
        .gateway
        .ask("PATCH", "/admin/v1/keys/key_0", r#"{"name":"x"}"#)
        .await;
    assert_eq!(nobody.code(), "key_not_found");
    assert_eq!(keys.chat(&key.secret).await, LET_IN);
}
