//! Tokens that are signed with a key: what they open, and what they do not.

use super::{CHAT, Key, Keys, LET_IN};
use crate::admin::harness::NOW_MS;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use farebox::admission::jwt::{kid, sign};
use farebox_domain::refusal::KeyFault;
use serde_json::{Value, json};

const NOW_S: u64 = NOW_MS / 1000;

async fn signing(keys: &Keys, more: Value) -> Key {
    let mut said = json!({ "jwt": true });
    said.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    keys.key(said).await
}

fn token(key: &Key, claims: &Value) -> String {
    sign(&key.secret, &kid(&key.id, Some("laptop")), &claims.to_string())
}

#[tokio::test]
async fn a_token_opens_what_its_key_opens_and_no_more_than_it_says() {
    let keys = Keys::start().await;
    let key = signing(&keys, json!({ "scopes": ["inference", "usage", "dashboard"] })).await;
    let any = token(&key, &json!({ "exp": NOW_S + 60 }));
    assert_eq!(keys.chat(&any).await, LET_IN);
    assert_eq!(keys.get(&any, "/v1/models").await.status, 200);
    for path in ["/v1/me/balance", "/v1/me/entries", "/v1/me/keys"] {
        let answer = keys.get(&any, path).await;
        assert_eq!(answer.code(), "scope_not_allowed", "{path}: {}", answer.text);
    }
    let one = token(&key, &json!({ "exp": NOW_S + 60, "models": ["org/embedding"] }));
    assert_eq!(keys.chat(&one).await, "model_not_allowed");
    let listed = keys.get(&one, "/v1/models").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    keys.change(&key, json!({ "allowed_models": ["org/embedding"] }))
        .await;
    assert_eq!(keys.chat(&any).await, "model_not_allowed", "nor than its key");
    keys.change(&key, json!({ "allowed_ips": ["10.0.0.1"] })).await;
    assert_eq!(keys.chat(&any).await, "ip_not_allowed");
    keys.change(&key, json!({ "allowed_ips": [], "scopes": ["usage"] }))
        .await;
    assert_eq!(keys.chat(&any).await, "scope_not_allowed");
    let path = format!("/admin/v1/keys/{}/revoke", key.id);
    keys.gateway.ask("POST", &path, "").await;
    assert_eq!(keys.chat(&any).await, "invalid_api_key");
}

#[tokio::test]
async fn a_token_names_its_key_by_id_or_by_account_and_name() {
    let keys = Keys::start().await;
    let key = signing(&keys, json!({})).await;
    signing(&keys, json!({})).await;
    let claims = json!({ "exp": NOW_S + 60 }).to_string();
    for (kid, expected) in [
        (kid(&key.id, None), LET_IN),
        (kid(&key.id, Some("laptop")), LET_IN),
        (kid(&keys.account, Some("laptop")), LET_IN),
        (kid(&key.id, Some("desktop")), "invalid_api_key"),
        (kid(&keys.account, None), "invalid_api_key"),
        (kid("acct_0", Some("laptop")), "invalid_api_key"),
    ] {
        let token = sign(&key.secret, &kid, &claims);
        assert_eq!(keys.chat(&token).await, expected, "{kid}");
    }
}

#[tokio::test]
async fn what_is_not_signed_or_not_said_rightly_opens_nothing() {
    let keys = Keys::start().await;
    let key = signing(&keys, json!({})).await;
    let silent = keys.key(json!({})).await;
    let good = json!({ "exp": NOW_S + 60 });
    let find = |token: &str| keys.gateway.app.directory.find_token(token, NOW_MS);
    assert!(find(&token(&key, &good)).is_ok());
    let unsigned = token(&silent, &good);
    assert_eq!(
        find(&unsigned).unwrap_err(),
        KeyFault::Invalid,
        "it signs no tokens"
    );
    for claims in [
        json!({}),
        json!({ "exp": NOW_S }),
        json!({ "exp": "soon" }),
        json!({ "exp": -1 }),
        json!({ "exp": NOW_S + 60, "nbf": NOW_S + 1 }),
        json!({ "exp": NOW_S + 60, "models": [] }),
        json!({ "exp": NOW_S + 60, "models": "org/large" }),
        json!({ "exp": NOW_S + 60, "spending_limit": "much" }),
        json!({ "exp": NOW_S + 60, "spending_limit": -1 }),
        json!([]),
    ] {
        assert!(find(&token(&key, &claims)).is_err(), "{claims}");
    }
    let half = token(&key, &json!({ "exp": 1_793_534_460.5, "model": "org/large" }));
    assert!(find(&half).is_ok(), "a time with a fraction, one model");

    let signed = token(&key, &good);
    let (front, signature) = signed.rsplit_once('.').unwrap();
    let (_, payload) = front.split_once('.').unwrap();
    let header = |header: Value| {
        format!(
            "jwt:{}.{payload}",
            BASE64_URL_SAFE_NO_PAD.encode(header.to_string())
        )
    };
    let none = header(json!({ "alg": "none", "kid": key.id }));
    let more = BASE64_URL_SAFE_NO_PAD.encode(json!({ "exp": NOW_S + 600 }).to_string());
    let head = front.split_once('.').unwrap().0;
    for forged in [
        format!("{none}."),
        format!("{none}.{signature}"),
        format!("{head}.{more}.{signature}"),
        format!("{front}.{}", &signature[..40]),
        format!("{front}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 32])),
        format!("{}.{signature}", header(json!({ "alg": "HS512", "kid": key.id }))),
        format!("{}.{signature}", header(json!({ "alg": "HS256" }))),
        signed.trim_start_matches("jwt:").to_owned(),
        "jwt:".to_owned(),
        "jwt:..".to_owned(),
        format!("jwt:{}", "a".repeat(10_000)),
        token(&key, &json!({ "exp": NOW_S + 60, "pad": "x".repeat(9_000) })),
    ] {
        assert!(find(&forged).is_err(), "{forged}");
        assert_eq!(keys.chat(&forged).await, "invalid_api_key");
    }
}

#[tokio::test]
async fn a_token_of_the_secret_before_holds_as_long_as_that() {
    let keys = Keys::start().await;
    let key = signing(&keys, json!({})).await;
    let before = token(&key, &json!({ "exp": NOW_S + 1000 }));
    let path = format!("/admin/v1/keys/{}/rotate", key.id);
    let rotated = keys.gateway.ask("POST", &path, r#"{"overlap_seconds":60}"#).await;
    let key = Key {
        id: key.id,
        secret: rotated.field("secret"),
    };
    let after = token(&key, &json!({ "exp": NOW_S + 1000 }));
    let Keys { gateway, account } = keys;
    let keys = Keys {
        gateway: gateway.restart().await,
        account,
    };
    assert_eq!(keys.chat(&before).await, LET_IN);
    assert_eq!(keys.chat(&after).await, LET_IN);
    keys.gateway.clock.set_unix_ms(NOW_MS + 60_000);
    assert_eq!(keys.chat(&before).await, "invalid_api_key");
    assert_eq!(keys.chat(&after).await, LET_IN);
}

#[tokio::test]
async fn what_does_not_fit_under_a_token_s_limit_is_refused_and_holds_nothing() {
    let keys = Keys::start().await;
    let key = signing(&keys, json!({})).await;
    let poor = token(&key, &json!({ "exp": NOW_S + 60, "spending_limit": "0.0000001" }));
    let refused = keys
        .gateway
        .ask_as(&poor, "POST", "/v1/chat/completions", CHAT)
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (402, "spending_limit_reached")
    );
    assert_eq!(refused.headers["x-should-retry"], "false");
    let rich = token(&key, &json!({ "exp": NOW_S + 60, "spending_limit": "0.01" }));
    for _ in 0..50 {
        assert_eq!(
            keys.chat(&rich).await,
            LET_IN,
            "what failed gave back what it held"
        );
    }
}
